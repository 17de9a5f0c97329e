"""A picture on the page: every way in, the box on the canvas, the settings, and the snippets for the same call."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from framefleet.draw import class_colour
from tests.service.protocols.pages.browser import Browser
from tests.service.protocols.pages.conftest import INSECURE_HOST
from tests.service.protocols.pages.page import Page

ROWS = "document.querySelectorAll('#found tr').length"
EXIF_TURN_RIGHT = bytes.fromhex("ffe1 0022 457869660000 4d4d002a00000008 0001 0112 0003 00000001 0006 0000 00000000")


def detect(url: str, picture: Path, **query: object) -> list[dict[str, object]]:
    answer = requests.post(f"{url}v1/detect", data=picture.read_bytes(), params=query, timeout=30)
    found: list[dict[str, object]] = answer.json()["detections"]
    return found


def canvas_colours(page: Page, spots: list[tuple[float, float]], width: int) -> list[list[int]]:
    """The canvas's colours at spots given in px of a picture that is `width` px wide."""
    script = f"""(() => {{
      const canvas = document.getElementById('canvas');
      const scale = canvas.width / {width};
      const copy = new OffscreenCanvas(canvas.width, canvas.height);
      const context = copy.getContext('2d', {{willReadFrequently: true}});
      context.drawImage(canvas, 0, 0);
      const colour = ([x, y]) => [...context.getImageData(x * scale, y * scale, 1, 1).data.slice(0, 3)];
      return {json.dumps(spots)}.map(colour);
    }})()"""
    colours: list[list[int]] = page.evaluate(script)
    return colours


def assert_one_face(page: Page) -> None:
    page.wait(f"{ROWS} === 1")
    assert "1 box: face 0.9" in page.text("#summary")


def test_a_chosen_picture_shows_its_face_in_the_colour_of_annotated_pictures(
    page: Page, url: str, picture: Path
) -> None:
    page.choose(picture)
    assert_one_face(page)
    ((x1, y1, x2, y2),) = [found["box"] for found in detect(url, picture)]  # type: ignore[misc]
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    sides = [(x1, middle_y), (x2, middle_y), (middle_x, y2)]
    assert canvas_colours(page, sides, 176) == [list(reversed(class_colour(0)))] * 3
    (inside,) = canvas_colours(page, [(middle_x, middle_y)], 176)
    assert np.abs(np.subtract(inside, list(reversed(class_colour(0))))).max() > 50
    assert page.text("#found").split("\t") == ["face", "0.92", ", ".join(str(round(x)) for x in (x1, y1, x2, y2))]
    assert page.text("#source-name") == picture.name


def test_the_page_colours_every_class_as_the_service_does(page: Page) -> None:
    painter = page.evaluate("document.querySelector('script').src").replace("page.js", "painter.js")
    colours = page.evaluate(f"import('{painter}').then((m) => [...Array(100).keys()].map(m.classColour))")
    expected = [list(reversed(class_colour(class_id))) for class_id in range(100)]
    assert np.abs(np.subtract(colours, expected)).max() <= 1


def test_timings_and_the_instance_are_shown(page: Page, picture: Path) -> None:
    page.choose(picture)
    assert_one_face(page)
    shown = {name: float(page.text(f"#ms-{name}")) for name in ["network", "decode", "queue", "infer", "post", "total"]}
    total = shown.pop("total")
    assert total > shown["infer"] > 0
    assert sum(shown.values()) == pytest.approx(total, abs=0.3)
    assert page.text("#instances").split() == ["gpu0", "100", "%"]
    assert not page.visible("#headline"), "one picture has no frames per second"


def test_a_dropped_picture_is_detected(page: Page, picture: Path) -> None:
    page.drop(picture)
    assert_one_face(page)


def test_a_pasted_picture_is_detected(page: Page, picture: Path) -> None:
    page.paste(picture)
    assert_one_face(page)


def test_the_last_of_several_pictures_counts(page: Page, picture: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.zeros((64, 64, 3), np.uint8))
    page.choose(picture)
    page.choose(empty)
    page.wait_for_text("#summary", "Nothing found")
    assert page.text("#source-name") == "empty.png"


def lengths_sent(page: Page) -> list[str | None]:
    return [e["headers"].get("Content-Length") for e in page.events("Network.requestWillBeSentExtraInfo")]


def test_a_picture_is_sent_as_it_is(page: Page, picture: Path) -> None:
    page.choose(picture)
    assert_one_face(page)
    (sent,) = [e for e in page.events("Network.requestWillBeSent") if "/v1/detect" in e["request"]["url"]]
    assert sent["request"]["headers"]["Content-Type"] == "image/jpeg"
    # A file's bytes are not in the event; a picture that was drawn again would have another size.
    size = str(picture.stat().st_size)
    page.wait_for(lambda: size in lengths_sent(page), f"a request of {size} bytes")


