from pathlib import Path

import pytest

from deploy.cpus import cpu_nodes, parse_cpus, write_cpus

LISTS = [
    pytest.param("", (), id="none"),
    pytest.param("0", (0,), id="one"),
    pytest.param("0-3", (0, 1, 2, 3), id="run"),
    pytest.param("0-1,8,10-11", (0, 1, 8, 10, 11), id="runs"),
]


@pytest.mark.parametrize(("text", "cpus"), LISTS)
def test_lists_are_read_as_the_kernel_writes_them(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(f"{text}\n") == cpus


@pytest.mark.parametrize(("text", "cpus"), LISTS)
def test_lists_are_written_as_the_kernel_does(text: str, cpus: tuple[int, ...]) -> None:
    assert write_cpus(cpus[::-1]) == text


def test_only_allowed_cpus_count_and_nodes_without_any_are_left_out(tmp_path: Path) -> None:
    for node, cpus in enumerate(("0-3", "4-7", "8-11")):
        folder = tmp_path / "devices/system/node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    assert cpu_nodes({1, 2, 8, 9}, tmp_path) == {0: (1, 2), 2: (8, 9)}


def test_a_kernel_that_shows_no_nodes_has_one(tmp_path: Path) -> None:
    assert cpu_nodes({3, 1}, tmp_path) == {0: (1, 3)}
