"""Routes for people and tools that watch an instance."""
