"""Which kernel this machine runs, for reports."""

import platform


def kernel_version() -> str:
    """The system and its kernel's version, without what a distribution or a host adds to that: `Linux 6.1.0`."""
    return f"{platform.system()} {platform.release().partition('-')[0]}"
