"""What `service`, `deploy`, `loadtest` and `chaos` share; it imports none of them, and no server package."""
