"""Releases that must not get through: the one before serves on under load, and one line says what is wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.hosts.bundles import BundleMaker, changed_code
from tests.hosts.cameras import cameras
from tests.hosts.lab import Lab
from tests.hosts.machines import Machine
from tests.hosts.operator import KIT, ONE_HOST, Operator

GARBAGE = "garbage.onnx"


@dataclass(frozen=True, slots=True)
class Broken:
    """A release that is broken in one way.

    Attributes:
        says: part of the one line that the deploy ends with.
        changes: see `changed_code`.
        model: file name of its model; empty for the stand-in.
        gone_back: True if it shows only once it serves.
    """

    says: str
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    model: str = ""
    gone_back: bool = False


FIRST_IMPORT = "from flask import Flask"
MAKE_APP = "    return create_app("
START = "    detector.start()"
BROKEN = {
    "will not import": Broken("not_there", {"service/app.py": (FIRST_IMPORT, f"import not_there\n{FIRST_IMPORT}")}),
    "its model is garbage": Broken(GARBAGE, model=GARBAGE),
    "its self-test fails": Broken(
        "the device is suspect",
        {
            "service/pipeline/batcher.py": ("if not agree(", "if agree("),
            "service/settings.py": ('60.0, "s an engine is idle', '1.0, "s an engine is idle'),
        },
    ),
    "listens on the wrong port": Broken(
        "instead of",
        {
            "service/server/worker.py": (
                "settings.port), self.settings.port)",
                "settings.port), self.settings.port + 9)",
            )
        },
    ),
    "dies after 5 s": Broken(
        "after it was ready",
        {"service/wsgi.py": (MAKE_APP, f"    __import__('threading').Timer(5, os._exit, (1,)).start()\n{MAKE_APP}")},
    ),
    "second instance does not start": Broken(
        "cpu1",
        {"service/wsgi.py": (START, f"    assert settings.instance != 'cpu1'\n{START}")},
        gone_back=True,
    ),
}


@pytest.fixture(scope="module")
def operator(machines: Lab, deployed: Machine, first_bundle: Path) -> Iterator[Operator]:
    """Somebody at one machine for all tests of this module: each has to leave it as it was."""
    there = Operator(machines.machine("h1", like=deployed))
    there.machine.boot()
    there.wait_until_serving(first_bundle)
    yield there
    there.machine.remove()


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_leaves_the_old_one_serving_and_says_why(
    how: str, operator: Operator, bundles: BundleMaker, picture: bytes, tmp_path: Path
) -> None:
    broken = BROKEN[how]
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(ONE_HOST.replace("simulated:a_ms=5,b_ms=1", broken.model) if broken.model else ONE_HOST)
    (tmp_path / GARBAGE).write_bytes(b"\x00not a model" * 1000)
    bundle = bundles.make(fleet, changed_code(tmp_path / "code", broken.changes))
    operator.carry(bundle)
    operator.machine.push(fleet, KIT)
    release, before = operator.release(), operator.programs()

    with cameras(operator.url, picture=picture) as load:
        done = operator.deploy(bundle, "--fleet", f"{KIT}/fleet.toml")
        load.wait_for(20)

    assert done.returncode == 1, done.stdout + done.stderr
    assert broken.says in done.stderr, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert load.failures == []
    assert operator.release() == release
    assert operator.framefleet("status").returncode == 0
    assert (operator.programs() != before) == broken.gone_back
    operator.machine.ssh(f"rm -r {KIT}")
