"""GPU figures through NVML, under the `nv_gpu_*` names that Triton's tools read; nothing where there is no GPU."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from framefleet.wire.answers import Figure

# NVML gives milliwatts, millijoules and per cent.
MILLI = 1000
PER_CENT = 100

Reader = Callable[[Any, Any], float]

FIGURES: tuple[tuple[str, str, Reader], ...] = (
    (
        "nv_gpu_utilization",
        "Share of time in kernels, 0 to 1",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / PER_CENT,
    ),
    ("nv_gpu_memory_total_bytes", "Memory", lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total),
    ("nv_gpu_memory_used_bytes", "Memory in use", lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    ("nv_gpu_power_usage", "Watts", lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / MILLI),
    ("nv_gpu_power_limit", "Watts at most", lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / MILLI),
    (
        "nv_energy_consumption",
        "Joules since the driver was loaded",
        lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / MILLI,
    ),
    (
        "nv_gpu_temperature_celsius",
        "Temperature",
        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    (
        "nv_gpu_throttle_reasons",
        "NVML's bit mask of reasons for lower clocks, 0 for none",
        lambda nvml, gpu: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
    ),
)


Told = Annotated[Figure | None, Meta(description="null where the GPU does not tell.")]


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """A GPU at one moment; None for what it does not tell.

    Attributes:
        uuid: as `nvidia-smi -L` shows it.
        utilization: share of time in kernels, 0 to 1.
        memory_used_bytes: of the whole GPU, whoever uses it.
        memory_total_bytes: what it has.
        temperature_c: degrees Celsius.
    """

    uuid: Annotated[str, Meta(description="As `nvidia-smi -L` shows it.")]
    utilization: Told
    memory_used_bytes: Told
    memory_total_bytes: Told
    temperature_c: Told


class GpuCollector(Collector):
    """Reads the GPUs this process may use when it is asked.

    Args:
        nvml: the `pynvml` module, initialised.
        visible: UUIDs and indices as in CUDA_VISIBLE_DEVICES; None for every GPU of the machine.
    """

    def __init__(self, nvml: Any, visible: Collection[str] | None = None) -> None:
        self._nvml = nvml
        self._visible = visible

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now; one that a GPU does not have is left out."""
        gpus = self._gpus()
        for name, what, read in FIGURES:
            family = GaugeMetricFamily(name, what, labels=["gpu_uuid"])
            for uuid, gpu in gpus.items():
                if (value := self._read(read, gpu)) is not None:
                    family.add_metric([uuid], value)
            yield family

    def snapshot(self) -> list[GpuFigures]:
        """The figures people look at first, as they are now."""
        readers = {name: read for name, _, read in FIGURES}
        return [
            GpuFigures(
                uuid,
                self._read(readers["nv_gpu_utilization"], gpu),
                self._read(readers["nv_gpu_memory_used_bytes"], gpu),
                self._read(readers["nv_gpu_memory_total_bytes"], gpu),
                self._read(readers["nv_gpu_temperature_celsius"], gpu),
            )
            for uuid, gpu in self._gpus().items()
        ]

    def _read(self, read: Reader, gpu: Any) -> float | None:
        try:
            return float(read(self._nvml, gpu))
        except self._nvml.NVMLError:
            return None

    def _gpus(self) -> dict[str, Any]:
        """Handles by UUID of the GPUs that answer: one that is lost must not hide the others' figures."""
        nvml, found = self._nvml, {}
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                gpu = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = nvml.nvmlDeviceGetUUID(gpu)
            except nvml.NVMLError:
                continue
            if self._visible is None or {str(index), uuid} & set(self._visible):
                found[uuid] = gpu
        return found


def gpu_collector(environ: Mapping[str, str] = os.environ) -> GpuCollector | None:
    """The collector, where NVML is installed and finds a driver; None elsewhere.

    Args:
        environ: CUDA_VISIBLE_DEVICES in it narrows the GPUs down. A MIG device's UUID matches none: NVML has no figures
            of its own for it.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, no driver, or no permission: all mean no figures
        return None
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    return GpuCollector(pynvml, None if visible is None else visible.split(","))
