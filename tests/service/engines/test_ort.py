import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest

from framefleet.wire.manifest import manifest_path, read_manifest, write_manifest
from service.engines import EngineInfo, warm_up
from service.engines.ort.engine import OrtEngine
from service.engines.trusted import code_owners
from service.errors import EngineFault, InferenceFailed, OutOfMemory, StartError
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from tests.service.models.manifests import save_model
from tests.service.models.yolo import TINY, Array, YoloSpec, build_yolo

SIZE = (64, 96)
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


def serving_graph(path: Path, spec: YoloSpec = TINY) -> Path:
    names = [f"class_{index}" for index in range(spec.classes)]
    served = to_serving_graph(
        build_yolo(spec), name="tiny", input_size=SIZE, names=names, scale=1 / 255, source_sha256="5" * 64
    )
    return save_model(path, to_bytes(served), SIZE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_graph(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_graph(tmp_path_factory.mktemp("models") / "static.onnx", replace(TINY, batch=2))


def engine(model: Path, cache: Path, **changes: Any) -> OrtEngine:
    options: dict[str, Any] = {"device": "auto", "threads": 1, "max_batch": 0, "cache": cache}
    return OrtEngine(str(model), **{**options, **changes})


def frames(count: int) -> Array:
    return np.random.default_rng(3).integers(0, 256, (count, *SIZE, 3), np.uint8)


def test_info_says_what_runs_where(model: Path, tmp_path: Path) -> None:
    with engine(model, tmp_path) as opened:
        assert opened.info == EngineInfo(
            kind="onnxruntime",
            model="tiny",
            device="cpu",
            input_size=SIZE,
            max_batch=1,
            classes=("class_0", "class_1", "class_2", "class_3"),
            precision="fp32",
        )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_free_batch_answers_each_frame_as_if_alone(model: Path, tmp_path: Path, size: int) -> None:
    with engine(model, tmp_path, max_batch=5) as opened:
        together = opened.infer(frames(size))
        alone = np.concatenate([opened.infer(frame[None]) for frame in frames(size)])

    assert opened.info.max_batch == 5
    np.testing.assert_allclose(together[..., 4], alone[..., 4], atol=1e-5)
    np.testing.assert_allclose(together[:, 0], alone[:, 0], atol=1e-2)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_fixed_batch_takes_any_number_of_frames(model: Path, static_model: Path, tmp_path: Path, size: int) -> None:
    with engine(model, tmp_path) as free, engine(static_model, tmp_path, max_batch=3) as fixed:
        warm_up(fixed)
        found, expected = fixed.infer(frames(size)), free.infer(frames(size))

    assert found.shape == expected.shape
    np.testing.assert_allclose(found[..., 4], expected[..., 4], atol=1e-5)


def test_fixed_batch_is_the_default_batch_and_noted(static_model: Path, tmp_path: Path) -> None:
    with engine(static_model, tmp_path) as opened:
        assert opened.info.max_batch == 2
        assert opened.info.note == "the export fixes batches of 2: smaller ones are padded"


def test_answer_is_the_callers_own_memory(model: Path, tmp_path: Path) -> None:
    with engine(model, tmp_path) as opened:
        first = opened.infer(frames(1))
        kept = first.copy()
        opened.infer(frames(2)[1:])

    np.testing.assert_array_equal(first, kept)


def test_frames_of_another_size_fail_and_the_engine_goes_on(model: Path, tmp_path: Path) -> None:
    with engine(model, tmp_path) as opened:
        with pytest.raises(InferenceFailed, match=r"ONNX Runtime: .*Got invalid dimensions"):
            opened.infer(np.zeros((1, 32, 32, 3), np.uint8))

        assert opened.infer(frames(1)).shape == (1, 300, 6)


class TestDevice:
    """A stand-in build of ONNX Runtime offers CUDA; its sessions are real ones on the CPU."""

    def runtime(self, offered: list[str], session: Any) -> SimpleNamespace:
        names = ("SessionOptions", "GraphOptimizationLevel", "__version__")
        return SimpleNamespace(
            get_available_providers=lambda: offered,
            InferenceSession=session,
            **{name: getattr(onnxruntime, name) for name in names},
        )

    def quietly_on_cpu(self, path: Path, options: Any, **_: Any) -> Any:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def refuses_cuda(self, path: Path, options: Any, *, providers: Any, **_: Any) -> Any:
        if providers[0][0] == CUDA:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected\nmore")
        return self.quietly_on_cpu(path, options)

    @pytest.mark.parametrize("device", ["cuda", "tensorrt"])
    def test_device_that_this_build_lacks_is_refused_with_the_fix(
        self, model: Path, tmp_path: Path, device: str
    ) -> None:
        with (
            pytest.raises(StartError, match=f"FRAMEFLEET_DEVICE: {device}: .*install onnxruntime-gpu"),
            engine(model, tmp_path, device=device),
        ):
            pass

    @pytest.mark.parametrize("session", ["quietly_on_cpu", "refuses_cuda"])
    def test_explicit_device_is_never_replaced(self, model: Path, tmp_path: Path, session: str) -> None:
        runtime = self.runtime([CUDA, "CPUExecutionProvider"], getattr(self, session))

        with (
            pytest.raises(StartError, match=r"FRAMEFLEET_DEVICE: cuda: .*or set FRAMEFLEET_DEVICE=cpu") as raised,
            engine(model, tmp_path, device="cuda", runtime=runtime),
        ):
            pass

        assert "\n" not in str(raised.value)

    def test_auto_goes_to_the_cpu_where_cuda_does_not_work_and_says_why(self, model: Path, tmp_path: Path) -> None:
        runtime = self.runtime([CUDA, "CPUExecutionProvider"], self.refuses_cuda)

        with engine(model, tmp_path, runtime=runtime) as opened:
            assert opened.info.device == "cpu"
            assert opened.info.note == "not on cuda: CUDA failure 100: no CUDA-capable device is detected"
            assert opened.infer(frames(1)).shape == (1, 300, 6)

    def test_auto_takes_cuda_where_it_works_and_larger_batches_with_it(self, model: Path, tmp_path: Path) -> None:
        def on_cuda(path: Path, options: Any, **_: Any) -> Any:
            session = self.quietly_on_cpu(path, options)
            session.get_providers = lambda: [CUDA, "CPUExecutionProvider"]
            return session

        with engine(model, tmp_path, runtime=self.runtime([CUDA], on_cuda)) as opened:
            assert (opened.info.device, opened.info.max_batch) == ("cuda", 8)

    def test_fall_back_inside_onnx_runtime_is_off(self, model: Path, tmp_path: Path) -> None:
        given: list[Any] = []

        def record(path: Path, options: Any, **rest: Any) -> Any:
            given.append(rest["enable_fallback"])
            return self.quietly_on_cpu(path, options)

        with engine(model, tmp_path, runtime=self.runtime(["CPUExecutionProvider"], record)):
            assert given == [0]

    def test_tensorrt_is_given_the_range_of_batches_from_the_manifest(self, tmp_path: Path) -> None:
        model = serving_graph(tmp_path / "tiny.onnx")
        given: list[Any] = []

        def record(path: Path, options: Any, *, providers: Any, **_: Any) -> Any:
            given.append(providers[0])
            return self.quietly_on_cpu(path, options)

        runtime = self.runtime([TENSORRT, CUDA], record)
        with (
            pytest.raises(StartError, match=rf"tensorrt: ONNX Runtime left {TENSORRT} out"),
            engine(model, tmp_path, device="tensorrt", max_batch=4, runtime=runtime),
        ):
            pass

        assert given[0][0] == TENSORRT
        assert given[0][1]["trt_profile_max_shapes"] == "frames:4x64x96x3"

    def test_tensorrt_finds_its_engines_only_where_nobody_else_could_have_put_them(self, tmp_path: Path) -> None:
        model, opened = serving_graph(tmp_path / "tiny.onnx"), list[Path]()

        def record(path: Path, options: Any, **_: Any) -> Any:
            opened.append(path)
            return self.quietly_on_cpu(path, options)

        runtime = self.runtime([TENSORRT, CUDA], record)
        cache = tmp_path / "cache"
        cache.mkdir()
        cache.chmod(0o777)
        shared = engine(model, cache, device="tensorrt", runtime=runtime, owners=code_owners())
        with pytest.raises(StartError, match=r"FRAMEFLEET_CACHE: .* runs as code, but .* may be written by others"):
            shared.__enter__()
        assert opened == []
        cache.chmod(0o755)
        with pytest.raises(StartError, match="FRAMEFLEET_DEVICE: tensorrt"):  # there is none here
            shared.__enter__()
        assert opened != []

    def test_threads_are_bounded_and_never_spin(self, model: Path, tmp_path: Path) -> None:
        given: list[Any] = []

        def record(path: Path, options: Any, **_: Any) -> Any:
            spinning = options.get_session_config_entry("session.intra_op.allow_spinning")
            given.append((options.intra_op_num_threads, spinning))
            return self.quietly_on_cpu(path, options)

        with engine(model, tmp_path, threads=3, runtime=self.runtime(["CPUExecutionProvider"], record)):
            assert given == [(3, "0")]

    @pytest.mark.parametrize(
        ("device", "message", "kind"),
        [
            ("cuda", "CUDA failure 2: out of memory ; GPU=0", OutOfMemory),
            ("cuda", "BFCArena: Failed to allocate memory for requested buffer of size 1", OutOfMemory),
            ("cpu", "Failed to allocate memory for requested buffer of size 1", OutOfMemory),
            ("cuda", "CUDA failure 700: an illegal memory access was encountered", EngineFault),
            ("cuda", "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED", EngineFault),
            ("cuda", "INVALID_ARGUMENT : Got invalid dimensions", InferenceFailed),
            ("cpu", "INVALID_ARGUMENT : Got invalid dimensions", InferenceFailed),
        ],
    )
    def test_errors_are_told_apart(
        self, model: Path, tmp_path: Path, device: str, message: str, kind: type[Exception]
    ) -> None:
        class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # onnxruntime has no types
            def get_providers(self) -> list[str]:
                return [CUDA, "CPUExecutionProvider"]

            def run(self, *_: Any) -> Any:
                raise RuntimeError(message)

        def make(path: Path, options: Any, **_: Any) -> Any:
            return Session(path, options, providers=["CPUExecutionProvider"])

        runtime = self.runtime([CUDA, "CPUExecutionProvider"], make)
        with engine(model, tmp_path, device=device, runtime=runtime) as opened, pytest.raises(kind) as raised:
            opened.infer(frames(1))

        assert type(raised.value) is kind


class TestModelFile:
    def refusal(self, model: Path, cache: Path) -> str:
        with pytest.raises(StartError) as raised, engine(model, cache):
            pass
        assert "\n" not in str(raised.value)
        return str(raised.value)

    def test_file_that_its_manifest_describes_is_loaded(self, tmp_path: Path) -> None:
        with engine(serving_graph(tmp_path / "tiny.onnx"), tmp_path) as opened:
            assert opened.info.model == "tiny"

    def test_file_that_is_not_what_its_manifest_describes_is_refused(self, tmp_path: Path) -> None:
        model = serving_graph(tmp_path / "tiny.onnx")
        write_manifest(model, msgspec.structs.replace(read_manifest(model), sha256="0" * 64))

        assert "its manifest says 000" in self.refusal(model, tmp_path)

    def test_manifest_that_is_none_is_refused(self, tmp_path: Path) -> None:
        model = serving_graph(tmp_path / "tiny.onnx")
        manifest_path(model).write_text(json.dumps({"name": "tiny"}))

        assert "tiny.json: is no manifest" in self.refusal(model, tmp_path)

    def test_file_without_a_manifest_is_refused(self, tmp_path: Path) -> None:
        model = serving_graph(tmp_path / "tiny.onnx")
        manifest_path(model).unlink()

        assert "tiny.json: missing; `make model" in self.refusal(model, tmp_path)

    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        assert "no.onnx does not exist; `make setup`" in self.refusal(tmp_path / "no.onnx", tmp_path)

    @pytest.mark.parametrize("data", [b"", b"garbage" * 99], ids=["empty", "garbage"])
    def test_what_is_no_model_is_refused(self, tmp_path: Path, data: bytes) -> None:
        model = save_model(tmp_path / "tiny.onnx", data)

        assert "is no model ONNX Runtime can load" in self.refusal(model, tmp_path)

    def test_plain_export_is_refused_with_the_command_that_wraps_it(self, tmp_path: Path) -> None:
        plain = build_yolo(dataclasses.replace(TINY, classes=1))
        save_model(tmp_path / "plain.onnx", plain.SerializeToString())

        assert f"`make model MODEL={tmp_path}/plain.onnx`" in self.refusal(tmp_path / "plain.onnx", tmp_path)