def test_a_kind_the_service_does_not_read_is_sent_as_jpeg(page: Page, picture: Path, tmp_path: Path) -> None:
    webp = tmp_path / "face.webp"
    cv2.imwrite(str(webp), cv2.imread(str(picture)), [cv2.IMWRITE_WEBP_QUALITY, 95])
    page.choose(webp)
    assert_one_face(page)
    assert page.text("#source-name") == "face.webp · Sent as JPEG."
    assert "@picture.jpg" in page.text("#curl")


def test_a_phone_picture_that_lies_on_its_side_is_sent_upright(page: Page, picture: Path, tmp_path: Path) -> None:
    upright = cv2.imread(str(picture))
    assert upright is not None
    jpeg = cv2.imencode(".jpg", cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    lying = tmp_path / "phone.jpg"
    lying.write_bytes(jpeg[:2] + EXIF_TURN_RIGHT + jpeg[2:])
    page.choose(lying)
    assert_one_face(page)
    assert "Sent upright" in page.text("#source-name")


def test_sliders_and_classes_change_the_request_and_the_answer(page: Page, picture: Path) -> None:
    page.choose(picture)
    assert_one_face(page)
    page.slide("conf", 0.97)
    page.wait_for_text("#summary", "Nothing found")
    assert page.text("#conf-value") == "0.97"
    page.slide("conf", 0.5)
    page.slide("iou", 0.25)
    page.slide("max_det", 7)
    page.click("#classes input")
    assert_one_face(page)
    assert page.asked()[0] == "conf=0.35&iou=0.4"
    page.wait("document.getElementById('curl').innerText.includes('classes=face')")
    # The command changes with the click; the request leaves a moment later.
    page.wait_for(lambda: page.asked()[-1] == "conf=0.5&iou=0.25&max_det=7&classes=face", "the last request")
    page.click("#defaults")
    page.wait_for_text("#curl", "conf=0.35&iou=0.4'")
    assert not page.evaluate("document.querySelector('#classes input').checked")


def test_the_snippets_find_what_the_page_finds(page: Page, url: str, picture: Path) -> None:
    page.choose(picture)
    page.slide("conf", 0.41)
    page.click("#classes input")
    assert_one_face(page)
    expected = detect(url, picture, conf=0.41, iou=0.4, classes="face")
    command = page.text("#curl")
    assert shlex.split(command)[-1] == f"{url}v1/detect?conf=0.41&iou=0.4&classes=face"
    asked = subprocess.run(
        ["sh", "-c", f"curl --silent {command.removeprefix('curl')}"],
        cwd=picture.parent,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(asked.stdout)["detections"] == expected
    asked = subprocess.run(
        [sys.executable, "-c", page.text("#python")], cwd=picture.parent, capture_output=True, check=True, timeout=60
    )
    printed = " ".join(str(expected[0][name]) for name in ("label", "score", "box"))
    assert asked.stdout.decode().strip() == printed


@pytest.mark.parametrize("name", ["curl", "python"])
def test_one_click_copies_a_snippet(page: Page, browser: Browser, name: str) -> None:
    browser.set_permission(page.tab, "clipboard-read", "granted")
    browser.set_permission(page.tab, "clipboard-write", "granted")
    page.click(f"#copy-{name}")
    page.wait_for_text(f"#copy-{name}", "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.text(f"#{name}")
    page.wait(f"document.getElementById('copy-{name}').innerText === 'Copy'")


def test_copying_works_where_pages_have_no_clipboard(blank_page: Page, url: str) -> None:
    blank_page.open(url.replace("127.0.0.1", INSECURE_HOST))
    assert blank_page.evaluate("navigator.clipboard === undefined")
    blank_page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    blank_page.click("#copy-curl")
    blank_page.wait_for_text("#copy-curl", "Copied")
    assert blank_page.evaluate("window.copied") == blank_page.text("#curl")


def test_a_snippet_that_cannot_be_copied_is_selected(page: Page) -> None:
    page.evaluate(
        "navigator.clipboard.writeText = () => Promise.reject(new Error()); document.execCommand = () => false"
    )
    page.click("#copy-python")
    page.wait_for_text("#copy-python", "Press Ctrl+C")
    assert page.evaluate("String(getSelection())").strip() == page.text("#python").strip()
    assert "selected" in page.evaluate("document.getElementById('announcement').textContent")


def test_closing_leaves_the_page_as_it_was(page: Page, picture: Path) -> None:
    page.choose(picture)
    assert_one_face(page)
    page.click("#close")
    assert page.visible("#invitation")
    assert not page.visible("#canvas")
    assert page.focused() == "choose"
    page.choose(picture)
    assert_one_face(page)
