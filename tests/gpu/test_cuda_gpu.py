"""pycuda in the device's primary context: shared with torch, given back whole, and honest about what is lost."""

import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pycuda.driver", exc_type=ImportError, reason="pycuda is not installed, or has no driver")

import pycuda.driver as cuda
import torch

from service.engines.trt.cuda_context import cuda_errors, primary_context
from service.engines.trt.cuda_driver import probe_driver
from service.engines.trt.pipeline import CudaGraph, device_memory, graphs_available, make_streams
from service.errors import OutOfMemory

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 2**20

BREAK = """
import torch
from service.engines.trt.cuda_context import cuda_errors, primary_context
from service.errors import EngineFault
import pycuda.driver as cuda
with primary_context():
    values = torch.zeros(8, device="cuda")
    values[torch.tensor([10**6], device="cuda")]  # a kernel that asserts
    for _ in range(2):
        try:
            with cuda_errors("waiting"):
                cuda.Context.synchronize()
        except EngineFault as error:
            print("EngineFault", error, flush=True)
    import os
    os._exit(0)  # nothing can be released any more
"""


def test_the_driver_answers() -> None:
    assert probe_driver() >= 1


def test_the_gpu_is_named_as_torch_names_it() -> None:
    with primary_context() as gpu:
        assert gpu.name == torch.cuda.get_device_name(0)
        assert gpu.compute == "{}.{}".format(*torch.cuda.get_device_capability(0))


def test_torchs_memory_can_be_read_by_pycuda_and_torch_goes_on_afterwards() -> None:
    values = torch.arange(10_000, dtype=torch.float32, device="cuda")
    torch.cuda.synchronize()
    with primary_context():
        stream = make_streams().copy_out
        host = cuda.pagelocked_empty((10_000,), np.float32)
        cuda.memcpy_dtoh_async(host, values.data_ptr(), stream)
        stream.synchronize()
        assert (host == np.arange(10_000)).all()
        del stream
        host.base.free()
    assert float(values.sum()) == pytest.approx(10_000 * 9_999 / 2)


def test_a_context_is_the_business_of_its_own_thread() -> None:
    seen: list[float] = []

    def own() -> None:
        with primary_context(), ExitStack() as stack:
            device_memory(MEGABYTE, stack)
            seen.append(float(torch.ones(3, device="cuda").sum()))

    for _ in range(3):
        owner = threading.Thread(target=own)
        owner.start()
        owner.join(60)
    assert seen == [3.0, 3.0, 3.0]
    assert float(torch.ones(3, device="cuda").sum()) == 3.0


def test_memory_is_given_back() -> None:
    torch.ones(1, device="cuda")
    free = torch.cuda.mem_get_info()[0]
    with primary_context():
        with ExitStack() as stack:
            device_memory(256 * MEGABYTE, stack)
            assert torch.cuda.mem_get_info()[0] <= free - 256 * MEGABYTE
        assert torch.cuda.mem_get_info()[0] > free - 16 * MEGABYTE


def test_lack_of_memory_is_not_the_end() -> None:
    with primary_context(), ExitStack() as stack:
        with pytest.raises(OutOfMemory), cuda_errors("asking for too much"):
            device_memory(2**50, stack)
        device_memory(MEGABYTE, stack)
        cuda.Context.synchronize()


@pytest.mark.skipif(not graphs_available(), reason="cuda-bindings is not installed")
def test_recorded_work_is_done_again_with_what_is_there_by_then() -> None:
    with primary_context(), ExitStack() as stack:
        streams = make_streams()
        source, found = (cuda.pagelocked_empty((1000,), np.float32) for _ in range(2))
        device = device_memory(source.nbytes, stack)
        graph = CudaGraph(lambda: cuda.memcpy_htod_async(device, source, streams.compute), streams.compute.handle)
        for value in (7, 9):
            source[:] = value
            graph.launch()
            cuda.memcpy_dtoh_async(found, device, streams.compute)
            streams.compute.synchronize()
            assert (found == value).all()
        graph.release()
        for array in (source, found):
            array.base.free()


@pytest.mark.skipif(not graphs_available(), reason="cuda-bindings is not installed")
def test_a_stream_works_after_recording_failed() -> None:
    def fail() -> None:
        raise ValueError("while recording")

    with primary_context(), ExitStack() as stack:
        stream = make_streams().compute
        with pytest.raises(ValueError, match="while recording"):
            CudaGraph(fail, stream.handle)
        host = cuda.pagelocked_empty((10,), np.float32)
        cuda.memcpy_htod_async(device_memory(host.nbytes, stack), host, stream)
        stream.synchronize()
        host.base.free()


def test_a_broken_device_is_a_fault_every_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BREAK], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("EngineFault waiting:")]
    assert len(lines) == 2, done.stdout + done.stderr
