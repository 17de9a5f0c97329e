"""The page at /docs: whole, safe, and with calls that work as they stand."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from flask.testing import FlaskClient

from service.app import create_app
from service.engines import EngineInfo
from service.pipeline.detector import Detector
from service.settings import Settings
from tests.instance import running_instance
from tests.service.documented import Document
from tests.service.fakes import SIZE, ScriptedEngine

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    engine = ScriptedEngine()
    engine.info = EngineInfo("scripted", "scripted", "none", (SIZE, SIZE), 4, (HOSTILE, "plate"))
    monkeypatch.setattr("service.pipeline.detector.load_engine", lambda settings: engine)
    detector = Detector(Settings())
    detector.start()
    yield create_app(Settings(host="10.0.0.7", port=8105), detector).test_client()
    detector.batcher.stop()


class Links(HTMLParser):
    """The ids of a page, what it links to, what it loads, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(given)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [given["href"]] if tag == "a" and given.get("href") else []
        self.loads += [given["href"]] if tag == "link" and given.get("href") else []
        self.loads += [given["src"]] if given.get("src") else []


def test_the_page_shows_the_whole_document(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    page = client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    for path, item in document["paths"].items():
        for operation in item.values():
            for words in (path, operation["summary"], *(p["name"] for p in operation.get("parameters", []))):
                assert words in page.text
    for problem in document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]:
        assert problem == "http_error" or f'id="{problem}"' in page.text
    for schema in document["components"]["schemas"]:
        assert f'id="schema-{schema}"' in page.text


def test_every_link_of_the_page_leads_somewhere(client: FlaskClient) -> None:
    found = Links(client.get("/docs").text)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    for link in [*found.loads, *found.links]:
        if not link.startswith("#"):
            assert client.get(f"/{link.removeprefix('./')}").status_code == 200, link


def test_the_page_needs_nothing_but_its_own_style_sheet(client: FlaskClient) -> None:
    page = client.get("/docs")
    found = Links(page.text)
    policy = page.headers["Content-Security-Policy"]
    assert (found.loads, "script" in found.tags, "style" in found.tags) == (["docs.css"], False, False)
    assert not [name for name in found.attributes if name == "style" or name.startswith("on")]
    assert policy.startswith("default-src 'none'; style-src 'self'; ") and "unsafe" not in policy
    style = client.get("/docs.css")
    assert (style.content_type, "url(" in style.text, "@import" in style.text) == (
        "text/css; charset=utf-8",
        False,
        False,
    )


def test_names_of_a_foreign_model_and_host_are_text_not_markup(client: FlaskClient) -> None:
    page = client.get("/docs", headers={"Host": 'x"><script>'}).text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize(
    ("host", "url"), [("api.example:8080", "http://api.example:8080"), ("?", "http://10.0.0.7:8105")]
)
def test_the_calls_go_where_the_reader_is_or_else_to_the_instance(client: FlaskClient, host: str, url: str) -> None:
    assert f"curl --fail-with-body {url}/v1/detect" in client.get("/docs", headers={"Host": host}).text


@pytest.fixture(scope="module")
def url(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), "simulated:a_ms=0,b_ms=0", log) as instance:
        yield instance.url


@pytest.fixture(scope="module")
def document(url: str) -> Document:
    return Document(requests.get(f"{url}/openapi.json", timeout=10).json())


def operations(document: Document) -> Iterator[tuple[str, str, dict]]:
    for path, item in document.json["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_every_call_on_the_page_works_as_it_stands(document: Document, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine; apt-get install curl")
    cv2.imwrite(str(tmp_path / "picture.jpg"), np.full((48, 64, 3), 90, np.uint8))
    for method, path, operation in operations(document):
        for sample in operation["x-codeSamples"]:
            command = {"Shell": ["bash", "-ec"], "Python": [sys.executable, "-c"]}[sample["lang"]]
            ran = subprocess.run(
                [*command, sample["source"]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            assert ran.returncode == 0, f"{path}: {sample['label']}: {ran.stderr}{ran.stdout}"
            content = document.answer(method, path, 200)["content"]
            if sample["lang"] == "Shell" and "application/json" in content and ran.stdout:
                document.validate(content["application/json"]["schema"], json.loads(ran.stdout))
    assert (tmp_path / "boxes.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_every_example_of_a_request_is_answered(url: str, document: Document) -> None:
    for method, path, operation in operations(document):
        given = operation.get("parameters", [])
        query = {p["name"]: _written(p["example"]) for p in given if p["in"] == "query"}
        headers = {p["name"]: _written(p["example"]) for p in given if p["in"] == "header"}
        bodies = operation.get("requestBody", {"content": {"": {}}})["content"]
        for body in [body["example"] for body in bodies.values() if "example" in body] or [None]:
            if body is not None or "requestBody" not in operation:
                answer = requests.request(method, url + path, params=query, headers=headers, json=body, timeout=10)
                assert answer.status_code == 200, answer.text
                document.check(method, path, 200, answer.headers, answer.content)


def test_every_example_of_an_answer_is_of_its_schema(document: Document) -> None:
    checked = 0
    for method, path, operation in operations(document):
        for status in operation["responses"]:
            answer = document.answer(method, path, int(status))
            for body in answer["content"].values():
                examples = [body["example"]] if "example" in body else []
                for example in [*examples, *(said["value"] for said in body.get("examples", {}).values())]:
                    document.validate(body["schema"], example)
                    checked += 1
            for about in answer["headers"].values():
                header = document.resolved(about)
                document.validate(header["schema"], header["example"])
    assert checked > 20


def _written(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return json.dumps(value) if not isinstance(value, str) else re.sub(r"\s", "", value)
