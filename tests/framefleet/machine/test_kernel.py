"""The kernel's version, as reports give it."""

import platform

import pytest

from framefleet.machine.kernel import kernel_version


@pytest.mark.parametrize("release", ["6.1.0", "6.1.0-13-amd64", "6.1.0-1052-aws"])
def test_what_others_add_is_left_out(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "release", lambda: release)

    assert kernel_version() == "Linux 6.1.0"
