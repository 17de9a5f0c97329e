"""Which certificates a load test trusts: `--cacert`, or what the environment names, in this process and in Locust's."""

import argparse
import os
import ssl
from pathlib import Path

from framefleet.http.session import CERTIFICATE_VARIABLES, certificates
from loadtest.errors import OptionError


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--cacert`."""
    text = f"file of certificates to trust, for https (default: what {CERTIFICATE_VARIABLES[0]} names, else the usual)"
    parser.add_argument("--cacert", type=Path, default=None, metavar="FILE", help=text)


def trust(cacert: Path | None, url: str) -> None:
    """Trusts a file in this process and in those that it starts.

    Args:
        cacert: the file; None leaves it to the environment.
        url: the service, empty if it is not known here; without TLS nobody needs what the environment names.

    Raises:
        OptionError: the file cannot be read, or holds no certificate.
    """
    if cacert:
        os.environ[CERTIFICATE_VARIABLES[0]] = str(cacert.absolute())
    elif not url.lower().startswith("https:"):
        return
    named = certificates()
    try:
        context()
    except OSError as error:  # ssl.SSLError is one
        reason = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        option = "--cacert" if cacert else " or ".join(CERTIFICATE_VARIABLES)
        raise OptionError(f"{option}: {cacert or named}: {reason}; name a PEM file of certificates") from None


def context(cafile: str | None = None) -> ssl.SSLContext:
    """What connections are made with.

    Args:
        cafile: certificates to trust if neither we nor the environment were told any; None for the system's.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    named = certificates() or cafile
    folder = bool(named) and Path(str(named)).is_dir()
    return ssl.create_default_context(cafile=None if folder else named, capath=named if folder else None)
