"""The one picture a deploy asks about again and again: does what was just started answer it, and rightly?

The first answer per model comes from the trial of the release; every instance, and the balancer, must give the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import requests

from deploy.checks.own_key import headers
from deploy.checks.salt import salted
from deploy.checks.smoke import ALIKE, REQUEST_TIMEOUT_S, read_detect, refusal
from deploy.errors import Problem, StartError
from deploy.fleet import PREFIX, Balancer, Instance
from deploy.machine.machine import Machine
from framefleet.wire.answers import Detection
from framefleet.wire.same import same

# nginx chooses whom it asks: under load any instance may be next, when idle each is within a few requests.
THROUGH_BALANCER_S = 30.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """What is asked, and what has to come back.

    Attributes:
        picture: a JPEG.
        boxes: the right answer per model; any well-formed one will do for a model that is not here.
        key: API key to ask with; empty for none.
    """

    picture: bytes
    boxes: Mapping[str, tuple[Detection, ...]]
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """One good answer: which `instance` gave it, and its `boxes`."""

    instance: str
    boxes: tuple[Detection, ...]


def model_of(instance: Instance) -> str:
    """The model an instance serves."""
    return instance.environment[f"{PREFIX}MODEL"]


def ask(session: requests.Session, url: str, picture: bytes, key: str) -> Answer:
    """Sends the picture to one server, with the API key if there is one.

    Raises:
        ValueError: there is no answer, or not one as the API promises.
    """
    try:
        answer = session.post(f"{url}/v1/detect", data=salted(picture), headers=headers(key), timeout=REQUEST_TIMEOUT_S)
    except requests.RequestException as error:
        raise ValueError(f"no answer ({type(error).__name__})") from None
    if answer.status_code != requests.codes.ok:
        raise ValueError(refusal(answer, key))
    return Answer(answer.headers.get("X-Instance", ""), read_detect(answer.content))


def accept(
    session: requests.Session, instance: Instance, known: KnownPicture, balancer: Balancer | None, machine: Machine
) -> None:
    """Asks an instance about the picture, first directly, then through the balancer.

    Args:
        session: for HTTP.
        instance: what was just started.
        known: the picture.
        balancer: None if it sends this instance no requests.
        machine: times it.

    Raises:
        StartError: an answer is missing or wrong.
    """
    problems = [*_wrong(session, instance.url, instance, known)]
    if not problems and balancer:
        problems = [*_through(session, balancer, instance, known, machine)]
    if problems:
        raise StartError(Problem(instance.name, problems[0], "the release or its model is at fault; see its log"))


def _wrong(session: requests.Session, url: str, instance: Instance, known: KnownPicture) -> Iterator[str]:
    try:
        boxes = ask(session, url, known.picture, known.key).boxes
    except ValueError as error:
        yield str(error)
        return
    right = known.boxes.get(model_of(instance), boxes)
    if not same(boxes, right, ALIKE):
        yield f"finds {list(boxes)} in the test picture instead of {list(right)}"


def _through(
    session: requests.Session, balancer: Balancer, instance: Instance, known: KnownPicture, machine: Machine
) -> Iterator[str]:
    deadline = machine.clock() + THROUGH_BALANCER_S
    while True:
        try:
            answer = ask(session, balancer.url, known.picture, known.key)
        except ValueError as error:
            yield f"through the balancer: {error}"
            return
        if answer.instance == instance.name:
            return
        if machine.clock() > deadline:
            yield f"the balancer has not chosen it within {THROUGH_BALANCER_S:g} s"
            return
        machine.sleep(POLL_S)
