"""What keeps an engine file from being served: one clear line, and nothing left behind on the made-up GPU."""

import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from framefleet.whole_file import sha256
from service.errors import StartError
from tests.service.engines.networks import CELLS, assert_found, pictures
from tests.service.engines.trt_machine import HERE, Machine


def start_error(machine: Machine, model: Path, **options: object) -> str:
    """The one line that starting ends with; nothing is left behind."""
    with pytest.raises(StartError) as caught:
        machine.engine(model, **options).__enter__()
    assert (machine.device.memory, machine.device.pinned, machine.cuda.live) == ({}, {}, 0)
    depth = sum(len(stack) for stack in machine.device.contexts.values())
    assert depth == 0
    assert not any(line.endswith("gone, contexts 0") for line in machine.device.log), "TensorRT outlived the context"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("missing", {"libcuda.so.1"}, "no NVIDIA driver on this machine"),
        ("init", 100, "does not answer (cuInit gave 100)"),
        ("count_status", 3, "cannot count its GPUs (error 3)"),
        ("count", 0, "shows no GPU to this process; check CUDA_VISIBLE_DEVICES"),
    ],
)
def test_without_a_driver_tensorrt_is_never_touched(setting: str, value: object, words: str, machine: Machine) -> None:
    setattr(machine.libraries, setting, value)
    assert words in start_error(machine, machine.write())
    assert "runtime" not in machine.device.log and "init" not in machine.device.log


@pytest.mark.parametrize(
    ("module", "words"),
    [("tensorrt", "TensorRT cannot be imported"), ("pycuda.driver", "pycuda cannot be imported")],
)
def test_a_missing_package_is_named(module: str, words: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    error = start_error(machine, machine.write())
    assert words in error and "install the `gpu` extra" in error


def test_asked_to_run_on_the_cpu_it_refuses(machine: Machine) -> None:
    assert "FRAMEFLEET_DEVICE: cpu cannot run an .engine file" in start_error(machine, machine.write(), device="cpu")


@pytest.mark.parametrize(
    ("change", "there"),
    [
        ({"gpu": "NVIDIA A10"}, "NVIDIA A10 (8.6) with TensorRT 10.16.1.11"),
        ({"compute": "9.0"}, "Made-up GPU (9.0) with TensorRT 10.16.1.11"),
        ({"tensorrt": "10.3.0"}, "Made-up GPU (8.6) with TensorRT 10.3.0"),
    ],
)
def test_an_engine_for_another_gpu_or_version_is_never_loaded(
    change: dict[str, str], there: str, machine: Machine
) -> None:
    error = start_error(machine, machine.write(built_for=replace(HERE, **change)))
    assert f"was built for {there}, this is Made-up GPU (8.6) with TensorRT 10.16.1.11; run `make engine`" in error
    assert "runtime" not in machine.device.log


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"garbage", lambda data: b""])
def test_a_truncated_or_foreign_file_never_reaches_tensorrt(damage, machine: Machine) -> None:  # type: ignore[no-untyped-def]
    model = machine.write()
    model.write_bytes(damage(model.read_bytes()))
    error = start_error(machine, model)
    assert "truncated, damaged or was replaced; run `make setup`, `make model` or `make engine`" in error
    assert "runtime" not in machine.device.log


def test_a_missing_file_is_one_line(machine: Machine) -> None:
    assert "cannot be read (No such file or directory); run `make engine`" in start_error(machine, Path("no.engine"))


def test_a_missing_manifest_says_how_to_make_one(machine: Machine) -> None:
    model = machine.write()
    model.with_suffix(".json").unlink()
    assert f"missing; `make model MODEL={model}` writes it" in start_error(machine, model)


def test_what_tensorrt_cannot_load_is_told_in_its_own_words(machine: Machine) -> None:
    model = machine.write(built_for=None)
    machine.tensorrt.refuse["deserialize_cuda_engine"] = "Error Code 1: version tag does not match"
    error = start_error(machine, model)
    assert "cannot load" in error and "(Error Code 1: version tag does not match); run `make engine`" in error


def test_an_engine_without_its_plugin_is_told(machine: Machine) -> None:
    model = machine.write("tensorrtx 6", built_for=None)
    machine.tensorrt.refuse["deserialize_cuda_engine"] = "IPluginCreator not found for YoloLayer_TRT"
    assert "IPluginCreator not found" in start_error(machine, model)


