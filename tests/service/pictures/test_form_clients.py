"""Forms of real clients at a real instance: on every route that reads forms, the answer of the picture alone."""

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from tests.instance import running_instance

CASES = Path("tests/cases")
CLEAN = CASES / "clean.jpg"
ROUTES = ("/v1/detect", "/predict", "/v1/vision/detection")
DETECT = ROUTES[0]
NAMES = ("plain.jpg", "Küche 台所.jpg", 'a "quoted"; name=b.jpg', "back\\slash.jpg", "x" * 250 + ".jpg")


@pytest.fixture(scope="module")
def url(default_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("forms") / "log"
    with running_instance(free_port(), default_model, log) as instance:
        yield instance.url
    assert "Traceback" not in log.read_text()


def found(answer: requests.Response) -> Any:
    """What was detected, without times and numbers of requests."""
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return document if isinstance(document, list) else document.get("detections") or document["predictions"]


@pytest.fixture(scope="module")
def expected(url: str) -> dict[str, Any]:
    """What each route finds in the picture alone, one face."""
    alone = {route: found(requests.post(url + route, CLEAN.read_bytes(), timeout=30)) for route in ROUTES}
    assert [len(faces) for faces in alone.values()] == [1, 1, 1]
    return alone


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", sorted(CASES.glob("form-*.body")), ids=lambda path: path.stem)
def test_a_form_of_one_picture_answers_as_the_picture(
    url: str, expected: dict[str, Any], case: Path, route: str
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=CASE"}
    answer = requests.post(url + route, case.read_bytes(), headers=headers, timeout=30)
    assert found(answer) == expected[route]
    assert "results" not in answer.text


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_requests_and_urllib3(url: str, expected: dict[str, Any], name: str, route: str) -> None:
    picture = CLEAN.read_bytes()
    files = {"image": (name, picture), "mask": ("", b""), "min_confidence": (None, "0.4")}
    assert found(requests.post(url + route, files=files, timeout=30)) == expected[route]
    fields = {"image": (name, picture, "image/jpeg"), "note": "text"}
    body, content_type = urllib3.encode_multipart_formdata(fields, boundary="=_a b:'" + "c" * 60)
    quoted = content_type.replace("boundary=", 'boundary="') + '"'
    for header in (quoted, ""):
        answer = requests.post(url + route, body, headers={"Content-Type": header}, timeout=30)
        assert found(answer) == expected[route]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "arguments",
    [
        ["-F", f"image=@{CLEAN}"],
        ["-F", f'image=@{CLEAN};type=image/jpeg;filename=Küche "1"; 2.jpg'],
        ["-F", f"image=@{CLEAN};filename=", "-F", "mask=@/dev/null;filename="],
        ["-F", f"image=<{CLEAN}"],
        ["-F", f"image=@{CLEAN};encoder=base64"],
        ["-F", f"image=@{CLEAN}", "-F", "min_confidence=0.4;type=text/plain; charset=iso-8859-1"],
        ["-F", "=(;type=multipart/mixed", "-F", f"image=@{CLEAN}", "-F", "=)"],
        ["-F", f"image=@{CLEAN}", "-H", "Content-Type: multipart/mixed"],
        ["-F", f"image=@{CLEAN}", "-H", "Content-Type:", "-H", "Transfer-Encoding: chunked"],
        ["--form-escape", "-F", f'image=@{CLEAN};filename="a\\"b.jpg"'],
    ],
    ids=" ".join,
)
def test_curl(url: str, expected: dict[str, Any], arguments: list[str], route: str) -> None:
    curl = subprocess.run(
        ["curl", "-sS", "--fail-with-body", "--noproxy", "*", *arguments, url + route],
        capture_output=True,
        check=False,
        timeout=60,
    )
    answer = requests.Response()
    answer.status_code, answer.raw = (200 if curl.returncode == 0 else 500), io.BytesIO(curl.stdout + curl.stderr)
    assert found(answer) == expected[route]


def test_pictures_and_empty_fields_keep_their_order(url: str, expected: dict[str, Any]) -> None:
    picture = CLEAN.read_bytes()
    files = [("a", ("a.jpg", picture)), ("b", ("", b"")), ("c", ("c.jpg", b"no picture")), ("d", ("d.jpg", picture))]
    results = requests.post(url + DETECT, files=files, timeout=30).json()["results"]
    assert [result["name"] for result in results] == ["a.jpg", "c.jpg", "d.jpg"]
    assert [result.get("detections") for result in results] == [expected[DETECT], None, expected[DETECT]]
    assert [result.get("status") for result in results] == [None, 415, None]


@pytest.mark.parametrize("route", ROUTES)
def test_a_form_in_which_nothing_was_chosen_says_so(url: str, route: str) -> None:
    answer = requests.post(url + route, files={"image": ("", b"")}, timeout=30)
    assert answer.status_code == 400
    assert "no file was chosen" in answer.text
