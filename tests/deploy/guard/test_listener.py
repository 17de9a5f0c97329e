import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from deploy.guard.listener import certificate_end

CERTIFICATE = ("openssl", "req", "-x509", "-nodes", "-days", "3", "-subj", "/CN=test", "-newkey", "ec")
CURVE = ("-pkeyopt", "ec_paramgen_curve:prime256v1")
DAY_S = 86_400


def test_the_end_of_a_certificate_is_read(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    files = ("-keyout", tmp_path / "key.pem", "-out", file)
    subprocess.run([*CERTIFICATE, *CURVE, *files], check=True, capture_output=True)
    made = datetime.now(timezone.utc).timestamp()
    end = certificate_end(file)
    assert end is not None and made + 2 * DAY_S < end < made + 4 * DAY_S


def test_an_end_that_cannot_be_told_is_none_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert certificate_end(None) is None
    assert certificate_end(tmp_path / "gone.pem") is None
    monkeypatch.setenv("PATH", str(tmp_path))  # a host without openssl
    assert certificate_end(tmp_path / "gone.pem") is None
