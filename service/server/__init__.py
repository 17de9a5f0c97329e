"""gunicorn: its configuration, and what it answers when no request reaches the application."""
