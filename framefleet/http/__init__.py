"""Where a service is and how it is asked: address, key, certificate, session."""
