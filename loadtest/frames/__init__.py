"""A video -> frames, bodies, and when each is sent."""
