"""What the page says when something goes wrong: words, never raw JSON, and it goes on where that can help."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.instance import running_instance
from tests.service.held import held_instance
from tests.service.protocols.pages.page import Page

SIMULATED = "simulated:a_ms=1"
ANSWERED = "1 box: object"


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


def assert_words(page: Page) -> None:
    """The message is for people."""
    message = page.text("#message")
    assert message and not set('{}[]"<>') & set(message), message


def answer_with(page: Page, status: int, headers: dict[str, str], body: str) -> None:
    """Has the next detection answered by something that is not the service, as a proxy would."""
    page.evaluate(f"""
      window.realFetch ??= window.fetch;
      window.fetch = async (...given) => {{
        window.fetch = window.realFetch;
        return new Response({body!r}, {{status: {status}, headers: {headers!r}}});
      }}; 0""")


def test_a_picture_that_the_service_refuses_is_explained_in_its_words(
    blank_page: Page, port: int, picture: Path, tmp_path: Path
) -> None:
    blank_page.expected = ["413"]
    with running_instance(port, SIMULATED, tmp_path / "log") as instance:
        blank_page.open(f"{instance.url}/")
    with running_instance(port, SIMULATED, tmp_path / "log", max_side=100):
        blank_page.choose(picture)
        blank_page.wait_for_text("#message", "The picture is too large.")
    assert "Image: 176x144 is over the limit of 100 pixels a side" in blank_page.text("#message")
    assert "instance tested" in blank_page.text("#message-footnote")
    assert_words(blank_page)
    assert blank_page.text("#summary") == ""
    assert blank_page.visible("#canvas"), "the person still sees what they chose"
    with running_instance(port, SIMULATED, tmp_path / "log"):
        blank_page.choose(picture)
        blank_page.wait_for_text("#summary", ANSWERED)
        assert not blank_page.visible("#message")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"plain words", "notes.txt cannot be shown"),
        ("broken.png", b"\x89PNG\r\n\x1a\n", "broken.png cannot be shown"),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "cut.jpg cannot be shown"),
        ("broken.webm", b"\x1a\x45\xdf\xa3", "broken.webm cannot be played"),
        ("unknown", b"\x00\x01", "unknown cannot be shown"),
    ],
)
def test_a_file_that_is_no_picture_is_named(page: Page, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    page.choose(path)
    page.wait_for_text("#message", words)
    assert_words(page)
    assert page.visible("#invitation")
    assert page.asked() == []


def test_text_that_is_dropped_is_no_file(page: Page) -> None:
    x, y = page.middle("#stage")
    data = {"items": [{"mimeType": "text/plain", "data": "hello"}], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
    page.wait_for_text("#message", "That was not a file")


def test_a_picture_over_the_limit_is_sent_smaller_or_refused_in_words(
    blank_page: Page, port: int, picture: Path, tmp_path: Path
) -> None:
    size = picture.stat().st_size
    with running_instance(port, SIMULATED, tmp_path / "log", max_body_bytes=size, max_side=176) as instance:
        blank_page.open(f"{instance.url}/")
        blank_page.choose(picture)
        blank_page.wait_for_text("#summary", ANSWERED)
    with running_instance(port, SIMULATED, tmp_path / "log", max_body_bytes=1024) as instance:
        blank_page.expected = ["413"]
        blank_page.open(f"{instance.url}/")
        blank_page.choose(picture)
        blank_page.wait_for_text("#message", "The picture is too large.")
        assert "1024 bytes" in blank_page.text("#message")
        assert "Sent smaller." in blank_page.text("#source-name")
        assert_words(blank_page)


def test_a_full_instance_is_asked_again_when_it_says(
    blank_page: Page, port: int, picture: Path, tmp_path: Path
) -> None:
    blank_page.expected = ["503"]
    with held_instance(port, tmp_path, queue_size=1) as held:
        blank_page.open(f"{held.instance.url}/")
        blank_page.choose(picture)
        blank_page.wait_for_text("#message", "The service is busy.")
        assert "Trying again in 1 s." in blank_page.text("#message")
        assert_words(blank_page)
        held.let_go()
        blank_page.wait_for_text("#summary", "1 box: thing")
        assert not blank_page.visible("#message")


def test_a_service_that_went_away_is_asked_until_it_is_back(
    blank_page: Page, port: int, clip: Path, tmp_path: Path
) -> None:
    blank_page.expected = ["ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "503"]
    with running_instance(port, SIMULATED, tmp_path / "log") as instance:
        blank_page.open(f"{instance.url}/")
        blank_page.choose(clip)
        blank_page.wait_for_text("#summary", ANSWERED)
    blank_page.wait_for_text("#message", "No answer from the service.")
    assert "Trying again in" in blank_page.text("#message")
    assert_words(blank_page)
    with running_instance(port, SIMULATED, tmp_path / "log"):
        blank_page.wait("!document.getElementById('message').checkVisibility()")
        blank_page.wait("Number(document.getElementById('fps').innerText) > 1")
        blank_page.click("#close")


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (502, {"Content-Type": "text/html"}, "<html><b>Bad gateway</b></html>", "No instance is up."),
        (504, {"Content-Type": "application/json"}, '{"detail": "late"}', "The answer took too long. Late."),
        (429, {"Retry-After": "1"}, "{}", "Too many requests from here."),
        (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", "The service is busy."),
        (200, {}, "<html>a captive portal</html>", "The answer makes no sense to this page."),
        (401, {}, "{}", "The service asks for a key."),
        (
            422,
            {},
            '{"detail": "conf: \'2\' is not a number"}',
            "could not use this picture. Conf: '2' is not a number.",
        ),
        (500, {}, "[1]", "The service could not answer."),
    ],
)
def test_whatever_answers_is_put_in_words(  # noqa: PLR0917 - one argument a column
    page: Page, picture: Path, status: int, headers: dict[str, str], body: str, words: str
) -> None:
    page.choose(picture)
    page.wait_for_text("#summary", "1 box: face")
    page.evaluate(
        "window.told = []; new MutationObserver(() => window.told.push("
        "document.getElementById('message').textContent.replace(/\\s+/g, ' '))"
        ").observe(document.getElementById('message'), {attributes: true})"
    )
    answer_with(page, status, headers, body)
    page.slide("conf", 0.4)
    page.wait(f"window.told.some((text) => text.includes({words!r}))")
    assert not set('{}[]<>"') & set(page.evaluate("window.told[0]"))
    if status in (429, 502, 503, 504):
        page.wait("!document.getElementById('message').checkVisibility()")


def test_a_mistake_of_the_page_is_admitted(page: Page, picture: Path) -> None:
    page.expected = ["TypeError"]
    answer_with(page, 200, {}, '{"detections": [null], "timings_ms": {}}')
    page.choose(picture)
    page.wait_for_text("#message", "This page made a mistake.")
