"""The TensorRT engine on a made-up GPU: right answers for every layout, in the right order, and released as it came."""

import itertools
import sys
import threading

import pytest

from service.errors import EngineFault, InferenceFailed, OutOfMemory
from tests.service.engines.fake_cuda import CUresult
from tests.service.engines.networks import SIZE, assert_found, pictures
from tests.service.engines.trt_machine import Machine


@pytest.mark.parametrize(
    ("network", "element", "tolerance"),
    [
        ("serving", "", 1e-3),
        ("yolov5", "", 1e-3),
        ("yolov5", "float16", 0.1),
        ("yolov5 with maps", "", 1e-3),
        ("yolov8", "", 1e-3),
        ("yolov8", "float16", 0.1),
        ("tensorrtx 6", "", 1e-3),
        ("tensorrtx 38", "", 1e-3),
    ],
)
def test_every_layout_gives_the_candidates_of_a_plain_reference(
    network: str, element: str, tolerance: float, machine: Machine
) -> None:
    frames = pictures(5)
    with machine.engine(machine.write(network, element=element)) as engine:
        found = engine.infer(frames)
    assert_found(found, frames, objectness=network != "yolov8", tolerance=tolerance)


@pytest.mark.parametrize("graphs", [True, False], ids=["recorded", "direct"])
def test_every_batch_size_works_again_and_again(graphs: bool, machine: Machine) -> None:
    if not graphs:
        machine.cuda.capture = CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    with machine.engine(machine.write(batches=[(1, 4)])) as engine:
        for seed, count in enumerate((1, 2, 3, 4, 1, 4, 2)):
            frames = pictures(count, seed)
            assert_found(engine.infer(frames), frames)
        assert ("launch graph" in machine.device.log) == graphs


def test_candidates_are_the_callers_own_memory(machine: Machine) -> None:
    with machine.engine(machine.write()) as engine:
        first = engine.infer(pictures(1, 1))
        before = first.copy()
        for seed in range(2, 6):
            engine.infer(pictures(1, seed))
        assert (first == before).all()
    assert (first == before).all()


def test_two_batches_are_in_flight_and_their_frames_may_be_overwritten_at_once(machine: Machine) -> None:
    with machine.engine(machine.write()) as engine:
        assert engine.info.in_flight == 2
        slot = pictures(3, 1)
        kept = [slot.copy(), pictures(2, 2)]
        first = engine.begin(slot)
        slot[:] = 0
        second = engine.begin(kept[1])
        for pending, frames in zip((first, second), kept, strict=True):
            assert_found(pending.result(), frames)
        again = engine.begin(kept[1])
        assert_found(again.result(), kept[1])


def test_the_steps_of_two_batches_overlap_and_those_of_one_do_not(machine: Machine) -> None:
    with machine.engine(machine.write()) as engine:
        machine.device.log.clear()
        first, second = engine.begin(pictures(3, 1)), engine.begin(pictures(2, 2))
        assert machine.device.log == ["launch graph", "launch graph"], "begin does not wait for the device"
        first.result()
        # Waiting for the first batch does its steps alone: nothing of the second one is in front of them.
        assert machine.device.log[2:] == ["copy in 3", "compute 3", "copy out 3"]
        second.result()
        assert machine.device.log[5:] == ["copy in 2", "compute 2", "copy out 2"]
        streams = {stream.handle for stream in machine.device.streams if stream.work}
        assert len(streams) == 3, "copying in, computing and copying out have a stream each"


@pytest.mark.parametrize(
    ("batches", "wanted", "largest", "profile"),
    [
        ([(1, 8)], 0, 8, 0),
        ([(1, 32)], 0, 8, 0),
        ([(1, 32)], 16, 16, 0),
        ([(1, 4)], 16, 4, 0),
        ([(1, 1), (1, 8), (1, 32)], 0, 8, 1),
        ([(1, 1), (1, 8), (1, 32)], 20, 20, 2),
        ([(4, 8), (1, 16)], 8, 8, 1),
        ([(1, 2), (1, 4)], 64, 4, 1),
    ],
)
def test_the_profile_that_takes_the_wanted_batch_is_chosen(
    batches: list[tuple[int, int]], wanted: int, largest: int, profile: int, machine: Machine
) -> None:
    frames = pictures(largest)
    with machine.engine(machine.write(batches=batches), max_batch=wanted) as engine:
        assert engine.info.max_batch == largest
        assert_found(engine.infer(frames), frames)
        chosen = {line for line in machine.device.log if line.startswith("profile")}
    assert chosen == ({f"profile {profile}"} if profile else set())


