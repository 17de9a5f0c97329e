"""Asks instances and the balancer whether they are ready, over HTTP and nothing else."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests

from deploy.fleet import Fleet
from framefleet.http.session import open_session

PROBE_TIMEOUT_S = 2.0
# Each worker of nginx has its own queue, and the kernel deals connections out by chance: so many miss none, but once in
# a thousand times.
ASKS_PER_WORKER = 7
MAX_ASKS = 64


@dataclass(frozen=True, slots=True)
class Readiness:
    """One answer, or none, to `GET /readyz`.

    Attributes:
        name: the instance or balancer that was asked.
        url: where it was asked.
        ready: True if the expected program answered that it is ready.
        release: the release id that answered; empty if none did.
        reason: why it is not ready; empty if it is.
    """

    name: str
    url: str
    ready: bool
    release: str
    reason: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something to probe.

    Attributes:
        name: in the fleet.
        url: where it is asked.
        instance: the instance that must answer; empty for any.
        release: the release it must be of; empty for any.
    """

    name: str
    url: str
    instance: str
    release: str = ""


def endpoints(fleet: Fleet) -> tuple[Endpoint, ...]:
    """Everything in a fleet that answers HTTP: the instances, then the balancer."""
    balancer = Endpoint(fleet.balancer.name, fleet.balancer.url, "")
    return (*(Endpoint(i.name, i.url, i.name) for i in fleet.instances), balancer)


def probe(session: requests.Session, endpoint: Endpoint, timeout_s: float = PROBE_TIMEOUT_S) -> Readiness:
    """Asks one endpoint once. Never raises: whatever is not a ready answer is a reason."""
    try:
        answer = session.get(f"{endpoint.url}/readyz", timeout=timeout_s)
        release, reason = _read(answer, endpoint)
    except requests.ConnectionError:
        release, reason = "", "refuses connections"
    except requests.Timeout:
        release, reason = "", f"no answer within {timeout_s:g} s"
    except requests.RequestException as error:
        release, reason = "", str(error)
    return Readiness(endpoint.name, endpoint.url, not reason, release, reason)


def probe_fleet(fleet: Fleet) -> tuple[Readiness, ...]:
    """Asks every instance once, and the balancer on so many new connections that each of its workers is asked."""
    *instances, balancer = endpoints(fleet)
    count = min(MAX_ASKS, ASKS_PER_WORKER * fleet.balancer.workers)
    with ThreadPoolExecutor(count) as pool:
        asked = list(pool.map(_probe_anew, (*instances, *[balancer] * count)))
    found, of_balancer = asked[: len(instances)], asked[len(instances) :]
    return (*found, next((answer for answer in of_balancer if not answer.ready), of_balancer[0]))


def _probe_anew(endpoint: Endpoint) -> Readiness:
    with open_session() as session:
        return probe(session, endpoint)


def _read(answer: requests.Response, endpoint: Endpoint) -> tuple[str, str]:
    """The release that answered, or the reason why this is not a ready answer."""
    if answer.status_code != requests.codes.ok:
        return "", f"answers {answer.status_code}"
    try:
        document = answer.json()
        instance, release = str(document["instance"]), str(document["release"])
    except (ValueError, KeyError, TypeError):
        return "", "answers 200, but not as an instance does: another server has this port"
    if endpoint.instance not in ("", instance):
        return "", f"is answered by {instance}"
    if endpoint.release not in ("", release):
        return release, f"is of release {release}, not {endpoint.release}"
    return release, ""


def wait_ready(
    wanted: tuple[Endpoint, ...],
    ask: Callable[[Endpoint], Readiness],
    watch: Callable[[], None],
    ready: Callable[[Readiness, float], None],
    *,
    timeout_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    poll_s: float = 0.1,
) -> tuple[Readiness, ...]:
    """Waits until every endpoint is ready.

    Args:
        wanted: what to wait for.
        ask: probes one endpoint.
        watch: called between rounds; raises if waiting has become pointless.
        ready: told of each endpoint once it is ready, with the s it took.
        timeout_s: s after which waiting ends.
        clock: monotonic s.
        sleep: waits for s.
        poll_s: s between rounds.

    Returns:
        The last answers of the endpoints that are still not ready; empty if all are.
    """
    began = clock()
    missing = wanted
    while True:
        answers = {endpoint: ask(endpoint) for endpoint in missing}
        for answer in answers.values():
            if answer.ready:
                ready(answer, clock() - began)
        missing = tuple(endpoint for endpoint in missing if not answers[endpoint].ready)
        if not missing or clock() - began >= timeout_s:
            return tuple(answers[endpoint] for endpoint in missing)
        watch()
        sleep(poll_s)
