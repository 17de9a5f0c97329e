"""Turns one description of a fleet into running, self-healing, balanced instances."""
