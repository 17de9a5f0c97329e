"""The pages for people: demo, fleet, API."""
