"""A service that asks for a key: the page asks the person for one, keeps it in the tab, and shows it to nobody."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.keys import add_key
from tests.instance import RunningInstance, running_instance
from tests.service.protocols.pages.page import Page
from tests.service.protocols.pages.test_access import AXE

ANSWERED = "1 box: object"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def secret(keys: Path) -> str:
    return add_key(keys, "person", ["detect"])


@pytest.fixture
def locked(free_port: Callable[[], int], keys: Path, secret: str, tmp_path: Path) -> Iterator[RunningInstance]:
    with running_instance(free_port(), "simulated:a_ms=1", tmp_path / "log", keys=keys) as instance:
        yield instance


@pytest.fixture
def asked_page(blank_page: Page, locked: RunningInstance, picture: Path) -> Page:
    """The page of that instance, after a picture was chosen."""
    blank_page.expected = ["401"]
    blank_page.open(f"{locked.url}/")
    assert not blank_page.visible("#key-form")
    blank_page.choose(picture)
    blank_page.wait_for_text("#message", "The service asks for a key.")
    blank_page.wait("document.getElementById('key-form').checkVisibility()")
    return blank_page


def give(page: Page, key: str) -> None:
    page.click("#key")
    page.call("Input.insertText", text=key)
    page.press("Enter")


def stored(page: Page) -> list[str]:
    """Every value that the page has put anywhere a browser keeps things."""
    values: list[str] = page.evaluate(
        "[...Object.values(sessionStorage), ...Object.values(localStorage), document.cookie, location.href]"
    )
    return values


def test_with_a_key_the_picture_that_was_chosen_is_answered(asked_page: Page, secret: str) -> None:
    give(asked_page, f" {secret} ")
    asked_page.wait_for_text("#summary", ANSWERED)
    assert not asked_page.visible("#key-form")
    assert not asked_page.visible("#message")


def test_the_key_stays_in_the_tab_and_is_not_shown(asked_page: Page, picture: Path, secret: str) -> None:
    give(asked_page, secret)
    asked_page.wait_for_text("#summary", ANSWERED)
    session, *elsewhere = stored(asked_page)
    assert session == secret
    assert not any(secret in value for value in elsewhere)
    assert secret not in asked_page.evaluate("document.documentElement.outerHTML")
    assert asked_page.evaluate("document.getElementById('key').value") == ""
    asked_page.call("Page.reload")
    asked_page.wait("document.readyState === 'complete' && document.getElementById('not-started') === null")
    asked_page.choose(picture)
    asked_page.wait_for_text("#summary", ANSWERED)


def test_only_detections_bring_the_key(asked_page: Page, secret: str) -> None:
    give(asked_page, secret)
    asked_page.wait_for_text("#summary", ANSWERED)
    brought = [
        sent["request"]["url"]
        for sent in asked_page.events("Network.requestWillBeSent")
        if secret in str(sent["request"]["headers"])
    ]
    assert brought and all("/v1/detect?" in url for url in brought)
    assert not any(secret in url for url in brought)


def test_a_key_that_is_none_is_asked_for_again_and_forgotten(asked_page: Page, secret: str) -> None:
    give(asked_page, "not-a-key")
    asked_page.wait_for_text("#message", "The service does not know this key.")
    assert asked_page.visible("#key-form")
    assert not any("not-a-key" in value for value in stored(asked_page))
    give(asked_page, secret)
    asked_page.wait_for_text("#summary", ANSWERED)


def test_a_clip_goes_on_once_there_is_a_key(blank_page: Page, locked: RunningInstance, clip: Path, secret: str) -> None:
    blank_page.expected = ["401"]
    blank_page.open(f"{locked.url}/")
    blank_page.choose(clip)
    blank_page.wait("document.getElementById('key-form').checkVisibility()")
    give(blank_page, secret)
    blank_page.wait("Number(document.getElementById('fps').innerText) > 1")
    assert not blank_page.visible("#key-form")
    blank_page.click("#close")


def test_snippets_name_the_variable_and_never_the_key(asked_page: Page, secret: str) -> None:
    assert "FLEET_API_KEY" not in asked_page.text("#curl")
    give(asked_page, secret)
    asked_page.wait_for_text("#summary", ANSWERED)
    assert '-H "Authorization: Bearer $FLEET_API_KEY"' in asked_page.text("#curl")
    assert 'os.environ["FLEET_API_KEY"]' in asked_page.text("#python")
    compile(asked_page.text("#python"), "snippet", "exec")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_field_for_the_key(asked_page: Page, scheme: str) -> None:
    asked_page.emulate(width=360, scheme=scheme)
    asked_page.evaluate(f"{AXE}; 0")
    found = asked_page.evaluate("axe.run().then((result) => result.violations)")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    assert asked_page.evaluate("document.documentElement.scrollWidth") == 360
