"""Says what to do where a service refuses a request for its API key, in the same words in every tool."""

from framefleet.http.address import KEY_VARIABLE

HOW = "`make key NAME=...` makes one (docs/security.md)"


def key_advice(status: int, key: str) -> str:
    """What a person does about a refusal, as the end of a message; empty where the key is not to blame.

    Args:
        status: HTTP status of the answer.
        key: that was sent; empty if there was none.
    """
    match status, bool(key):
        case (401, False):
            return f"set {KEY_VARIABLE} to one of its API keys; {HOW}"
        case (401, True):
            return f"the key that was sent is none of its keys: correct {KEY_VARIABLE}, or on a host keys.own; {HOW}"
        case (403, True):
            return f"the key that was sent may not do this: {KEY_VARIABLE} needs one with SCOPES=detect; {HOW}"
    return ""
