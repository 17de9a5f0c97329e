"""A salted picture is nobody else's, and shows the same; deploys and smoke tests send no other."""

import cv2
import numpy as np
import pytest
import requests

from deploy.checks.health import Endpoint
from deploy.checks.known_picture import ask
from deploy.checks.salt import salted
from deploy.checks.smoke import smoke
from service.pictures.body import decode
from service.pictures.image import ImageLimits
from tests.service.stub import Reply, running_stub

PIXELS = np.random.default_rng(7).integers(0, 256, (40, 60, 3), np.uint8)
LIMITS = ImageLimits(10_000, 1000)


def encoded(kind: str) -> bytes:
    return bytes(cv2.imencode(kind, PIXELS, [cv2.IMWRITE_WEBP_QUALITY, 80] if kind == ".webp" else [])[1])


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp", ".bmp"])
def test_a_salted_picture_shows_what_it_showed_and_is_never_the_same_twice(kind: str) -> None:
    picture = encoded(kind)
    first, second = salted(picture), salted(picture)
    assert len({picture, first, second}) == 3
    for one in (first, salted(picture, b"\xff\xd9\xff\0" * 4)):
        assert np.array_equal(decode(one, LIMITS).pixels, decode(picture, LIMITS).pixels)


def test_what_is_no_picture_is_left_alone() -> None:
    assert salted(b'{"height": 1}') == b'{"height": 1}'


def test_no_two_requests_of_deploys_and_smoke_tests_bring_the_same_bytes() -> None:
    picture = encoded(".jpg")
    with running_stub(Reply(503)) as server, requests.Session() as session:
        for _ in range(2):
            list(smoke(session, [Endpoint("cpu0", server.url, "cpu0", "r1")], picture, ""))
            with pytest.raises(ValueError):
                ask(session, server.url, picture, "")
    assert len({*server.bodies, picture}) == 7
