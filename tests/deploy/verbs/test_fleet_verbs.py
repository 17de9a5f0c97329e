"""The verbs for all hosts, as far as they come without a host."""

from pathlib import Path

import pytest

from deploy.__main__ import main

FLEET = """
[model]
file = "simulated:"
[[hosts]]
name = "gpu1"
cpu = 1
[[hosts]]
name = "gpu2"
cpu = 1
"""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("deploy-fleet", "--bundle", "none.tar"), "none.tar: no such file", id="no bundle"),
        pytest.param(
            ("deploy-fleet", "--bundle", "none.tar", "--only", "gpu9"), "host gpu9: not in", id="unknown host"
        ),
        pytest.param(
            ("drain-fleet", "gpu1"), "host gpu1: every host is asked by clients directly", id="nobody in front"
        ),
        pytest.param(("undrain-fleet", "gpu9"), "host gpu9: not in the inventory", id="unknown host to undrain"),
    ],
)
def test_what_cannot_begin_says_why_and_writes_nothing(
    arguments: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    options = ("--fleet", str(tmp_path / "fleet.toml"), "--out", str(tmp_path / "build"))
    assert main((*arguments, *options)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "build").exists()
