"""Inference by the Open Inference Protocol as it looks: a request, an answer, and calls to copy, for each model."""

import base64
from typing import Any

import cv2
import msgspec
import numpy as np

from service.engines import EngineInfo
from service.openapi.dialects import python, shell
from service.pipeline.boxes import Boxes
from service.protocols.oip.answer import chosen_outputs, write_answer
from service.protocols.oip.layout import boxes_as_tensors, candidates_as_yolov5
from service.protocols.oip.models import Model
from service.protocols.oip.request import InferRequest, InputTensor
from service.protocols.oip.routes import HEADER_LENGTH
from service.protocols.oip.tensors import OutputTensor

Json = dict[str, Any]

PICTURES = "detect"  # the model that takes picture files; the other one takes frames
EXAMPLE_ID = "42"

SHELL_PICTURES = """\
printf '{{"inputs": [{{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["%s"]}}]}}' \\
  "$(base64 < picture.jpg | tr -d '\\n')" |
  curl --fail-with-body {url}/v2/models/{model}/infer --data-binary @-\
"""
PYTHON_PICTURES = """\
import json

import requests

with open("picture.jpg", "rb") as file:
    picture = file.read()
data = len(picture).to_bytes(4, "little") + picture
tensor = {{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {{"binary_data_size": len(data)}}}}
head = json.dumps({{"inputs": [tensor], "parameters": {{"conf": 0.5}}}}).encode()
headers = {{"{header}": str(len(head))}}
answer = requests.post("{url}/v2/models/{model}/infer", data=head + data, headers=headers, timeout=10)
answer.raise_for_status()
for output in answer.json()["outputs"]:
    print(output["name"], output["shape"], output["data"])
"""
PYTHON_FRAMES = """\
import json

import cv2, numpy, requests

picture = cv2.imread("picture.jpg")
scale = min({height} / picture.shape[0], {width} / picture.shape[1])
scaled = cv2.resize(picture, None, fx=scale, fy=scale)[:{height}, :{width}]
frame = numpy.full(({height}, {width}, 3), 114, numpy.uint8)
frame[: scaled.shape[0], : scaled.shape[1]] = scaled
images = (frame[:, :, ::-1].transpose(2, 0, 1)[None] / 255).astype("<f4")
data = images.tobytes()
tensor = {{
    "name": "images", "datatype": "FP32", "shape": images.shape, "parameters": {{"binary_data_size": len(data)}}
}}
head = json.dumps({{"inputs": [tensor], "parameters": {{"binary_data_output": True}}}}).encode()
headers = {{"{header}": str(len(head))}}
answer = requests.post("{url}/v2/models/{model}/infer", data=head + data, headers=headers, timeout=10)
answer.raise_for_status()
length = int(answer.headers["{header}"])
shape = json.loads(answer.content[:length])["outputs"][0]["shape"]
print(numpy.frombuffer(answer.content[length:], "<f4").reshape(shape))
"""


def example_infer_request() -> Json:
    """A picture that is small enough to be read, and real enough to be answered."""
    pixels = np.arange(0, 240, 10, dtype=np.uint8).reshape(2, 4, 3)
    picture = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [picture]}
    return {"id": EXAMPLE_ID, "inputs": [tensor], "parameters": {"conf": 0.5}}


def example_infer_answer(model: Model, info: EngineInfo) -> object:
    """The answer to a picture with one object, or to a frame with one."""
    corners, score = [66.25, 33.5, 112.0, 94.75], 0.75
    outputs: tuple[OutputTensor, ...]
    if model.name == PICTURES:
        found = Boxes(np.array([corners], np.float32), np.array([score], np.float32), np.zeros(1, np.int64))
        outputs = boxes_as_tensors([found], info.classes)
    else:
        candidates = np.array([[[*corners, score, 0]]], np.float32)
        outputs = (OutputTensor("output0", "FP32", candidates_as_yolov5(candidates, len(info.classes))),)
    nothing = InputTensor("", "", (), memoryview(b""), binary=False)
    asked = InferRequest(EXAMPLE_ID, {}, nothing, (), binary_output=False)
    chosen = chosen_outputs(asked, [output.name for output in outputs])
    return msgspec.json.decode(write_answer(model.name, EXAMPLE_ID, chosen, outputs).body)


def infer_samples(model: Model, info: EngineInfo, url: str) -> list[Json]:
    """Ways to ask the model."""
    words = {"url": url, "model": model.name, "header": HEADER_LENGTH}
    if model.name == PICTURES:
        return [shell("A picture", SHELL_PICTURES.format(**words)), python(PYTHON_PICTURES.format(**words))]
    height, width = info.input_size
    return [python(PYTHON_FRAMES.format(**words, height=height, width=width))]
