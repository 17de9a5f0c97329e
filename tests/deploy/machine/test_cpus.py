from pathlib import Path

from deploy.machine.cpus import cpu_nodes


def test_only_allowed_cpus_count_and_nodes_without_any_are_left_out(tmp_path: Path) -> None:
    for node, cpus in enumerate(("0-3", "4-7", "8-11")):
        folder = tmp_path / "devices/system/node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    assert cpu_nodes({1, 2, 8, 9}, tmp_path) == {0: (1, 2), 2: (8, 9)}


def test_a_kernel_that_shows_no_nodes_has_one(tmp_path: Path) -> None:
    assert cpu_nodes({3, 1}, tmp_path) == {0: (1, 3)}


def test_threads_of_one_core_stand_side_by_side(tmp_path: Path) -> None:
    for cpu in range(4):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    assert cpu_nodes(range(4), tmp_path) == {0: (0, 2, 1, 3)}
