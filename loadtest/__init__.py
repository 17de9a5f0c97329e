"""Replays video against a fleet and reports what it holds."""
