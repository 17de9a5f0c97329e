from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from framefleet.http.session import open_session


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write((self.headers.get("Authorization") or "straight").encode())

    def log_message(self, *arguments: object) -> None:
        """Keeps quiet."""


def test_neither_a_proxy_nor_netrc_changes_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert open_session().get(f"http://127.0.0.1:{server.server_port}/", timeout=60).text == "straight"
        server.shutdown()


@pytest.mark.parametrize(
    ("cacert", "environ", "verify"),
    [
        (None, {}, True),
        (Path("own.pem"), {"REQUESTS_CA_BUNDLE": "theirs.pem"}, "own.pem"),
        (None, {"SSL_CERT_FILE": "third.pem", "REQUESTS_CA_BUNDLE": "first.pem"}, "first.pem"),
        (None, {"REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": "third.pem"}, "third.pem"),
    ],
)
def test_certificates_come_from_the_option_then_the_environment(
    cacert: Path | None, environ: dict[str, str], verify: bool | str
) -> None:
    assert open_session(cacert, environ).verify == verify
