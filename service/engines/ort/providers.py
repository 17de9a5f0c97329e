"""Which of ONNX Runtime's providers run a model: a pure choice, so that nothing falls back unsaid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.errors import StartError

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

_CHAINS = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
"""What runs on each device. The later ones take the few steps that the first one leaves over."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One way to run a model.

    Attributes:
        device: cpu, cuda or tensorrt.
        options: options of the device's own provider.
    """

    device: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def provider(self) -> str:
        """The provider that has to be in the session."""
        return _CHAINS[self.device][0]

    @property
    def chain(self) -> list[tuple[str, dict[str, Any]]]:
        """Providers with options, as `InferenceSession` takes them."""
        first, *rest = _CHAINS[self.device]
        return [(first, self.options), *((name, {}) for name in rest)]


def placements(device: str, offered: Sequence[str]) -> list[Placement]:
    """Where to try to run a model, best first.

    Args:
        device: auto, cpu, cuda or tensorrt. Only `auto` gives more than one.
        offered: providers in this build of ONNX Runtime.

    Raises:
        StartError: this build cannot run on the device.
    """
    if device == "auto":
        # TensorRT is left out: it builds its engine at start, which takes minutes; that has to be asked for.
        return [*([Placement("cuda")] if CUDA in offered else []), Placement("cpu")]
    wanted = Placement(device)
    if wanted.provider not in offered:
        raise StartError(
            f"FRAMEFLEET_DEVICE: {device}: this ONNX Runtime has no {wanted.provider} (it offers "
            f"{', '.join(offered)}); install onnxruntime-gpu in its place, or set FRAMEFLEET_DEVICE=cpu"
        )
    return [wanted]


def tensorrt_options(cache: str, input_size: tuple[int, int], max_batch: int) -> dict[str, Any]:
    """Options of the TensorRT provider: one engine for every batch, kept on disk.

    Without the range of shapes it would build another engine, for minutes, at the first batch of each size.
    """
    shapes = {
        edge: f"frames:{batch}x{input_size[0]}x{input_size[1]}x3"
        for edge, batch in {"min": 1, "opt": max_batch, "max": max_batch}.items()
    }
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": cache,
        **{f"trt_profile_{edge}_shapes": shape for edge, shape in shapes.items()},
    }
