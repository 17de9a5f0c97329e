"""Which certificates a load test trusts: `--cacert`, or what the environment names, in this process and in Locust's.

`refusal`: says why a fleet's certificate was refused and what to do about it: an error of TLS -> a line.
"""

import argparse
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from framefleet.http.session import CERTIFICATE_VARIABLES, certificates
from loadtest.errors import OptionError

# OpenSSL's numbers for what people run into.
EXPIRED, NOT_YET = 10, 9
OTHER_HOST, OTHER_ADDRESS = 62, 64


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


def refusal(url: str, error: BaseException) -> str:
    """Why no trusted connection came about, and how to get one.

    Args:
        url: that was asked.
        error: what a client raised; the error of TLS may stand among its causes or its arguments.
    """
    where = urlsplit(url).netloc
    found = _tls_error(error)
    if not isinstance(found, ssl.SSLCertVerificationError):
        reason = str(getattr(found, "reason", "") or error).replace("_", " ").lower()
        return f"{where} speaks no TLS that works here ({reason}); if it has no certificate, ask it with http://"
    reason = found.verify_message.rstrip(".")
    if found.verify_code in (EXPIRED, NOT_YET):
        fix = "renew it, or set this machine's clock"
    elif found.verify_code in (OTHER_HOST, OTHER_ADDRESS):
        fix = "ask by a name it holds, or make one that holds this (`make certificate NAME=host ADDRESS=address`)"
    else:
        fix = "give its file, or its issuer's, with --cacert or REQUESTS_CA_BUNDLE (`make certificate` names its file)"
    return f"the certificate of {where} is not trusted: {reason}; {fix}"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS in a chain of errors; clients wrap it more than once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, ssl.SSLError):
            return one
        seen.add(id(one))
        inner = [value for value in (*one.args, getattr(one, "reason", None)) if isinstance(value, BaseException)]
        waiting += [*inner, one.__cause__, one.__context__]
    return None
