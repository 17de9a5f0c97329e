"""A clip and the camera on the page: live boxes, two requests in flight at most, and a clean stop."""

from pathlib import Path

from tests.service.protocols.pages.browser import Browser
from tests.service.protocols.pages.conftest import INSECURE_HOST
from tests.service.protocols.pages.page import Page

FACE = "document.getElementById('summary').innerText.includes('face')"
# Ten frames of the clip: what is not asked by then is not asked.
A_WHILE = "new Promise((resolve) => setTimeout(resolve, 330))"


def in_flight(page: Page) -> list[int]:
    """Detections that were asked for and not answered, from the page's start until now."""
    page.evaluate("0")
    open_requests: set[str] = set()
    counts = [0]
    for event in page.tab.connection.events:
        params = event["params"]
        if event["method"] == "Network.requestWillBeSent" and "/v1/detect" in params["request"]["url"]:
            open_requests.add(params["requestId"])
        elif event["method"] in ("Network.loadingFinished", "Network.loadingFailed"):
            open_requests.discard(params["requestId"])
        counts.append(len(open_requests))
    return counts


def wait_for_answers(page: Page, count: int) -> None:
    goal = len(page.asked()) + count
    page.wait_for(lambda: len(page.asked()) >= goal, f"{count} more requests")


def assert_silent(page: Page) -> None:
    """Nothing more is asked once what was under way has been answered, however long that takes."""
    page.wait_for(lambda: in_flight(page)[-1] == 0 and asked_in_a_while(page) == 0, "a while without a request")
    assert asked_in_a_while(page) == 0


def asked_in_a_while(page: Page) -> int:
    before = len(page.asked())
    page.evaluate(A_WHILE)
    return len(page.asked()) - before


def camera_is_on(page: Page) -> bool:
    return bool(page.evaluate("window.tracks.some((track) => track.readyState === 'live')"))


def start_camera(page: Page, browser: Browser) -> None:
    browser.set_permission(page.tab, "camera", "granted")
    watch_tracks(page)
    page.click("#camera")
    page.wait(FACE)


def watch_tracks(page: Page) -> None:
    """Keeps every track that the page is given, to see whether it lets go of them."""
    page.evaluate("""
      window.tracks = [];
      const given = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wish) => {
        window.wish = wish;
        const stream = await given(wish);
        window.tracks.push(...stream.getTracks());
        return stream;
      };""")


def test_a_clip_plays_with_live_boxes(page: Page, clip: Path) -> None:
    page.choose(clip)
    page.wait(FACE)
    boxes = set()
    page.wait_for(lambda: boxes.add(page.text("#found")) or len(boxes) > 5, "boxes that move")
    page.wait("Number(document.getElementById('fps').innerText) > 1")
    page.wait_for_text("#speed-note", "mean of the last 10 answers")
    assert 1 <= max(in_flight(page)) <= 2
    assert "@frame.jpg" in page.text("#curl")


def test_a_paused_clip_asks_nothing_until_its_settings_change(page: Page, clip: Path) -> None:
    page.choose(clip)
    page.wait(FACE)
    page.click("#pause")
    assert page.text("#pause") == "Resume"
    assert_silent(page)
    page.slide("conf", 0.99)
    page.wait_for_text("#summary", "Nothing found")
    assert_silent(page)
    page.slide("conf", 0.35)
    page.click("#pause")
    wait_for_answers(page, 5)
    assert page.text("#pause") == "Pause"


def test_a_closed_clip_asks_nothing(page: Page, clip: Path) -> None:
    page.choose(clip)
    page.wait(FACE)
    page.click("#close")
    assert_silent(page)
    assert page.visible("#invitation")


def test_a_hidden_clip_rests_until_it_is_seen_again(page: Page, clip: Path) -> None:
    page.choose(clip)
    page.wait(FACE)
    page.hide(True)
    assert_silent(page)
    page.hide(False)
    wait_for_answers(page, 5)
    page.click("#pause")
    page.hide(True)
    page.hide(False)
    assert_silent(page)


def test_a_picture_after_a_clip_ends_the_clip(page: Page, clip: Path, picture: Path) -> None:
    page.choose(clip)
    page.wait(FACE)
    page.choose(picture)
    page.wait_for_text("#source-name", picture.name)
    page.wait_for_text("#summary", "1 box: face 0.92")
    assert_silent(page)
    assert page.text("#source-name") == picture.name


def test_the_camera_shows_live_boxes_and_is_let_go_of(page: Page, browser: Browser) -> None:
    start_camera(page, browser)
    page.wait("Number(document.getElementById('fps').innerText) > 1")
    assert page.evaluate("window.wish.audio") is False
    assert 1 <= max(in_flight(page)) <= 2
    page.click("#close")
    assert not camera_is_on(page)
    assert_silent(page)


def test_a_hidden_tab_lets_go_of_the_camera_and_takes_it_again(page: Page, browser: Browser) -> None:
    start_camera(page, browser)
    page.hide(True)
    assert not camera_is_on(page)
    assert_silent(page)
    page.hide(False)
    wait_for_answers(page, 5)
    assert camera_is_on(page)


def test_another_camera_can_be_taken(page: Page, browser: Browser) -> None:
    start_camera(page, browser)
    assert not page.visible("#switch-camera"), "there is one camera only"
    # Chromium makes no second camera of a file.
    page.evaluate(
        "navigator.mediaDevices.enumerateDevices = async () => [{kind: 'videoinput'}, {kind: 'videoinput'}]; 0"
    )
    page.click("#camera")
    page.wait("document.getElementById('switch-camera').checkVisibility()")
    page.click("#switch-camera")
    page.wait("window.tracks.length === 3")
    assert page.evaluate("window.wish.video.facingMode") == "environment"
    wait_for_answers(page, 5)
    assert page.evaluate("window.tracks.map((track) => track.readyState)") == ["ended", "ended", "live"]


def test_an_unplugged_camera_is_told(page: Page, browser: Browser) -> None:
    start_camera(page, browser)
    page.evaluate("window.tracks[0].dispatchEvent(new Event('ended'))")
    page.wait_for_text("#message", "The camera is gone")
    assert_silent(page)


def test_a_refused_camera_is_told(page: Page, browser: Browser) -> None:
    browser.set_permission(page.tab, "camera", "denied")
    page.click("#camera")
    page.wait_for_text("#message", "The camera is not allowed")
    assert "address bar" in page.text("#message")


def test_without_a_secure_address_the_page_says_what_the_camera_needs(blank_page: Page, url: str) -> None:
    blank_page.open(url.replace("127.0.0.1", INSECURE_HOST))
    blank_page.click("#camera")
    blank_page.wait_for_text("#message", "https:// or localhost")
