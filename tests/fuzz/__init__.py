"""Hostile input, made by damaging what is in corpus/ and by inventing more of it.

Every file of the corpus is also tried as it is; an input that once broke something is kept there for good. A run is
short and always the same; `FUZZ_EXAMPLES=100000 pytest tests/fuzz` searches on, each time elsewhere.
"""
