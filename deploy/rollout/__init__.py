"""The runbooks: from what a machine serves to what it is to serve, step by step, and back."""
