"""A host whose instances ask for keys, and whose nginx limits clients: its own tools get in, strangers do not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from service.keys import add_key
from tests.e2e.fleet import direct_session
from tests.e2e.host import ScratchHost, scratch_host

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not os.access("/run", os.W_OK), reason="a host keeps its sockets below /run: needs root"),
]
# The host itself asks far more often while it deploys.
LIMITS = "[limits]\nrate = 1\nburst = 0\nconcurrency = 1\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ScratchHost]:
    with scratch_host(tmp_path) as scratch:
        yield scratch


def inventory(host: ScratchHost, keys: Path) -> str:
    return host.inventory() + f'[keys]\nfile = "{keys}"\nown = "{keys}.own"\n{LIMITS}'


def make_keys(keys: Path) -> str:
    """A file of two keys, one of which is the host's own; returns the other."""
    own = keys.with_name(f"{keys.name}.own")
    own.touch(mode=0o600)
    own.write_text(add_key(keys, "deploy", ["detect"]))
    return add_key(keys, "camera", ["detect"])


def post(session: requests.Session, host: ScratchHost, picture: bytes, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return session.post(f"{host.url}/v1/detect", data=picture, headers=headers, timeout=30).status_code


def test_a_host_deploys_and_checks_itself_with_its_own_key(host: ScratchHost, picture: bytes, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    release = host.make_release(picture)
    code, shown = host.deploy(release, inventory(host, keys))
    assert code == 1 and f"keys: {keys}: No such file or directory" in shown, shown
    camera = make_keys(keys)
    code, shown = host.deploy(release, inventory(host, keys))
    assert code == 0, shown
    assert "answers the test picture through the balancer" in shown
    assert host.verb(release, "smoke").returncode == 0
    with direct_session() as session:
        assert [post(session, host, picture, key) for key in (camera, "another", "")] == [200, 401, 401]
    deployed = [path for folder in ("etc", "state", "log") for path in (host.folder / folder).rglob("*")]
    own = (tmp_path / "keys.own").read_text()
    assert [str(path) for path in deployed if path.is_file() and own.encode() in path.read_bytes()] == []
