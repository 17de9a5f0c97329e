from collections.abc import Iterator
from pathlib import Path

import pytest

from framefleet.whole_file import sha256
from framefleet.wire.errors import FetchError
from service.models.download import download, public_url, show_progress
from tests.service.models.web import Site, site

CONTENT = bytes(range(256)) * 4000
HALF = len(CONTENT) // 2


@pytest.fixture
def web() -> Iterator[Site]:
    with site(CONTENT) as served:
        yield served


def fetch_in_two_goes(web: Site, cache: Path) -> Path:
    """The connection is cut in the middle of the first one."""
    web.cut_after = HALF
    with pytest.raises(FetchError, match=r"the download stopped \(the connection was cut\).*; run it again"):
        download(f"{web.url}/x.onnx", cache)
    web.cut_after = None
    return download(f"{web.url}/x.onnx", cache)


def test_file_comes_whole_and_is_not_asked_for_again(web: Site, tmp_path: Path) -> None:
    first = download(f"{web.url}/x.onnx", tmp_path, wanted=sha256(CONTENT))
    second = download(f"{web.url}/x.onnx", tmp_path, wanted=sha256(CONTENT))

    assert first == second
    assert first.read_bytes() == CONTENT
    assert web.ranges == [None]
    assert list(tmp_path.iterdir()) == [first]


def test_cut_download_goes_on_where_it_stopped(web: Site, tmp_path: Path) -> None:
    path = fetch_in_two_goes(web, tmp_path)

    assert path.read_bytes() == CONTENT
    (first, second) = web.ranges
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= HALF


def test_nothing_is_in_place_while_a_download_is_unfinished(web: Site, tmp_path: Path) -> None:
    web.cut_after = HALF
    with pytest.raises(FetchError):
        download(f"{web.url}/x.onnx", tmp_path)

    assert [path.suffix for path in tmp_path.iterdir() if path.suffix not in (".part", ".version")] == []


def test_file_that_changed_meanwhile_is_fetched_from_its_start(web: Site, tmp_path: Path) -> None:
    web.cut_after = HALF
    with pytest.raises(FetchError):
        download(f"{web.url}/x.onnx", tmp_path)
    web.cut_after, web.tag, web.content = None, '"2"', CONTENT[::-1]

    assert download(f"{web.url}/x.onnx", tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("tag", [None, 'W/"1"'], ids=["no tag", "weak tag"])
def test_without_a_sure_tag_a_cut_download_starts_anew(web: Site, tmp_path: Path, tag: str | None) -> None:
    web.tag = tag

    assert fetch_in_two_goes(web, tmp_path).read_bytes() == CONTENT
    assert web.ranges == [None, None]


def test_another_hash_is_refused_and_nothing_kept(web: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=f"its sha256 is {sha256(CONTENT)}, not {'0' * 64}; nothing was kept"):
        download(f"{web.url}/x.onnx", tmp_path, wanted="0" * 64)

    assert list(tmp_path.iterdir()) == []


def test_damaged_file_in_the_cache_is_fetched_again(web: Site, tmp_path: Path) -> None:
    path = download(f"{web.url}/x.onnx", tmp_path)
    path.write_bytes(b"damaged")

    assert download(f"{web.url}/x.onnx", tmp_path, wanted=sha256(CONTENT)).read_bytes() == CONTENT


def test_web_page_is_refused(web: Site, tmp_path: Path) -> None:
    web.kind = "text/html; charset=utf-8"

    with pytest.raises(FetchError, match="answered a web page, not a file; use the direct link"):
        download(f"{web.url}/x.onnx", tmp_path)


def test_error_status_is_named(web: Site, tmp_path: Path) -> None:
    web.status = 404

    with pytest.raises(FetchError, match=r"/x\.onnx: the download stopped \(status 404\); run it again"):
        download(f"{web.url}/x.onnx", tmp_path)


def test_range_that_the_server_refuses_starts_anew_next_time(web: Site, tmp_path: Path) -> None:
    web.cut_after = HALF
    with pytest.raises(FetchError):
        download(f"{web.url}/x.onnx", tmp_path)
    web.cut_after, web.status = None, 416
    with pytest.raises(FetchError, match=r"would not go on from .*; run it again"):
        download(f"{web.url}/x.onnx", tmp_path)
    web.status = 200

    assert download(f"{web.url}/x.onnx", tmp_path).read_bytes() == CONTENT


def test_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with site(b"") as gone:
        url = gone.url
    with pytest.raises(FetchError) as raised:
        download(f"{url}/x.onnx", tmp_path)

    assert str(raised.value) == f"{url}/x.onnx: the download stopped (no connection); run it again"


def test_progress_goes_to_stderr_and_counts_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = list(show_progress(iter([b"abcde", b"fgh"]), done=2, total=10))

    assert pieces == [b"abcde", b"fgh"]
    assert "10.0/10.0" in capsys.readouterr().err


def test_secrets_in_a_url_are_not_shown() -> None:
    assert public_url("https://me:secret@host:8443/a/b.onnx?token=secret#x") == "https://host:8443/a/b.onnx"


def test_this_machine_is_asked_without_a_proxy_and_others_with_it(
    web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert download(f"{web.url}/x.onnx", tmp_path / "here").read_bytes() == CONTENT
    with pytest.raises(FetchError, match="no connection"):
        download("http://models.invalid/x.onnx", tmp_path / "there")
    monkeypatch.setenv("http_proxy", web.url)
    assert download("http://models.invalid/x.onnx", tmp_path / "there").read_bytes() == CONTENT
