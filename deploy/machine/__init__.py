"""The one edge to the machine: processes, files, locks, devices, supervisor, systemd."""