@pytest.mark.parametrize("network", ["serving", "tensorrtx 38"])
def test_an_engine_of_a_fixed_batch_is_filled_up(network: str, machine: Machine) -> None:
    with machine.engine(machine.write(network, fixed=4, built_for=None)) as engine:
        assert engine.info.max_batch == 4
        for count in (4, 1, 3):
            frames = pictures(count, count)
            assert_found(engine.infer(frames), frames)
        assert "compute 1" not in machine.device.log


def test_a_profile_that_takes_no_single_frame_is_filled_up(machine: Machine) -> None:
    frames = pictures(1)
    with machine.engine(machine.write(batches=[(2, 8)])) as engine:
        assert_found(engine.infer(frames), frames)
    assert "compute 2" in machine.device.log and "compute 1" not in machine.device.log


def test_info_says_what_runs_where_and_how(machine: Machine) -> None:
    with machine.engine(machine.write()) as engine:
        info = engine.info
    assert (info.kind, info.model, info.device, info.input_size) == ("tensorrt", "cells", "Made-up GPU (8.6)", SIZE)
    assert info.note == "TensorRT 10.16.1.11, fp16; CUDA graphs up to batch 8"
    assert info.precision == "fp16"


def test_the_precision_of_an_engine_that_was_built_elsewhere_is_not_known(machine: Machine) -> None:
    with machine.engine(machine.write(built_for=None)) as engine:
        assert (engine.info.precision, engine.info.note[:21]) == ("", "TensorRT 10.16.1.11; ")


