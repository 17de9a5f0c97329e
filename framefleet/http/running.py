"""Finds the fleet that runs here by what `make up` leaves in its folder, so that tools need not be told its address.

Flow: VAR/etc/fleet.json + VAR/run/supervisor.sock -> running_address -> the tools' --url where none is given.
"""

import json
import socket
from pathlib import Path

from framefleet.failure import explain_os_error
from framefleet.http.address import AddressError, service_address

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
URL_HELP = "the service or balancer (default: the fleet that runs in --var)"
VAR_HELP = "folder of the fleet to ask where there is no --url (default ./var)"


class NoFleetError(AddressError):
    """No address was given, and no fleet runs whose address could be taken."""


def asked_address(url: str | None, var: Path) -> str:
    """The address a tool is to ask.

    Args:
        url: as it was typed; empty or None takes the running fleet's.
        var: that fleet's folder.

    Raises:
        NoFleetError: no address was given, and no fleet runs there.
        AddressError: what was typed is no address.
    """
    return service_address(url) if url else running_address(var)


def running_address(var: Path) -> str:
    """Where this machine's tools reach the fleet that runs in a folder: its balancer's plain port, with TLS too.

    Raises:
        NoFleetError: none runs there, or its record cannot be read; says what to do.
    """
    record = var / "etc" / "fleet.json"
    if not _answers(var / "run" / "supervisor.sock"):
        raise NoFleetError(f"no fleet runs in {var.absolute()}; start one with `make up`, or name a service with --url")
    try:
        balancer = json.loads(record.read_text(encoding="utf-8"))["balancer"]
        host, port = str(balancer["host"]), int(balancer["port"])
        host = LOOPBACK if host == EVERYWHERE or balancer["tls"] else host
    except PermissionError as error:
        raise NoFleetError(f"{explain_os_error(error)}; or name the service with --url") from None
    except OSError as error:
        raise NoFleetError(f"{record}: {error.strerror}; name the service with --url") from None
    except (ValueError, KeyError, TypeError):
        raise NoFleetError(f"{record}: no record of a fleet of this version; name the service with --url") from None
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _answers(path: Path) -> bool:
    """True if a supervisord listens, be it another user's, who alone may talk to it."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except PermissionError:
            return True
        except OSError:
            return False
    return True
