"""What one package writes and another reads."""