def test_without_cuda_bindings_it_says_so_and_works(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    frames = pictures(2)
    with machine.engine(machine.write()) as engine:
        assert engine.info.note.endswith("no CUDA graphs: cuda-bindings is not installed")
        assert_found(engine.infer(frames), frames)


def test_what_cannot_be_recorded_is_run_directly_and_nothing_recorded_is_left(machine: Machine) -> None:
    machine.cuda.capture = CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    frames = pictures(2)
    with machine.engine(machine.write()) as engine:
        assert engine.info.note.endswith("no CUDA graphs: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        assert_found(engine.infer(frames), frames)
        assert machine.cuda.live == 0


def test_an_engine_that_refuses_while_recording_is_run_directly(machine: Machine) -> None:
    machine.tensorrt.refuse["execute_async_v3 while recording"] = "a layer waits for the device"
    frames = pictures(2)
    with machine.engine(machine.write()) as engine:
        assert engine.info.note.endswith("no CUDA graphs: TensorRT, running a batch: a layer waits for the device")
        assert_found(engine.infer(frames), frames)
        assert machine.cuda.live == 0


def test_cuda_bindings_that_do_not_suit_the_driver_are_done_without(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError('Function "cuStreamBeginCapture" not found')

    monkeypatch.setattr(sys.modules["cuda.bindings.driver"], "cuStreamBeginCapture", fail)
    frames = pictures(2)
    with machine.engine(machine.write()) as engine:
        assert engine.info.note.endswith('no CUDA graphs: Function "cuStreamBeginCapture" not found')
        assert_found(engine.infer(frames), frames)


def test_large_batches_are_run_directly(machine: Machine) -> None:
    frames = pictures(9)
    with machine.engine(machine.write(batches=[(1, 9)]), max_batch=9) as engine:
        machine.device.log.clear()
        assert_found(engine.infer(frames), frames)
        assert "launch graph" not in machine.device.log
        assert_found(engine.infer(frames[:8]), frames[:8])
        assert "launch graph" in machine.device.log


def test_everything_is_taken_in_order_and_released_in_reverse_by_the_owner(machine: Machine) -> None:
    model = machine.write("tensorrtx 6", plugin="libmyplugins.so")

    def own() -> None:
        with machine.engine(model) as engine:
            engine.infer(pictures(2))

    owner = threading.Thread(target=own, name="owner")
    owner.start()
    owner.join(30)
    log = [line for line in machine.device.log if not line.startswith(("copy", "compute", "launch"))]
    assert log[:6] == ["load libcuda.so.1", "load libmyplugins.so", "init", "retain", "push", "runtime"]
    assert log[6] == "deserialise"
    released = [name for name, _ in itertools.groupby(log[7:])]
    assert released == [
        "destroy graph",
        "free device",
        "free pinned",
        "free device",
        "free pinned",
        "engine gone, contexts 1",
        "runtime gone, contexts 1",
        "pop",
        "detach",
    ]
    assert (machine.device.memory, machine.device.pinned, machine.cuda.live) == ({}, {}, 0)
    assert machine.device.threads == {"owner"}


def test_an_engine_can_be_opened_again(machine: Machine) -> None:
    model, frames = machine.write(), pictures(1)
    for _ in range(2):
        with machine.engine(model) as engine:
            assert_found(engine.infer(frames), frames)


@pytest.mark.parametrize("graphs", [True, False], ids=["recorded", "direct"])
def test_a_broken_device_is_a_fault_from_then_on(graphs: bool, machine: Machine) -> None:
    if not graphs:
        machine.cuda.capture = CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    with (
        pytest.raises(EngineFault, match="an illegal memory access was encountered"),
        machine.engine(machine.write()) as engine,
    ):
        engine.infer(pictures(1))
        machine.device.break_at = 1
        engine.infer(pictures(1))


def test_a_fault_is_the_error_that_gets_out_though_nothing_can_be_released_any_more(machine: Machine) -> None:
    with pytest.raises(ValueError, match="the first error"), machine.engine(machine.write()):
        machine.device.broken = True
        raise ValueError("the first error")
    assert machine.device.log[-1] == "detach"


def test_a_refused_batch_says_why_and_the_next_one_works(machine: Machine) -> None:
    frames = pictures(9)
    with machine.engine(machine.write(batches=[(1, 9)]), max_batch=9) as engine:
        for _ in range(3):  # more often than there are slots
            machine.tensorrt.refuse["execute_async_v3"] = "IExecutionContext::enqueueV3: no such thing"
            with pytest.raises(InferenceFailed, match="running a batch: IExecutionContext::enqueueV3: no such thing"):
                engine.infer(frames)
        assert_found(engine.infer(frames), frames)


def test_out_of_memory_is_no_fault(machine: Machine) -> None:
    frames = pictures(9)
    with machine.engine(machine.write(batches=[(1, 9)]), max_batch=9) as engine:
        machine.tensorrt.refuse["execute_async_v3"] = "Cuda Runtime (out of memory)"
        with pytest.raises(OutOfMemory):
            engine.infer(frames)
        machine.cuda.launch = CUresult.CUDA_ERROR_OUT_OF_MEMORY
        with pytest.raises(OutOfMemory):
            engine.infer(frames[:1])
        machine.cuda.launch = CUresult.CUDA_SUCCESS
        assert_found(engine.infer(frames[:1]), frames[:1])


def test_memory_that_lacks_only_while_a_batch_is_computed_is_no_fault_either(machine: Machine) -> None:
    frames = pictures(2)
    with machine.engine(machine.write()) as engine:
        for _ in range(3):  # more often than there are slots
            machine.device.lacking = 1
            with pytest.raises(OutOfMemory, match="waiting for a batch"):
                engine.infer(frames)
        assert_found(engine.infer(frames), frames)


def test_a_batch_refused_because_the_device_broke_is_a_fault(machine: Machine) -> None:
    with (
        pytest.raises(EngineFault, match="illegal memory access"),
        machine.engine(machine.write(batches=[(1, 9)]), max_batch=9) as engine,
    ):
        engine.begin(pictures(9))
        machine.device.break_at = 1
        machine.tensorrt.refuse["execute_async_v3"] = "Cuda Runtime (an error)"
        engine.begin(pictures(9))


def test_a_refused_batch_leaves_the_one_in_flight_alone(machine: Machine) -> None:
    frames = pictures(9)
    with machine.engine(machine.write(batches=[(1, 9)]), max_batch=9) as engine:
        first = engine.begin(frames)
        machine.tensorrt.refuse["execute_async_v3"] = "no"
        with pytest.raises(InferenceFailed):
            engine.begin(pictures(9, 8))
        assert_found(first.result(), frames)
