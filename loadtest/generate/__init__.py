"""Load: Locust and the processes that make it."""
