"""Opens HTTP sessions to a fleet that the environment cannot lead astray."""

import os
from collections.abc import Mapping
from pathlib import Path

import requests

# Where curl, Python and requests look for certificates; the first that is set counts.
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def open_session(cacert: Path | None = None, environ: Mapping[str, str] = os.environ) -> requests.Session:
    """A session that goes straight to the address it is given.

    Proxies and `.netrc` are ignored: they would take requests to a fleet, even one on this machine, elsewhere, or add a
    password to them.

    Args:
        cacert: file of certificates to trust in place of the usual ones; None takes what one of
            `CERTIFICATE_VARIABLES` names, and else the usual ones.
        environ: where those variables are looked for.
    """
    session = requests.Session()
    session.trust_env = False
    if named := certificates(cacert, environ):
        session.verify = named
    return session


def certificates(cacert: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The file of certificates to trust in place of the usual ones; empty for those.

    Args:
        cacert: as `open_session` takes it.
        environ: likewise.
    """
    return str(cacert or "") or next((environ[name] for name in CERTIFICATE_VARIABLES if environ.get(name)), "")
