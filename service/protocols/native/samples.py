"""Calls to copy: each runs as it stands, beside a `picture.jpg`."""

from typing import Any

Json = dict[str, Any]

PYTHON_DETECT = """\
import requests

with open("picture.jpg", "rb") as picture:
    answer = requests.post("{url}/v1/detect", params={{"conf": 0.5}}, data=picture, timeout=10)
answer.raise_for_status()
for found in answer.json()["detections"]:
    print(found["label"], found["score"], found["box"])
"""
PYTHON_PREDICT = """\
import base64, json

import cv2, requests

frame = cv2.imread("picture.jpg")
image = base64.b64encode(frame.tobytes()).decode()
body = json.dumps({{"height": frame.shape[0], "width": frame.shape[1], "image": image}})
print(requests.post("{url}/predict", body, timeout=10).json())
"""


def detect_samples(url: str) -> list[Json]:
    """Ways to call `/v1/detect`."""
    post = f"curl --fail-with-body {url}/v1/detect"
    return [
        _shell("One picture", f"{post} --data-binary @picture.jpg"),
        _shell(
            "Only sure boxes, soon or not at all",
            f"{post}'?conf=0.8&max_det=5' -H 'X-Timeout-Ms: 2000' --data-binary @picture.jpg",
        ),
        _shell("Several pictures", f"{post} -F image=@picture.jpg -F image=@picture.jpg"),
        _shell(
            "The picture with its boxes drawn",
            f"{post} -H 'Accept: image/jpeg' --data-binary @picture.jpg -o boxes.jpg",
        ),
        _python(PYTHON_DETECT.format(url=url)),
    ]


def predict_samples(url: str) -> list[Json]:
    """Ways to call `/predict`."""
    return [
        _shell("A picture file", f"curl --fail-with-body {url}/predict --data-binary @picture.jpg"),
        _python(PYTHON_PREDICT.format(url=url)),
    ]


def get_sample(url: str, path: str) -> list[Json]:
    """The way to call a route that takes nothing."""
    return [_shell("curl", f"curl --fail-with-body {url}{path}")]


def _shell(label: str, source: str) -> Json:
    return {"lang": "Shell", "label": label, "source": source}


def _python(source: str) -> Json:
    return {"lang": "Python", "label": "Python", "source": source}
