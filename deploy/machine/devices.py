"""What a host has to compute with: GPUs, MIG devices and the CPUs near them. Asks NVML, else nvidia-smi, and /sys.

Flow: NVML | output of nvidia-smi, /sys -> [Devices] -> host_fleet.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from deploy.errors import PreflightError, Problem
from deploy.machine.command import Outcome, Runner
from deploy.machine.cpus import cpu_nodes

SYS = Path("/sys")
UNKNOWN_NODE = -1
REPAIR = "repair the driver (often a reboot is enough), or remove it and set cpu and gpus = [] for this host"
LIST = ("nvidia-smi", "-L")
BUS = ("nvidia-smi", "--query-gpu=index,pci.bus_id", "--format=csv,noheader")
GPU_LINE = re.compile(r"GPU (?P<index>\d+): (?P<name>.+) \(UUID: (?P<uuid>GPU-[^)]+)\)")
MIG_LINE = re.compile(r"\s+MIG (?P<profile>\S+)\s+Device\s+(?P<index>\d+): \(UUID: (?P<uuid>MIG-[^)]+)\)")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or a MIG device of one.

    Attributes:
        index: as nvidia-smi counts, `0`; of a MIG device with its own number, `0:1`.
        uuid: what CUDA_VISIBLE_DEVICES takes.
        name: of the product, such as `NVIDIA L4`, with a MIG device's profile behind it.
        node: NUMA node it is attached to; -1 if unknown.
    """

    index: str
    uuid: str
    name: str
    node: int = UNKNOWN_NODE


@dataclass(frozen=True, slots=True)
class Devices:
    """A host's GPUs and CPUs.

    Attributes:
        gpus: usable ones in the order of their index; a GPU that is cut into MIG devices is not among them.
        nodes: CPUs by NUMA node, as far as they may be used, those of one core side by side.
    """

    gpus: tuple[Gpu, ...]
    nodes: dict[int, tuple[int, ...]]

    @property
    def cpus(self) -> tuple[int, ...]:
        """All CPUs."""
        return tuple(sorted(cpu for cpus in self.nodes.values() for cpu in cpus))


def find_devices(run: Runner, allowed: Collection[int], nvml: Any = None, sys: Path = SYS) -> Devices:
    """Looks at this machine.

    Args:
        run: runs a command and waits for its end.
        allowed: CPUs that may be used.
        nvml: the `pynvml` module, initialised; None asks nvidia-smi.
        sys: where the kernel shows the hardware.

    Raises:
        PreflightError: there is a driver, but it, or one of its GPUs, does not answer.
    """
    listed = _answered(nvml) if nvml else _from_command(run)
    gpus = tuple(replace(gpu, node=gpu_node(bus, sys)) for gpu, bus in listed)
    return Devices(gpus, cpu_nodes(allowed, sys))


def load_nvml() -> Any:
    """The `pynvml` module, initialised, where it is installed and finds a driver; else None."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, no driver, or no permission: nvidia-smi says which
        return None
    return pynvml


def parse_list(text: str) -> tuple[Gpu, ...]:
    """Reads the output of `nvidia-smi -L`."""
    found: list[tuple[Gpu, list[Gpu]]] = []
    for line in text.splitlines():
        if match := GPU_LINE.match(line):
            found.append((Gpu(match["index"], match["uuid"], match["name"]), []))
        elif found and (match := MIG_LINE.match(line)):
            whole, parts = found[-1]
            parts.append(Gpu(f"{whole.index}:{match['index']}", match["uuid"], f"{whole.name} MIG {match['profile']}"))
    return tuple(gpu for whole, parts in found for gpu in parts or [whole])


def parse_bus(text: str) -> dict[str, str]:
    """Reads lines `index, bus id`: PCI addresses by index."""
    rows = (line.split(",") for line in text.splitlines() if "," in line)
    return {index.strip(): bus.strip() for index, bus, *_ in rows}


def gpu_node(bus: str, sys: Path = SYS) -> int:
    """NUMA node of a PCI device; -1 if unknown."""
    # The driver writes the domain with 8 digits, the kernel with 4.
    domain, _, rest = bus.lower().partition(":")
    try:
        return int((sys / "bus/pci/devices" / f"{domain[-4:]}:{rest}" / "numa_node").read_text())
    except (OSError, ValueError):
        return UNKNOWN_NODE


def devices_to_json(devices: Devices) -> str:
    """Writes devices so that another machine can render for them."""
    return msgspec.json.format(msgspec.json.encode(devices)).decode() + "\n"


def devices_from_json(text: str) -> Devices:
    """Reads what `devices_to_json` wrote.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return msgspec.json.decode(text, type=Devices)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _from_command(run: Runner) -> tuple[tuple[Gpu, str], ...]:
    try:
        listed = run(LIST)
    except FileNotFoundError:
        return ()  # no driver is installed
    gpus = parse_list(_output(listed))
    buses = parse_bus(_output(run(BUS))) if gpus else {}
    return tuple((gpu, buses.get(gpu.index.partition(":")[0], "")) for gpu in gpus)


def _output(outcome: Outcome) -> str:
    if outcome.code != 0:
        last = (outcome.output.strip().splitlines() or [f"exit code {outcome.code}"])[-1]
        raise PreflightError(Problem("nvidia-smi", last, REPAIR))
    return outcome.output


def _answered(nvml: Any) -> tuple[tuple[Gpu, str], ...]:
    try:
        return _from_nvml(nvml)
    except nvml.NVMLError as error:  # such as a GPU that has fallen off the bus
        raise PreflightError(Problem("NVML", str(error), REPAIR)) from None


def _from_nvml(nvml: Any) -> tuple[tuple[Gpu, str], ...]:
    return tuple(row for index in range(nvml.nvmlDeviceGetCount()) for row in _nvml_rows(nvml, index))


def _nvml_rows(nvml: Any, index: int) -> Iterator[tuple[Gpu, str]]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, bus = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetPciInfo(handle).busId
    parts = list(_nvml_parts(nvml, handle))
    for number, part in parts:
        yield Gpu(f"{index}:{number}", nvml.nvmlDeviceGetUUID(part), nvml.nvmlDeviceGetName(part)), bus
    if not parts:
        yield Gpu(str(index), nvml.nvmlDeviceGetUUID(handle), name), bus


def _nvml_parts(nvml: Any, handle: Any) -> Iterator[tuple[int, Any]]:
    """The MIG devices of a GPU with their numbers; none where MIG is off or unknown."""
    ask: Callable[..., Any] = nvml.nvmlDeviceGetMigDeviceHandleByIndex
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return
    for number in range(count):
        try:
            yield number, ask(handle, number)
        except nvml.NVMLError:
            continue
