"""A real Chromium and a real instance with the default model, shared by the tests of the page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from tests.instance import running_instance
from tests.service.protocols.pages.browser import Browser, chromium, running_browser
from tests.service.protocols.pages.page import Page

CAMERA_JPEG_QUALITY = 90
# A name that is not localhost: without TLS it is no secure address.
INSECURE_HOST = "demo.example"


@pytest.fixture(scope="session")
def url(default_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address at an instance with the default model."""
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), default_model, log, instance="gpu0") as instance:
        yield f"{instance.url}/"


@pytest.fixture(scope="session")
def browser(sample_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium whose camera shows the sample video."""
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine; apt-get install chromium")
    folder = tmp_path_factory.mktemp("chromium")
    camera = folder / "camera.mjpeg"
    camera.write_bytes(b"".join(jpeg_of(frame) for frame in frames(sample_video)))
    flags = [
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
    ]
    with running_browser(executable, folder, *flags) as running:
        yield running


@pytest.fixture
def blank_page(browser: Browser) -> Iterator[Page]:
    """A new tab; nothing unexpected may be in its console at the end."""
    with browser.tab() as tab:
        page = Page(tab)
        yield page
        assert page.problems() == []


@pytest.fixture
def page(blank_page: Page, url: str) -> Page:
    """The demo page, opened."""
    blank_page.open(url)
    return blank_page


@pytest.fixture(scope="session")
def picture(sample_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample video's first frame: one face."""
    path = tmp_path_factory.mktemp("picture") / "carphone's 1.jpg"
    path.write_bytes(jpeg_of(next(frames(sample_video))))
    return path


@pytest.fixture(scope="session")
def clip(sample_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample video as WebM, which every Chromium plays."""
    path = tmp_path_factory.mktemp("clip") / "carphone.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 30, (176, 144))
    assert writer.isOpened()
    for frame in frames(sample_video):
        writer.write(frame)
    writer.release()
    return path


def frames(video: Path) -> Iterator[cv2.typing.MatLike]:
    capture = cv2.VideoCapture(str(video))
    while (read := capture.read())[0]:
        yield read[1]
    capture.release()


def jpeg_of(frame: cv2.typing.MatLike) -> bytes:
    return bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, CAMERA_JPEG_QUALITY])[1])
