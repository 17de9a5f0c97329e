"""What can go wrong before there is a model to serve; every message says where, what and the fix."""


class ModelError(Exception):
    """A network cannot become a serving graph."""


class FetchError(Exception):
    """A pinned file could not be had, or what was found in its place is another one."""


def first_line(error: Exception) -> str:
    """The part of a library's message that fits into one of ours."""
    return str(error).strip().partition("\n")[0]
