"""Says in one line what a fleet serves: how many instances of which model, on what, and where."""

from typing import Any

import requests

from deploy.checks.health import PROBE_TIMEOUT_S
from deploy.files.changes import model_name
from deploy.fleet import SIMULATED, Fleet, Instance
from framefleet.http.session import open_session


def summary(fleet: Fleet) -> str:
    """What a running fleet is, as its instances say themselves."""
    count = len(fleet.instances)
    with open_session() as session:
        # Each once, in the order of the instances: GPUs of one host may differ.
        serving = ", ".join(dict.fromkeys(_serving(session, instance, fleet) for instance in fleet.instances))
    who = f"{count} instance{'' if count == 1 else 's'} of release {fleet.release}"
    return f"{who}, {serving}, behind {fleet.balancer.url}" if serving else f"{who} behind {fleet.balancer.url}"


def _serving(session: requests.Session, instance: Instance, fleet: Fleet) -> str:
    """An instance's model and device; without an answer only the model that it was told to serve."""
    if fleet.model.startswith(SIMULATED):
        return fleet.model
    try:
        told: Any = session.get(f"{instance.url}/status", timeout=PROBE_TIMEOUT_S).json()
        model, device, note = told["model"]["name"], told["engine"]["device"], told["engine"]["note"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return model_name(fleet.model)
    return f"{model} on {device}{f' ({note})' if note else ''}"
