"""What the tests of the foreign protocols share: one application over an engine whose answers they know."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import msgspec
import numpy as np
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.app import create_app
from service.pipeline.detector import Detector
from service.settings import Settings
from tests.service.fakes import SIZE, ScriptedEngine

SETTINGS = Settings(instance="gpu0", release="r1", queue_size=4, max_files=3, max_body_bytes=200_000, self_test_s=0)
# Fills the whole input, so letterboxed pixels are picture pixels; its middle names the box's far corner and class.
PICTURE = np.full((SIZE, SIZE, 3), (30, 20, 1), np.uint8)
BOX = [0.0, 0.0, 30.0, 20.0]


@contextmanager
def scripted_client(engine: ScriptedEngine, settings: Settings = SETTINGS) -> Iterator[FlaskClient]:
    """A client of an application over the engine."""
    detector = Detector(settings, open_engine=lambda: engine)
    detector.start()
    try:
        yield create_app(settings, detector).test_client()
    finally:
        detector.batcher.stop()


def png(picture: np.ndarray = PICTURE) -> bytes:
    """The picture as a PNG file."""
    return bytes(cv2.imencode(".png", picture)[1])


def element(data: bytes) -> bytes:
    """One element of a binary BYTES tensor."""
    return len(data).to_bytes(4, "little") + data


def binary_infer(client: FlaskClient, model: str, tensor: dict[str, Any], data: bytes, **request: Any) -> TestResponse:
    """Sends an inference request whose input is binary."""
    described = {**tensor, "parameters": {"binary_data_size": len(data)}}
    head = msgspec.json.encode({"inputs": [described], **request})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return client.post(f"/v2/models/{model}/infer", data=head + data, headers=headers)


def json_infer(client: FlaskClient, model: str, tensor: dict[str, Any], **request: Any) -> TestResponse:
    """Sends an inference request whose input is JSON."""
    return client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], **request})


def outputs_of(answer: TestResponse) -> dict[str, Any]:
    """The outputs of an answer, whatever their form: FP32 and INT32 as arrays, BYTES as lists of str."""
    assert answer.status_code == 200, answer.text
    length = answer.headers.get("Inference-Header-Content-Length")
    head = msgspec.json.decode(answer.data if length is None else answer.data[: int(length)])
    rest = b"" if length is None else answer.data[int(length) :]
    found: dict[str, Any] = {}
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        part, rest = (None, rest) if size is None else (rest[:size], rest[size:])
        found[output["name"]] = _values(output, part)
    assert not rest
    return found


def _values(output: dict[str, Any], binary: bytes | None) -> Any:
    if output["datatype"] == "BYTES":
        return output["data"] if binary is None else _texts(binary)
    dtype = {"FP32": "<f4", "INT32": "<i4"}[output["datatype"]]
    flat = np.array(output["data"], dtype) if binary is None else np.frombuffer(binary, dtype)
    return flat.reshape(output["shape"])


def _texts(binary: bytes) -> list[str]:
    found = []
    while binary:
        end = 4 + int.from_bytes(binary[:4], "little")
        found.append(binary[4:end].decode())
        binary = binary[end:]
    return found
