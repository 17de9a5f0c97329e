"""The faults, one generator each: what comes before its `yield` provokes the fault, what comes after it heals it.

Raises ChaosError where the fleet does not do what it promises beside answering good requests.
"""
