"""GPUs as nvidia-smi lists them; its output is as on machines with these GPUs, with other UUIDs."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.errors import PreflightError
from deploy.machine.command import Outcome
from deploy.machine.devices import (
    BUS,
    LIST,
    Devices,
    Gpu,
    devices_from_json,
    devices_to_json,
    find_devices,
    parse_bus,
    parse_list,
)

TWO = """\
GPU 0: NVIDIA L4 (UUID: GPU-0a1b2c3d-1111-2222-3333-444455556666)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-9a8b7c6d-1111-2222-3333-444455556666)
"""
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-6e3e3c1e-9c1d-4c1b-8d3e-0f1e2d3c4b5a)
"""
BUSES = "0, 00000000:3B:00.0\n1, 00000000:AF:00.0\n"


def test_whole_gpus_are_listed() -> None:
    assert parse_list(TWO) == (
        Gpu("0", "GPU-0a1b2c3d-1111-2222-3333-444455556666", "NVIDIA L4"),
        Gpu("1", "GPU-9a8b7c6d-1111-2222-3333-444455556666", "NVIDIA GeForce RTX 4090"),
    )


def test_a_gpu_that_is_cut_into_mig_devices_gives_way_to_them() -> None:
    assert [(gpu.index, gpu.uuid[:8], gpu.name) for gpu in parse_list(MIG)] == [
        ("0:0", "MIG-c6d4", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"),
        ("0:1", "MIG-cba6", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"),
        ("1", "GPU-6e3e", "NVIDIA A100-SXM4-40GB"),
    ]


def test_bus_addresses_are_read_by_index() -> None:
    assert parse_bus(BUSES) == {"0": "00000000:3B:00.0", "1": "00000000:AF:00.0"}


def hardware(sys: Path) -> Path:
    """GPU 0 on NUMA node 0, GPU 1 on node 1, as the kernel shows that."""
    for bus, node in (("0000:3b:00.0", 0), ("0000:af:00.0", 1)):
        (sys / "bus/pci/devices" / bus).mkdir(parents=True)
        (sys / "bus/pci/devices" / bus / "numa_node").write_text(f"{node}\n")
        (sys / "devices/system/node" / f"node{node}").mkdir(parents=True)
        (sys / "devices/system/node" / f"node{node}" / "cpulist").write_text(f"{node * 4}-{node * 4 + 3}\n")
    return sys


def answers(listed: Outcome) -> Any:
    def run(command: Sequence[str]) -> Outcome:
        return {LIST: listed, BUS: Outcome(0, BUSES)}[tuple(command)]

    return run


def test_gpus_are_found_with_the_numa_node_they_are_attached_to(tmp_path: Path) -> None:
    found = find_devices(answers(Outcome(0, MIG)), range(8), sys=hardware(tmp_path))
    assert [(gpu.index, gpu.node) for gpu in found.gpus] == [("0:0", 0), ("0:1", 0), ("1", 1)]
    assert found.nodes == {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}


@pytest.mark.parametrize("content", ["-1\n", "", None], ids=["no node", "empty", "no file"])
def test_a_node_that_the_kernel_does_not_know_stays_open(tmp_path: Path, content: str | None) -> None:
    file = hardware(tmp_path) / "bus/pci/devices/0000:3b:00.0/numa_node"
    file.unlink() if content is None else file.write_text(content)
    found = find_devices(answers(Outcome(0, TWO)), range(8), sys=tmp_path)
    assert [gpu.node for gpu in found.gpus] == [-1, 1]


def test_without_a_driver_there_are_no_gpus(tmp_path: Path) -> None:
    def run(command: Sequence[str]) -> Outcome:
        raise FileNotFoundError(command[0])

    assert find_devices(run, {0, 1}, sys=tmp_path) == Devices((), {0: (0, 1)})


def test_a_driver_that_does_not_answer_is_a_problem_and_not_zero_gpus(tmp_path: Path) -> None:
    broken = Outcome(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
    with pytest.raises(PreflightError, match=r"nvidia-smi: NVIDIA-SMI has failed .*; repair the driver"):
        find_devices(answers(broken), {0}, sys=tmp_path)


def test_devices_survive_the_way_to_another_machine() -> None:
    devices = Devices(parse_list(MIG), {0: (0, 1), 1: (2, 3)})
    assert devices_from_json(devices_to_json(devices)) == devices


@pytest.mark.parametrize("text", ["", "{}", '{"gpus": 3, "nodes": {}}'])
def test_what_are_no_devices_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        devices_from_json(text)


class NotThere(Exception):
    """As NVML raises it."""


def nvml_of(*gpus: SimpleNamespace) -> Any:
    """A stand-in for pynvml over GPUs that this machine does not have."""

    def part(gpu: SimpleNamespace, number: int) -> SimpleNamespace:
        if number not in gpu.parts:
            raise NotThere
        found: SimpleNamespace = gpu.parts[number]
        return found

    def mode(gpu: SimpleNamespace) -> list[int]:
        if gpu.parts is None:
            raise NotThere
        return [int(bool(gpu.parts)), int(bool(gpu.parts))]

    return SimpleNamespace(
        NVMLError=NotThere,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda index: gpus[index],
        nvmlDeviceGetName=lambda gpu: gpu.name,
        nvmlDeviceGetUUID=lambda gpu: gpu.uuid,
        nvmlDeviceGetPciInfo=lambda gpu: SimpleNamespace(busId=gpu.bus),
        nvmlDeviceGetMigMode=mode,
        nvmlDeviceGetMaxMigDeviceCount=lambda gpu: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=part,
    )


def test_nvml_is_asked_where_it_is_installed(tmp_path: Path) -> None:
    slice_ = SimpleNamespace(name="NVIDIA A100 MIG 1g.5gb", uuid="MIG-2")
    nvml = nvml_of(
        SimpleNamespace(name="NVIDIA A100", uuid="GPU-0", bus="00000000:3B:00.0", parts={2: slice_}),
        SimpleNamespace(name="NVIDIA L4", uuid="GPU-1", bus="00000000:AF:00.0", parts=None),
    )

    def run(command: Sequence[str]) -> Outcome:
        raise AssertionError(command)

    assert find_devices(run, range(8), nvml, hardware(tmp_path)).gpus == (
        Gpu("0:2", "MIG-2", "NVIDIA A100 MIG 1g.5gb", 0),
        Gpu("1", "GPU-1", "NVIDIA L4", 1),
    )


@pytest.mark.parametrize("call", ["nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"])
def test_a_lost_gpu_is_a_problem_and_not_one_gpu_less(tmp_path: Path, call: str) -> None:
    def lost(*arguments: object) -> None:
        raise NotThere("GPU is lost")

    nvml = nvml_of(SimpleNamespace(name="NVIDIA L4", uuid="GPU-1", bus="00000000:AF:00.0", parts=None))
    setattr(nvml, call, lost)
    with pytest.raises(PreflightError, match=r"NVML: GPU is lost; repair the driver"):
        find_devices(answers(Outcome(0, "")), {0}, nvml, sys=tmp_path)
