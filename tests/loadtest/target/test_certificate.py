"""A service with a certificate of `make certificate` can be load-tested, and one that is not trusted is named."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from framefleet.http.session import CERTIFICATE_VARIABLES
from loadtest.errors import OptionError, TargetError
from loadtest.target import certificate
from loadtest.target.target import Target
from tests.loadtest.fake_service import RIGHT, FakeService, fake_service
from tests.loadtest.waiting import LIMIT_S

HTTPS = "https://host"


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test trusts is forgotten after it."""
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.setenv(name, "")


def made(repo_root: Path, folder: Path, name: str, *more: str) -> Path:
    command = ["make", "-s", "certificate", f"NAME={name}", f"VAR={folder}", *more]
    subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    return folder / "tls" / "fullchain.pem"


def serving(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, file.with_name("key.pem"))
    return context


@pytest.fixture(scope="module")
def pem(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(repo_root, tmp_path_factory.mktemp("tls"), "localhost", "ADDRESS=127.0.0.1")


@pytest.fixture
def service(pem: Path) -> Iterator[FakeService]:
    with fake_service(lambda number: RIGHT, serving(pem)) as running:
        yield running


@pytest.mark.parametrize("named", ["option", "REQUESTS_CA_BUNDLE"])
def test_a_replay_over_tls_trusts_what_it_is_told_to(
    *,
    named: str,
    service: FakeService,
    pem: Path,
    repo_root: Path,
    sample_video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["replay", "--url", service.url, "--video", str(sample_video), "--out", str(tmp_path)]
    arguments += ["--max-frames", "2", "--seconds", "1", "--cameras", "1"]
    if named == "option":
        arguments += ["--cacert", str(pem)]
    else:
        monkeypatch.setenv(named, str(pem))
    command = [sys.executable, "-m", "loadtest", *arguments]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.posts == 7


def refused(url: str) -> str:
    with pytest.raises(TargetError) as caught, Target(url, LIMIT_S) as target:
        target.check_ready()
    return str(caught.value)


def test_a_certificate_that_is_not_trusted_is_named_with_what_to_do(service: FakeService) -> None:
    where = service.url.removeprefix("https://")
    text = refused(service.url)
    assert text.startswith(f"the certificate of {where} is not trusted: self-signed certificate; give its file")
    assert "--cacert or REQUESTS_CA_BUNDLE" in text


def test_a_certificate_for_another_host_is_told_from_one_that_is_not_trusted(repo_root: Path, tmp_path: Path) -> None:
    other = made(repo_root, tmp_path, "cameras.example")
    certificate.trust(other, HTTPS)
    with fake_service(lambda number: RIGHT, serving(other)) as service:
        text = refused(service.url)
    assert "not valid for '127.0.0.1'; ask by a name it holds" in text


def test_a_service_without_a_certificate_says_http() -> None:
    with fake_service(lambda number: RIGHT) as service:
        text = refused(service.url.replace("http:", "https:"))
    assert "speaks no TLS that works here" in text and "ask it with http://" in text


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), ("no certificate", "holds no certificate")]
)
def test_a_file_that_is_no_certificate_is_named(
    content: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.pem"
    if content:
        file.write_text(content)
    with pytest.raises(OptionError, match=rf"--cacert: {file}: {reason}; name a PEM file"):
        certificate.trust(file, "http://host")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(OptionError, match=rf"REQUESTS_CA_BUNDLE or .*: {file}: {reason}"):
        certificate.trust(None, HTTPS)
    # What is never used need not be right.
    certificate.trust(None, "http://host")
