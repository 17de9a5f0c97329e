"""Measures this service beside its peers on the same work: `python -m bench.peers`, what `make bench-peers` runs."""