def test_a_plugin_that_cannot_be_loaded_is_named(machine: Machine) -> None:
    machine.libraries.missing.add("libmyplugins.so")
    error = start_error(machine, machine.write("tensorrtx 6", plugin="libmyplugins.so"))
    assert error.startswith(f"FRAMEFLEET_PLUGIN: {machine.folder}/libmyplugins.so cannot be loaded")


def test_a_plugin_is_never_searched_for(machine: Machine) -> None:
    error = start_error(machine, machine.write("tensorrtx 6"), plugin="libc.so.6")
    assert error.startswith("FRAMEFLEET_PLUGIN: libc.so.6 cannot be loaded ([Errno 2]")
    assert machine.device.log == ["load libcuda.so.1"]


def test_a_plugin_that_is_not_the_one_it_came_with_is_never_loaded(machine: Machine) -> None:
    model = machine.write("tensorrtx 6", plugin="mine.so", plugin_sha256=sha256(b"mine.so"))
    machine.engine(model).__enter__().__exit__(None, None, None)
    (machine.folder / "mine.so").write_bytes(b"another library")
    machine.device.log.clear()
    error = start_error(machine, model)
    assert error.startswith(f"FRAMEFLEET_PLUGIN: {machine.folder}/mine.so has sha256 {sha256(b'another library')}")
    assert machine.device.log == ["load libcuda.so.1"]


def test_the_setting_wins_over_the_manifests_plugin(machine: Machine) -> None:
    frames = pictures(1)
    model = machine.write("tensorrtx 6", plugin="mine.so")
    (machine.folder / "mine.so").unlink()
    with machine.engine(model, plugin=machine.library("here/mine.so")) as engine:
        assert_found(engine.infer(frames), frames)


def test_the_header_that_ultralytics_writes_is_passed_over(machine: Machine) -> None:
    text = b'{"description": "Ultralytics YOLO", "names": {"0": "red"}}'
    frames = pictures(2)
    with machine.engine(machine.write("yolov8", header=len(text).to_bytes(4, "little") + text)) as engine:
        assert_found(engine.infer(frames), frames, objectness=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": (64, 64)}, "input 'frames' has shape (8, 32, 48, 3), its manifest says serving frames of 64x64"),
        ({"layout": "yolov5"}, "its manifest says yolov5 frames of 32x48"),
    ],
)
def test_an_engine_that_is_not_what_its_manifest_says_is_refused(
    changes: dict[str, object], words: str, machine: Machine
) -> None:
    assert words in start_error(machine, machine.write(**changes))


def test_the_wrong_number_of_classes_is_refused(machine: Machine) -> None:
    error = start_error(machine, machine.write("yolov5", names=("one", "two")))
    assert f"its outputs (output0 (8, {CELLS}, 8)) are not yolov5 with 2 classes" in error


def test_elements_the_host_cannot_handle_are_refused(machine: Machine) -> None:
    assert "elements of type DataType.BF16" in start_error(machine, machine.write("yolov5", element="bfloat16"))


@pytest.mark.parametrize("limit", [100, 60_000, 85_000], ids=["first slot", "second slot", "activations"])
def test_too_little_memory_is_one_line_and_nothing_is_kept(limit: int, machine: Machine) -> None:
    machine.device.limit = limit
    error = start_error(machine, machine.write())
    assert "out of memory; free memory on it, lower FRAMEFLEET_MAX_BATCH" in error


@pytest.mark.parametrize("call", ["create_execution_context", "set_input_shape"])
def test_an_engine_that_cannot_be_run_is_one_line(call: str, machine: Machine) -> None:
    machine.tensorrt.refuse[call] = "the reason"
    assert "cannot be run on this GPU: TensorRT" in (error := start_error(machine, machine.write()))
    assert "the reason" in error


def test_a_device_that_breaks_while_starting_is_one_line(machine: Machine) -> None:
    machine.device.break_at = 1
    with pytest.raises(StartError, match=r"cannot be run on this GPU: .*illegal memory access"):
        machine.engine(machine.write()).__enter__()
    assert machine.device.log[-1] == "detach"
