"""Whether a fleet was measured from its own machine: an address -> yes or no. Pure."""

from urllib.parse import urlsplit

HERE = ("localhost", "127.0.0.1", "::1")


def made_here(url: str) -> bool:
    """Whether the machine that answered made the load as well."""
    try:
        return urlsplit(url).hostname in HERE
    except ValueError:  # no address at all, so not this machine's either
        return False
