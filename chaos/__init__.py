"""Provokes the faults a fleet meets, one by one and at random, under a camera load, and writes down what happens.

It drives `python -m deploy` and HTTP from outside, as an operator and a client would, and imports none of the other
packages.
"""
