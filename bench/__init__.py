"""Measurements that are ratios within one run; `make bench` prints them, tests never time anything."""
