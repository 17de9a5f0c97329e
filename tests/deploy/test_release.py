from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from deploy.release import Release, from_json, release_id, release_of, to_json

RELEASE = Release("20260102T030405Z-abc", "2026-01-02T03:04:05Z", "3.11", "x86_64", "m.onnx", "0" * 64)


def test_ids_sort_by_time_and_name_the_revision() -> None:
    moments = [datetime(2026, 1, 2, 3, 4, second, tzinfo=timezone.utc) for second in (5, 6)]
    ids = [release_id(moment, "abc") for moment in moments]
    assert ids == sorted(ids) == ["20260102T030405Z-abc", "20260102T030406Z-abc"]


def test_a_release_comes_back_as_it_was_written() -> None:
    assert from_json(to_json(RELEASE)) == RELEASE


def test_keys_of_later_versions_are_ignored() -> None:
    assert from_json(to_json(RELEASE).replace("{", '{"later": 1,', 1)) == RELEASE


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "no json", to_json(replace(RELEASE, id="../../etc")), to_json(RELEASE).replace('"3.11"', "3")],
    ids=["list", "empty", "text", "id that is a path", "number"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_a_checkout_is_no_release(tmp_path: Path) -> None:
    assert release_of(tmp_path) is None
    (tmp_path / "release.json").write_text(to_json(RELEASE))
    assert release_of(tmp_path) == RELEASE
