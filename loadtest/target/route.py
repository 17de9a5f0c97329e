"""The path that a load test asks, with no place for a key: it is written down, and everybody can read command lines."""

from urllib.parse import parse_qsl

from framefleet.http.address import KEY_VARIABLE
from loadtest.errors import OptionError

# What a detection can be asked for; nothing else has a meaning in a query, and a key may have any name.
QUERY = ("conf", "iou", "max_det", "agnostic", "classes")


def checked_route(route: str) -> str:
    """The same route; empty stands for the payload's own.

    Raises:
        OptionError: it is no path, or holds what may be a key; the message repeats nothing of that.
    """
    path, _, query = route.partition("?")
    if any(mark in route for mark in "@#;"):
        raise OptionError(f"--route: has a @, # or ;, and no place for a key; set {KEY_VARIABLE}")
    if any(name not in QUERY for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise OptionError(
            f"--route: {path}? takes {', '.join(QUERY)}, and is no place for a key; set {KEY_VARIABLE} for that"
        )
    if route and not route.startswith("/"):
        raise OptionError(f"--route={route}: must begin with /")
    return route
