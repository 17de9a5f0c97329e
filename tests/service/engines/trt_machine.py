"""A machine with a made-up GPU, TensorRT, pycuda and CUDA graphs, and engine files for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from framefleet.whole_file import sha256
from framefleet.wire.manifest import BuiltFor, Layout, Manifest, write_manifest
from service.engines.trt.engine import TrtEngine
from tests.service.engines.fake_cuda import CudaFaults, make_cuda
from tests.service.engines.fake_device import FakeDevice
from tests.service.engines.fake_pycuda import make_pycuda
from tests.service.engines.fake_tensorrt import MAGIC, VERSION, TrtFaults, make_tensorrt
from tests.service.engines.networks import CELLS, CLASSES, PLUGIN_ROWS, SIZE

OUTPUTS: dict[str, dict[str, tuple[int, ...]]] = {
    "serving": {"candidates": (CELLS, 6)},
    "yolov5": {"output0": (CELLS, 8)},
    "yolov5 with maps": {"map": (3, 4, 6, 8), "output": (CELLS, 8)},
    "yolov8": {"output0": (7, CELLS)},
    "tensorrtx 6": {"prob": (1 + PLUGIN_ROWS * 6,)},
    "tensorrtx 38": {"prob": (1 + PLUGIN_ROWS * 38, 1, 1)},
}
"""Each network's outputs, without the batch."""

HERE = BuiltFor(gpu="Made-up GPU", compute="8.6", tensorrt=VERSION, graph_sha256="0" * 64, precision="fp16")


class FakeLibraries:
    """What `ctypes.CDLL` is asked for: the driver, and plugins.

    `missing`: not found; `init`, `count`: what the driver answers; `loaded`: names in order.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.missing: set[str] = set()
        self.init = self.count_status = 0
        self.count = 1

    def __call__(self, name: str) -> Any:
        if Path(name).name in self.missing:
            raise OSError(f"{name}: cannot open shared object file")
        self._machine.device.log.append(f"load {Path(name).name}")
        self._machine.tensorrt.plugins.add(Path(name).name)
        return self

    def cuInit(self, flags: int) -> int:  # CUDA's name
        return self.init

    def cuDeviceGetCount(self, pointer: Any) -> int:  # CUDA's name
        pointer._obj.value = self.count
        return self.count_status


@dataclass
class Machine:
    """The machine's parts, each of which a test can break."""

    folder: Path
    device: FakeDevice = field(default_factory=FakeDevice)
    tensorrt: TrtFaults = field(default_factory=TrtFaults)
    cuda: CudaFaults = field(default_factory=CudaFaults)

    def __post_init__(self) -> None:
        self.libraries = FakeLibraries(self)

    def engine(self, model: Path, **options: Any) -> TrtEngine:
        return TrtEngine(str(model), load_library=self.libraries, **options)

    def write(
        self,
        network: str = "serving",
        *,
        batches: Sequence[tuple[int, int]] = ((1, 8),),
        fixed: int = 0,
        element: str = "",
        plugin: str = "",
        header: bytes = b"",
        built_for: BuiltFor | None = HERE,
        **changes: Any,
    ) -> Path:
        """Writes an engine file and its manifest.

        Args:
            network: of `networks.NETWORKS`.
            batches: least and most frames of each profile.
            fixed: frames of a batch, for an engine without profiles.
            element: of input and outputs; the layout's own by default.
            plugin: library whose layers the engine needs.
            header: put in front of the engine.
            built_for: in the manifest.
            changes: fields of the manifest.
        """
        serving = network == "serving"
        size = (*SIZE, 3) if serving else (3, *SIZE)
        batch: Any = fixed or -1
        tensors = [
            _tensor("frames" if serving else "data", "INPUT", batch, size, element or ("uint8" if serving else ""))
        ]
        tensors += [_tensor(name, "OUTPUT", batch, shape, element) for name, shape in OUTPUTS[network].items()]
        plan = {
            "network": network,
            "tensors": tensors,
            "profiles": [] if fixed else [[[n, *size] for n in (least, most, most)] for least, most in batches],
            "plugin": plugin or None,
            "activations": 4096,
        }
        data = header + MAGIC + json.dumps(plan).encode()
        path = self.folder / "model.engine"
        path.write_bytes(data)
        library = self.library(plugin) if plugin else ""
        write_manifest(path, _manifest(network, data, library, built_for, changes))
        return path

    def library(self, name: str) -> str:
        """Writes a shared library; gives its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
        return str(path)


def modules(machine: Machine) -> dict[str, ModuleType]:
    """What the machine's Python can import, by name."""
    pycuda, cuda, bindings = ModuleType("pycuda"), ModuleType("cuda"), ModuleType("cuda.bindings")
    driver, graphs = make_pycuda(machine.device), make_cuda(machine.device, machine.cuda)
    for parent, name, child in ((pycuda, "driver", driver), (cuda, "bindings", bindings), (bindings, "driver", graphs)):
        setattr(parent, name, child)
    made = (pycuda, driver, cuda, bindings, graphs, make_tensorrt(machine.device, machine.tensorrt))
    return {module.__name__: module for module in made}


def _tensor(name: str, mode: str, batch: int, shape: tuple[int, ...], element: str) -> dict[str, Any]:
    full = [batch if batch > 0 else "batch", *shape]
    return {"name": name, "mode": mode, "shape": [batch, *shape], "full": full, "dtype": element or "float32"}


def _manifest(network: str, data: bytes, plugin: str, built_for: BuiltFor | None, changes: dict[str, Any]) -> Manifest:
    layout: Any = network.split(maxsplit=1)[0]
    known: Layout = layout
    fields: dict[str, Any] = {
        "name": "cells",
        "sha256": sha256(data),
        "source": "cells.onnx",
        "source_sha256": "0" * 64,
        "layout": known,
        "input": SIZE,
        "names": CLASSES,
        "plugin": plugin,
        "built_for": built_for,
    }
    return Manifest(**{**fields, **changes})
