"""What the page's routes send, without a browser: safe headers, cached rightly, never in the way of a detection."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.protocols.pages.routes import read_assets, render_page
from service.settings import Settings
from tests.service.fakes import ScriptedEngine

PAGES = ("/", "/fleet")
SETTINGS = Settings(instance="gpu0", release="r1", queue_size=4, conf=0.2, iou=0.6, max_det=25, max_body_bytes=200_000)


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


def files_of(client: FlaskClient) -> dict[str, str]:
    """Every address that the pages or one of their scripts name, with the text behind it."""
    found: dict[str, str] = {}
    todo = [a for page in PAGES for a in re.findall(r'(?:src|href)="(static/[^"]+)"', client.get(page).text)]
    while todo:
        address = todo.pop()
        if address not in found:
            answer = client.get(f"/{address}")
            assert answer.status_code == 200, address
            found[address] = answer.text
            folder = address.rpartition("/")[0]
            todo += [f"{folder}/{name}" for name in re.findall(r'from "\./([\w.]+)"', answer.text)]
    return found


def test_every_page_answer_is_locked_down(client: FlaskClient) -> None:
    address = next(iter(files_of(client)))
    for answer in (*map(client.get, PAGES), client.get(f"/{address}"), client.get("/static/none/page.js")):
        policy = dict(part.partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "camera=(self), microphone=()" in answer.headers["Permissions-Policy"]


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(client: FlaskClient) -> None:
    pages = [client.get(page).text for page in PAGES]
    for page in pages:
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)|javascript:", page)
    for text in (*pages, *files_of(client).values()):
        others = set(re.findall(r"""["'(](?:https?:)?//[^"')]+""", text))
        assert others <= {'"http://www.w3.org/2000/svg'}


def test_every_file_is_sent_for_ever_with_its_type(client: FlaskClient) -> None:
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    files = files_of(client)
    assert {Path(address).suffix for address in files} == set(types)
    for address in files:
        answer = client.get(f"/{address}")
        assert answer.content_type == types[Path(address).suffix]
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert client.get(f"/{address}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_no_file_lies_about_unused(client: FlaskClient) -> None:
    used = {Path(address).name for address in files_of(client)}
    static = Path(__file__).parents[4] / "service" / "static"
    assert {path.name for path in static.iterdir()} - used <= {"docs.css"}


def test_the_page_is_asked_for_again_each_time(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.head("/").headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize("address", ["static/another/page.js", "static/{version}/none.js"])
def test_files_of_another_release_are_never_mixed_in(client: FlaskClient, address: str) -> None:
    version = next(iter(files_of(client))).split("/")[1]
    answer = client.get(f"/{address.format(version=version)}")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd"])
def test_nothing_but_the_pages_files_can_be_read(client: FlaskClient, name: str) -> None:
    version = next(iter(files_of(client))).split("/")[1]
    assert client.get(f"/static/{version}/{name}").status_code in (308, 404)


def test_a_changed_file_changes_the_address_of_all(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text("one")
    (tmp_path / "theme.css").write_text("two")
    before = read_assets(tmp_path)
    assert read_assets(tmp_path).version == before.version
    (tmp_path / "theme.css").write_text("three")
    assert read_assets(tmp_path).version != before.version


def test_every_instance_of_a_release_sends_the_same_page(engine: ScriptedEngine) -> None:
    one, other = (
        render_page(engine.info, replace(SETTINGS, instance=name, port=port), "v")
        for name, port in [("gpu0", 8101), ("gpu1", 8102)]
    )
    assert one == other


def test_sliders_begin_where_the_service_does_and_end_at_its_limits(client: FlaskClient) -> None:
    page = client.get("/").text
    attributes = r'id="(\w+)" name="\w+" min="([\d.]+)" max="([\d.]+)"\s+step="([\d.]+)" value="([\d.]+)"'
    assert re.findall(attributes, page) == [
        ("conf", "0", "1", "0.01", "0.2"),
        ("iou", "0", "1", "0.01", "0.6"),
        ("max_det", "1", "300", "1", "25"),
    ]
    assert 'data-max-body-bytes="200000"' in page


def test_class_names_are_text_whatever_they_say(engine: ScriptedEngine) -> None:
    info = replace(engine.info, model="<m>", classes=('"><script src=x>', "b"))
    page = render_page(info, SETTINGS, "v").decode()
    assert "<script src=x>" not in page and "<m>" not in page
    assert "&#34;&gt;&lt;script src=x&gt;" in page


def test_a_search_box_comes_with_many_classes(engine: ScriptedEngine) -> None:
    few, many = (
        render_page(replace(engine.info, classes=tuple(f"c{i}" for i in range(count))), SETTINGS, "v").decode()
        for count in (12, 13)
    )
    assert "class-search" not in few
    assert "class-search" in many


def test_the_page_is_answered_while_the_engine_is_stuck_and_the_instance_full(
    client: FlaskClient, engine: ScriptedEngine
) -> None:
    engine.gate.clear()
    with client.application.extensions["detector"].batcher.queue.admit(4, "127.0.0.1"):
        assert client.get("/").status_code == 200
        assert len(files_of(client)) > 10
    assert engine.batches == []


@pytest.mark.parametrize(("page", "expected"), [("/", ["docs", "status", "metrics"]), ("/fleet", ["./", "docs"])])
def test_links_of_a_page_lead_somewhere(client: FlaskClient, page: str, expected: list[str]) -> None:
    links = re.findall(r'<a href="([^"#]+)"', client.get(page).text)
    assert links == expected
    assert {client.get(f"/{link.removeprefix('./')}").status_code for link in links} == {200}
