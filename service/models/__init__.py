"""Model files: fetching the default one and rewriting exports into serving graphs."""
