"""A mixed attack and kills at random on a fleet: `python -m chaos.siege`."""
