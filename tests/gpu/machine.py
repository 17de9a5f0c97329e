"""What a machine offers to the GPU tests and benchmarks: the device, and which optional parts are installed."""

import importlib
import platform
import sys
from dataclasses import asdict, dataclass

PARTS = {
    "torch": "the .torchscript engine",
    "torchvision": "batched NMS to compare with, and JPEG decoding on the GPU",
    "onnxruntime": "the reference of the accuracy gate",
    "pycuda": "the .engine engine's contexts and copies",
    "cuda.bindings": "CUDA graphs",
    "tensorrt": "building and running .engine files",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures come from.

    Attributes:
        gpu: name of the first CUDA device; empty without one.
        compute: its compute capability; empty without one.
        python: version of the interpreter.
        parts: version of each optional part, or why it is missing.
    """

    gpu: str
    compute: str
    python: str
    parts: dict[str, str]

    def lines(self) -> list[str]:
        """For people."""
        device = f"{self.gpu}, compute capability {self.compute}" if self.gpu else "no CUDA device"
        missing = [f"{part} ({PARTS[part]}): {state}" for part, state in self.parts.items() if not state[0].isdigit()]
        have = ", ".join(f"{part} {state}" for part, state in self.parts.items() if state[0].isdigit())
        return [f"{device}; Python {self.python}; {have}", *(f"missing: {line}" for line in missing)]

    def record(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "host": platform.machine()}


def this_machine() -> Machine:
    """Looks at this machine; imports every part that is there."""
    parts = {part: _version(part) for part in PARTS}
    gpu, compute = _device() if parts["torch"][0].isdigit() else ("", "")
    return Machine(gpu, compute, ".".join(map(str, sys.version_info[:3])), parts)


def _version(part: str) -> str:
    try:
        module = importlib.import_module(part)
    except Exception as error:  # libraries that miss their driver fail in ways of their own
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    return str(getattr(module, "__version__", None) or getattr(module, "VERSION_TEXT", "0"))


def _device() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "", ""
    return torch.cuda.get_device_name(0), "{}.{}".format(*torch.cuda.get_device_capability(0))
