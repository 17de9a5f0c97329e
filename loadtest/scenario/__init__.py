"""Scenarios: a profile says what is sent and what counts as passed, a kind of scenario makes the steps."""
