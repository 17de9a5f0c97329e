"""Who may come in, and with how much: places, bytes of bodies and pixels, shared out among clients."""
