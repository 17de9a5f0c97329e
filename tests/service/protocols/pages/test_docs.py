"""The page at /docs as a browser shows it: styled under its policy, readable at every width, usable by keyboard."""

import pytest

from tests.service.protocols.pages.page import Page

COLOUR = "getComputedStyle(document.body).backgroundColor"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def docs(blank_page: Page, url: str) -> Page:
    """The page, opened; its console must stay empty, so nothing it needs was refused by its policy."""
    blank_page.open(f"{url}docs")
    return blank_page


@pytest.mark.parametrize("width", [320, 700, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_width_in_light_and_dark(docs: Page, scheme: str, width: int) -> None:
    docs.emulate(width=width, scheme=scheme)
    assert docs.evaluate(COLOUR) == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 27, 24)"}[scheme]
    docs.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert docs.evaluate(OVERFLOW) == 0


def test_the_first_tab_skips_to_the_content(docs: Page) -> None:
    docs.press("Tab")
    assert docs.focused() == "skip"
    docs.press("Enter")
    docs.wait("document.activeElement.id === 'content'")


def test_examples_open_by_keyboard(docs: Page) -> None:
    docs.evaluate("document.querySelector('#detect details:not([open]) summary').focus()")
    closed = docs.evaluate("document.querySelectorAll('#detect details:not([open])').length")
    docs.press("Enter")
    docs.wait(f"document.querySelectorAll('#detect details:not([open])').length === {closed - 1}")


def test_a_code_leads_to_its_meaning(docs: Page) -> None:
    docs.click("#detect a[href='#overloaded']")
    docs.wait("document.querySelector('tr:target')?.id === 'overloaded'")
