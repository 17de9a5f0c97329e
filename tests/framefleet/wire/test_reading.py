"""An answer is held against the promised schema."""

import json
from typing import Any

import pytest

from framefleet.wire.answers import Detection
from framefleet.wire.reading import MalformedAnswerError, parse, parse_first_server
from tests.loadtest.fake_service import FACE, answer


def test_a_promised_answer_is_read() -> None:
    assert parse(answer(FACE), 176, 144) == (Detection("face", 0, 0.9184, (60.0, 50.0, 106.0, 111.0)),)


def test_no_detection_is_an_answer() -> None:
    assert parse(answer(), 176, 144) == ()


def test_whole_numbers_are_numbers() -> None:
    (found,) = parse(answer(FACE | {"score": 1, "box": [0, 0, 176, 144]}), 176, 144)
    assert found.box == (0.0, 0.0, 176.0, 144.0)


def without(name: str) -> bytes:
    document: dict[str, Any] = json.loads(answer(FACE))
    del document[name]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "body starts b''"),
        (b"<html>busy</html>", "malformed"),
        (b"[]", "array"),
        (without("detections"), "detections"),
        (without("image"), "image"),
        (without("timings_ms"), "timings_ms"),
        (without("request_id"), "request_id"),
        (answer(FACE | {"score": "high"}), "score"),
        (answer(FACE | {"box": [1, 2, 3]}), "box"),
        (answer(FACE | {"score": 1.2}), r"detections\[0\]\.score: 1\.2"),
        (answer(FACE | {"box": [60, 50, 40, 111]}), r"detections\[0\]\.box"),
        (answer(FACE | {"box": [60, 50, 190, 111]}), "does not lie within 176x144"),
        (answer(FACE | {"score": 0.5}, FACE), "falling score"),
        (answer(FACE, width=320), "says 320x144, sent was 176x144"),
    ],
)
def test_what_was_not_promised_is_malformed(body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedAnswerError, match=complaint):
        parse(body, 176, 144)


def test_an_answer_of_the_first_servers_protocol_is_read() -> None:
    body = b'[{"3": [-2, 5, 60, 200, 0.91]}, {"0": [1, 2, 3, 4, 0.4]}]'
    assert parse_first_server(body, 176, 144) == (
        Detection("3", 3, 0.91, (-2, 5, 60, 200)),
        Detection("0", 0, 0.4, (1, 2, 3, 4)),
    )
    assert parse_first_server(b"[]", 176, 144) == ()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{}", "Expected `array`"),
        (b'[{"0": [1, 2, 3, 0.5]}]', "Expected `int`"),
        (b'[{"0": [1.5, 2, 3, 4, 0.5]}]', "Expected `int`"),
        (b'[{"face": [1, 2, 3, 4, 0.5]}]', "invalid literal"),
        (b"[{}]", "does not have one class"),
        (b'[{"0": [1, 2, 3, 4, 0.5], "1": [1, 2, 3, 4, 0.5]}]', "does not have one class"),
        (b'[{"0": [1, 2, 3, 4, 1.5]}]', r"detections\[0\].score: 1.5 is not within"),
        (b'[{"0": [1, 2, 3, 4, 0.5]}, {"0": [1, 2, 3, 4, 0.6]}]', "falling score"),
    ],
)
def test_a_broken_answer_of_the_first_servers_protocol_is_named(body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedAnswerError, match=complaint):
        parse_first_server(body, 176, 144)
