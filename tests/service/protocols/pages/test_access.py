"""The page for everybody: axe-core's rules in light and dark, keyboard only, screen readers, phones, little motion."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from tests.service.protocols.pages.page import Page

PHONE = {"width": 360, "height": 740}
AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
STATES = ["empty", "picture", "failure"]


def show(page: Page, state: str, picture: Path, tmp_path: Path) -> None:
    if state == "picture":
        page.choose(picture)
        page.wait_for_text("#summary", "1 box: face")
    if state == "failure":
        (tmp_path / "broken.png").write_bytes(b"\x89PNG")
        page.choose(tmp_path / "broken.png")
        page.wait_for_text("#message", "cannot be shown")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(  # noqa: PLR0917 - one argument a column
    page: Page, picture: Path, tmp_path: Path, state: str, scheme: str, width: int
) -> None:
    page.emulate(width=width, scheme=scheme)
    show(page, state, picture, tmp_path)
    page.evaluate(f"{AXE}; 0")
    found = page.evaluate("axe.run().then((result) => result.violations)")
    assert [(rule["id"], rule["impact"], [node["html"] for node in rule["nodes"]]) for rule in found] == []


def test_axe_sees_what_is_wrong(page: Page) -> None:
    page.evaluate("document.getElementById('choose').textContent = ''; 0")
    page.evaluate(f"{AXE}; 0")
    found = page.evaluate("axe.run().then((result) => result.violations)")
    assert [rule["id"] for rule in found] == ["button-name"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_systems_colours(page: Page, scheme: str) -> None:
    page.emulate(scheme=scheme)
    colours = page.evaluate(
        "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))"
    )
    ground, ink = (sum(colour) for colour in colours)
    assert (ground > ink) == (scheme == "light")


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_wider_than_a_phone(page: Page, picture: Path, tmp_path: Path, state: str) -> None:
    page.emulate(**PHONE)  # type: ignore[arg-type]
    show(page, state, picture, tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_name_without_spaces_stays_inside_a_phone(page: Page, picture: Path, tmp_path: Path) -> None:
    long_name = tmp_path / f"{'long' * 40}.jpg"
    long_name.write_bytes(picture.read_bytes())
    page.emulate(**PHONE)  # type: ignore[arg-type]
    show(page, "picture", long_name, tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_everything_is_large_enough_for_a_finger(page: Page) -> None:
    page.emulate(**PHONE)  # type: ignore[arg-type]
    heights = page.evaluate(
        "[...document.querySelectorAll('button, input[type=range], nav a, .classes label')]"
        ".filter((e) => e.checkVisibility()).map((e) => [e.id || e.textContent, e.getBoundingClientRect().height])"
    )
    assert [name for name, height in heights if height < 24] == []


def test_a_picture_is_chosen_and_set_by_keyboard_alone(page: Page, picture: Path) -> None:
    page.call("Page.setInterceptFileChooserDialog", enabled=True)
    page.press("Tab")
    assert page.focused() == "skip"
    page.press("Enter")
    page.wait_for(lambda: page.focused() == "stage", "the stage's focus")
    page.tab_to("choose")
    page.press("Enter")
    page.wait_for(lambda: page.events("Page.fileChooserOpened"), "a dialog")
    (dialog,) = page.events("Page.fileChooserOpened")
    page.call("DOM.setFileInputFiles", files=[str(picture)], backendNodeId=dialog["backendNodeId"])
    page.wait_for_text("#summary", "1 box: face")
    page.tab_to("conf")
    page.press("ArrowRight")
    page.wait_for(lambda: page.asked()[-1] == "conf=0.36&iou=0.4", "the slider's request")
    page.press("Tab")
    page.press("Tab")
    page.press("Tab")
    page.press(" ")
    page.wait_for(lambda: page.asked()[-1] == "conf=0.36&iou=0.4&classes=face", "the class's request")
    page.tab_to("close")
    page.press("Enter")
    assert page.focused() == "choose"


def test_every_stop_of_the_keyboard_is_seen(page: Page, picture: Path) -> None:
    page.choose(picture)
    page.wait_for_text("#summary", "1 box: face")
    stops = []
    page.press("Tab")
    while page.focused() and page.focused() not in stops and len(stops) < 40:
        outline = page.evaluate(
            "(({ outlineStyle, outlineWidth }) => [outlineStyle, parseFloat(outlineWidth)])"
            "(getComputedStyle(document.activeElement))"
        )
        assert outline == ["solid", 3], page.focused()
        stops.append(page.focused())
        page.press("Tab")
    assert {"choose", "camera", "close", "conf", "copy-python"} <= set(stops)


def test_a_screen_reader_hears_what_was_found(page: Page, picture: Path) -> None:
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}
    assert {
        ("main", ""),
        ("banner", ""),
        ("navigation", "Service"),
        ("form", "Settings"),
        ("heading", "Try the detector"),
        ("slider", "Confidence"),
        ("slider", "Overlap (IoU)"),
        ("slider", "Boxes at most"),
        ("checkbox", "face"),
        ("button", "Copy the curl snippet"),
    } <= roles
    page.choose(picture)
    page.wait("document.getElementById('announcement').textContent.startsWith('1 box: face 0.9')")
    assert page.evaluate("document.getElementById('announcement').getAttribute('role')") == "status"
    assert page.evaluate("document.getElementById('canvas').ariaLabel") == f"{picture.name}: 1 box: face 0.92"


def test_a_screen_reader_is_not_flooded_by_a_live_source(page: Page) -> None:
    page.evaluate("""(async () => {
      const { Found } = await import(document.querySelector('script').src.replace('page.js', 'found.js'));
      const names = ['summary', 'announcement', 'list', 'none', 'scroll', 'more', 'canvas'];
      const elements = Object.fromEntries(names.map((name) => [name, document.createElement('p')]));
      window.said = [];
      new MutationObserver(() => window.said.push(elements.announcement.textContent))
        .observe(elements.announcement, {childList: true});
      const found = new Found(elements);
      const box = (label) => ({label, class_id: 0, score: Math.random(), box: [0, 0, 1, 1]});
      for (let frame = 0; frame < 50; frame += 1) {
        found.show('clip', [box(`thing ${frame}`)], true);
        await null;  // what was said is noted; no timer runs
      }
      window.shown = elements.summary.textContent;
      window.saidAtOnce = [...window.said];
    })()""")
    assert page.evaluate("window.shown").startswith("1 box: thing 49 0.")
    assert page.evaluate("window.saidAtOnce") == ["1 box: thing 0"]
    page.wait("window.said.length > 1")
    assert page.evaluate("window.said") == ["1 box: thing 0", "1 box: thing 49"]


@pytest.mark.parametrize(("motion", "expected"), [("reduce", "0s"), ("no-preference", "0.15s")])
def test_motion_is_only_for_those_who_like_it(page: Page, motion: str, expected: str) -> None:
    page.emulate(motion=motion)
    assert page.evaluate("getComputedStyle(document.getElementById('choose')).transitionDuration") == expected


def test_a_page_that_does_not_start_says_so(blank_page: Page, url: str) -> None:
    blank_page.expected = ["ERR_BLOCKED_BY_CLIENT"]
    blank_page.call("Network.setBlockedURLs", urls=["*/loop.js"])
    blank_page.call("Page.navigate", url=url)
    notice = "document.getElementById('not-started')"
    # Before its style sheets are there, nothing on a page is hidden.
    blank_page.wait(
        f"document.readyState === 'complete' && {notice} && getComputedStyle({notice}).visibility === 'visible'"
    )
    assert "reload it in a moment" in blank_page.text("#not-started")


def test_found_names_are_text_in_the_page(page: Page, picture: Path) -> None:
    answer = {
        "detections": [{"label": "<img src=x onerror=alert(1)>", "class_id": 0, "score": 0.5, "box": [0, 0, 9, 9]}],
        "timings_ms": {"decode": 1, "queue": 1, "infer": 1, "post": 1},
    }
    page.evaluate(f"window.fetch = async () => new Response({json.dumps(json.dumps(answer))}); 0")
    page.choose(picture)
    page.wait_for_text("#found", "<img src=x onerror=alert(1)>")
    assert page.evaluate("document.querySelectorAll('#found img').length") == 0
    assert page.text("#instances").startswith("unnamed")
