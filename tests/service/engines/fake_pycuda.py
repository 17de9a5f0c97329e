"""pycuda as far as this project uses it, on a made-up GPU: only the names in `typings/pycuda`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.service.engines.fake_device import DeviceError, FakeDevice, FakeStream


def make_pycuda(device: FakeDevice) -> ModuleType:
    """Makes the module `pycuda.driver` of this GPU."""
    module = ModuleType("pycuda.driver")
    for name, value in _names(device).items():
        setattr(module, name, value)
    return module


def _names(device: FakeDevice) -> dict[str, Any]:  # noqa: C901  # one closure over the device
    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class LogicError(Error):
        pass

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except DeviceError as error:
            kind = MemoryError if error.code == "CUDA_ERROR_OUT_OF_MEMORY" else LogicError
            raise kind(f"cuSomething failed: {error}") from None

    def init(flags: int = 0) -> None:
        device.log.append("init")

    class Device:
        def __init__(self, index: int) -> None:
            assert index == 0

        def name(self) -> str:
            return device.name

        def compute_capability(self) -> tuple[int, int]:
            return device.compute

        def retain_primary_context(self) -> Context:
            device.log.append("retain")
            return Context()

    class Context:
        def __init__(self) -> None:
            self._thread = threading.current_thread().name

        def push(self) -> None:
            device.contexts.setdefault(threading.current_thread().name, []).append(self)
            device.log.append("push")

        @staticmethod
        def pop() -> None:
            device.contexts[threading.current_thread().name].pop()
            device.log.append("pop")

        def detach(self) -> None:
            assert self._thread == threading.current_thread().name, "detached by another thread"
            device.log.append("detach")

        @staticmethod
        def synchronize() -> None:
            call(device.synchronize)

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self._stream: FakeStream = call(device.stream)
            assert flags == 1, "a stream that waits for the default one"

        @property
        def handle(self) -> int:
            return self._stream.handle

        def synchronize(self) -> None:
            call(self._stream.run_until, len(self._stream.work))
            call(device.check)

        def wait_for_event(self, event: Event) -> None:
            stream, place = event.mark
            call(self._stream.put, lambda: stream.run_until(place))

    class event_flags:  # pycuda's name
        BLOCKING_SYNC = 1
        DISABLE_TIMING = 2

    class Event:
        def __init__(self, flags: int = 0) -> None:
            call(device.check)
            self.mark: tuple[FakeStream, int]

        def record(self, stream: Stream) -> Event:
            call(device.check)
            target = device.stream_of(stream.handle)
            self.mark = (target, len(target.work))
            return self

        def synchronize(self) -> Event:
            stream, place = self.mark
            call(stream.run_until, place)
            call(device.check)
            return self

    class DeviceAllocation:
        def __init__(self, address: int) -> None:
            self._address = address

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            call(device.free, self._address)
            device.log.append("free device")

    class PagelockedHostAllocation:
        def __init__(self, array: npt.NDArray[Any]) -> None:
            self._memory = array
            self.__array_interface__ = array.__array_interface__
            device.pinned[id(self)] = array.nbytes

        def free(self) -> None:
            call(device.check)
            del device.pinned[id(self)]
            device.log.append("free pinned")

    def mem_alloc(bytes: int) -> DeviceAllocation:
        return DeviceAllocation(call(device.allocate, bytes))

    def pagelocked_empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        call(device.check)
        return np.asarray(PagelockedHostAllocation(np.full(shape, 7, dtype)))

    def pinned(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        assert id(owner) in device.pinned, "copied from or to memory that is not pinned, or was given back"
        return array.reshape(-1).view(np.uint8)

    def memcpy_htod_async(dest: DeviceAllocation, src: npt.NDArray[Any], stream: Stream) -> None:
        source, address = pinned(src), int(dest)

        def copy() -> None:
            device.log.append(f"copy in {len(src)}")
            device.at(address, len(source))[:] = source

        call(device.stream_of(stream.handle).put, copy)

    def memcpy_dtoh_async(dest: npt.NDArray[Any], src: DeviceAllocation, stream: Stream) -> None:
        target, address = pinned(dest), int(src)

        def copy() -> None:
            device.log.append(f"copy out {len(dest)}")
            target[:] = device.at(address, len(target))

        call(device.stream_of(stream.handle).put, copy)

    local = dict(locals())
    return {name: value for name, value in local.items() if name not in ("device", "call", "pinned")}
