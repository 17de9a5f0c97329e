"""The service under test: where it is, what it answers, what its answers are worth."""
