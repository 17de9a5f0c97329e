"""Reads the API key that a tool sends, from the environment: everybody on a machine can read command lines."""

import os
import re
from collections.abc import Mapping

from framefleet.http.address import KEY_VARIABLE

SENDABLE = re.compile(r"[!-~]*")


class BadKeyError(ValueError):
    """What was given is no API key; the message says `where`, and does not repeat it."""

    what, fix = "has blanks or characters other than ASCII in it, as no API key has", "correct it"

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} {self.what}; {self.fix}")
        self.where = where


def given_key(environ: Mapping[str, str] = os.environ) -> str:
    """The caller's key; empty if there is none.

    Raises:
        BadKeyError: no request can bring it.
    """
    return cleaned_key(environ.get(KEY_VARIABLE, ""), KEY_VARIABLE)


def cleaned_key(text: str, where: str) -> str:
    r"""A key without what a file or a paste leaves around it, such as `\r`.

    Args:
        text: as it was given.
        where: that was.

    Raises:
        BadKeyError: it has characters that no key has.
    """
    key = text.strip()
    if not SENDABLE.fullmatch(key):
        raise BadKeyError(where)
    return key
