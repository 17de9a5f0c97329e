"""What this machine has and lets us have: CPUs, ports, addresses, names that one process holds at a time."""
