"""TensorRT as far as running an engine goes, on a made-up GPU: only the names in `typings/tensorrt`.

An "engine" is JSON behind TensorRT's four first letters; it names one of `networks.NETWORKS`, which is really computed,
on the bytes that were copied to the made-up device.
"""

from __future__ import annotations

import enum
import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from tests.service.engines.fake_device import DeviceError, FakeDevice, Work
from tests.service.engines.networks import NETWORKS

MAGIC = b"ftrt"
VERSION = "10.16.1.11"


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class DataType(enum.Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT32 = "int32"
    UINT8 = "uint8"
    BF16 = "bfloat16"


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(enum.Enum):
    USER_MANAGED = 2


class Dims:
    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> int:
        return self._sizes[index]


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.ready = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


@dataclass
class TrtFaults:
    """What the next calls do wrong: `refuse` names calls, each with the error that is logged; `plugins` loaded."""

    refuse: dict[str, str] = field(default_factory=dict)
    plugins: set[str] = field(default_factory=set)

    def hits(self, call: str, logger: ILogger) -> bool:
        reason = self.refuse.pop(call, None)
        if reason is not None:
            logger.log(Severity.WARNING, "a warning that is not the reason")
            logger.log(Severity.ERROR, reason)
            logger.log(Severity.ERROR, "fallout of the first error")
        return reason is not None


def make_tensorrt(device: FakeDevice, faults: TrtFaults) -> ModuleType:
    """Makes the module `tensorrt` of this GPU."""

    def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
        return logger.ready

    class Runtime(_Runtime):
        def __init__(self, logger: ILogger) -> None:
            super().__init__(device, faults, logger)

    module: Any = ModuleType("tensorrt")
    module.__version__ = VERSION
    module.init_libnvinfer_plugins = init_libnvinfer_plugins
    module.Runtime = Runtime
    for kind in (DataType, TensorIOMode, ExecutionContextAllocationStrategy, Dims, ILogger):
        setattr(module, kind.__name__, kind)
    module.ICudaEngine, module.IExecutionContext = ICudaEngine, IExecutionContext
    found: ModuleType = module
    return found


class _Runtime:
    def __init__(self, device: FakeDevice, faults: TrtFaults, logger: ILogger) -> None:
        assert logger.ready, "the logger's base was not initialised"
        device.check()
        device.log.append("runtime")
        self._device, self._faults, self._logger = device, faults, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        self._device.log.append("deserialise")
        if self._faults.hits("deserialize_cuda_engine", self._logger):
            return None
        if not serialized_engine.startswith(MAGIC):
            self._logger.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: magic tag does not match")
            return None
        plan = json.loads(serialized_engine[len(MAGIC) :])
        if plan["plugin"] not in (None, *self._faults.plugins):
            self._logger.log(Severity.ERROR, "IPluginCreator not found for YoloLayer_TRT")
            return None
        return ICudaEngine(self._device, self._faults, self._logger, plan)

    def __del__(self) -> None:
        self._device.log.append(f"runtime gone, contexts {_depth(self._device)}")


class ICudaEngine:
    def __init__(self, device: FakeDevice, faults: TrtFaults, logger: ILogger, plan: dict[str, Any]) -> None:
        self._device, self._faults, self._logger, self._plan = device, faults, logger, plan
        self._tensors: dict[str, dict[str, Any]] = {tensor["name"]: tensor for tensor in plan["tensors"]}

    num_io_tensors = property(lambda self: len(self._tensors))
    num_optimization_profiles = property(lambda self: max(1, len(self._plan["profiles"])))
    device_memory_size_v2 = property(lambda self: self._plan["activations"])

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode[self._tensors[name]["mode"]]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensors[name]["shape"])

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._tensors[name]["dtype"])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        assert self._tensors[name]["mode"] == "INPUT"
        return [Dims(shape) for shape in self._plan["profiles"][profile_index]]

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        if self._faults.hits("create_execution_context", self._logger):
            return None
        return IExecutionContext(self, self._device, self._faults, self._logger)

    def __del__(self) -> None:
        self._device.log.append(f"engine gone, contexts {_depth(self._device)}")


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, device: FakeDevice, faults: TrtFaults, logger: ILogger) -> None:
        self._engine, self._device, self._faults, self._logger = engine, device, faults, logger
        self._plan, self._tensors = engine._plan, engine._tensors
        self._profile, self._batch = 0, 0
        self._addresses: dict[str, int] = {}
        self._memory: tuple[int, int] | None = None
        self._changes, self._settled = 0, False

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self._plan["activations"]
        self._memory = (memory, size)
        self._changes += 1

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._device.stream_of(stream_handle)
        self._device.log.append(f"profile {profile_index}")
        self._profile = profile_index
        self._changes += 1
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        if self._faults.hits("set_input_shape", self._logger):
            return False
        fixed = self._tensors[name]["shape"]
        least, _, most = self._plan["profiles"][self._profile] if self._plan["profiles"] else (fixed, fixed, fixed)
        if len(shape) != len(fixed) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            self._logger.log(Severity.ERROR, f"IExecutionContext::setInputShape: {tuple(shape)} is outside the profile")
            return False
        self._batch, self._settled = shape[0], False
        self._changes += 1
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims([self._batch if axis == "batch" else axis for axis in self._tensors[name].get("full", ())])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0
        self._addresses[name] = memory
        self._changes += 1
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = self._device.stream_of(stream_handle)
        recording = stream.recorded is not None
        call = "execute_async_v3 while recording" if recording else "execute_async_v3"
        if self._faults.hits(call, self._logger):
            return False
        if not self._batch or set(self._addresses) != set(self._tensors) or self._memory is None:
            self._logger.log(Severity.ERROR, "IExecutionContext::enqueueV3: a tensor has no shape or no address")
            return False
        assert self._settled or not recording, "recorded before a first batch of this size"
        self._settled = True
        try:
            stream.put(self._work(recording))
        except DeviceError as error:
            self._logger.log(Severity.ERROR, f"Cuda Runtime ({error})")
            return False
        return True

    def _work(self, recording: bool) -> Work:
        device, plan, batch, addresses, memory = self._device, self._plan, self._batch, self._addresses, self._memory
        assert memory is not None
        tensors, places, me, changes = self._tensors, dict(addresses), weakref.ref(self), self._changes

        def batch_work() -> None:
            if recording:
                context = me()
                assert context is not None and context._changes == changes, "a recorded context was touched or dropped"
            if memory[1]:
                device.at(*memory)[:] = 0
            _compute(device, plan, tensors, places, batch)

        return lambda: device.compute_now(batch_work)


def _compute(
    device: FakeDevice, plan: dict[str, Any], tensors: dict[str, dict[str, Any]], places: dict[str, int], batch: int
) -> None:
    (source,) = [tensor for tensor in tensors.values() if tensor["mode"] == "INPUT"]
    shape = [batch, *source["full"][1:]]
    kind = np.dtype(source["dtype"])
    data = device.at(places[source["name"]], int(np.prod(shape)) * kind.itemsize).view(kind).reshape(shape)
    device.log.append(f"compute {batch}")
    for name, rows in NETWORKS[plan["network"]](data).items():
        raw = np.ascontiguousarray(rows, tensors[name]["dtype"]).reshape(-1).view(np.uint8)
        device.at(places[name], len(raw))[:] = raw


def _depth(device: FakeDevice) -> int:
    return sum(len(stack) for stack in device.contexts.values())
