"""Our own protocol, and the first server's."""
