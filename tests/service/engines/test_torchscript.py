"""The torch engine on the CPU: what it answers, and what it refuses to start with."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed; `make torch` installs it")

import torch

from framefleet.wire.manifest import manifest_path, read_manifest, write_manifest
from service.__main__ import start_problems
from service.engines import Engine, load_engine, warm_up
from service.engines.torch.engine import TorchEngine
from service.errors import InferenceFailed, StartError
from service.models.build.gate import compare
from service.settings import Settings
from tests.service.engines.torch_models import describe, pictures, save
from tests.service.engines.torch_pair import save_pair

SIZE = (64, 96)
FIRST_THREAD_COUNT = torch.get_num_threads()


class Rows(torch.nn.Module):
    """Answers rows that tell the colours of the picture's first pixel apart."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red, green, blue = (images[:, channel, 0, 0] for channel in range(3))
        one = torch.ones_like(red)
        return torch.stack((red * 255, green * 255, one * 8, one * 4, one, blue, blue * 0, one * 0.1, blue * 0), 1)[
            :, None
        ]


class OneFrame(torch.nn.Module):
    """A trace of this is fixed at one frame."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :6, :].reshape(1, -1, 9)


class Writes(torch.nn.Module):
    """Writes a file where it runs: what stands in a TorchScript file is a program."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + torch.from_file(self.target, True, 1)


class Maps(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return save(tmp_path / "rows.torchscript", Rows(), SIZE)


def opened(path: Path, **changes: object) -> TorchEngine:
    wishes = {"device": "cpu", "precision": "auto", "threads": FIRST_THREAD_COUNT, "max_batch": 0, **changes}
    return TorchEngine(str(path), **wishes)  # type: ignore[arg-type]


def reference_engine(graph: Path) -> Engine:
    return load_engine(Settings(model=str(graph), device="cpu", threads=1, max_batch=3, cache=str(graph.parent)))


def test_candidates_equal_onnx_runtimes(pair: tuple[Path, Path]) -> None:
    frames = pictures(3, SIZE)
    with opened(pair[0], max_batch=3) as engine, reference_engine(pair[1]) as reference:
        warm_up(engine)
        found, expected = engine.infer(frames), reference.infer(frames)
    assert found.shape == expected.shape == (3, 300, 6) and found.dtype == np.float32
    np.testing.assert_allclose(found[..., 4], expected[..., 4], rtol=0, atol=1e-4)
    agreement = compare(expected, found)
    assert agreement.matched == agreement.boxes > 10
    assert agreement.worst_shift_px < 0.1 and agreement.worst_score < 1e-3


def test_half_precision_agrees_with_full(pair: tuple[Path, Path]) -> None:
    frames = pictures(3, SIZE)
    with opened(pair[0], precision="fp16") as half, opened(pair[0]) as full:
        assert (half.info.precision, full.info.precision) == ("fp16", "fp32")
        agreement = compare(
            [full.infer(frame[None])[0] for frame in frames], [half.infer(frame[None])[0] for frame in frames]
        )
    assert agreement.share > 0.9, agreement


def test_frames_are_given_as_rgb_scaled_by_the_manifest(rows: Path) -> None:
    frame = np.zeros((1, *SIZE, 3), np.uint8)
    frame[0, 0, 0] = (51, 40, 30)  # blue, green, red
    with opened(rows) as engine:
        (candidates,) = engine.infer(frame)
    np.testing.assert_allclose(candidates, [[26, 38, 34, 42, 0.2, 0]], rtol=0, atol=1e-4)


def test_answers_outlive_the_next_inference(rows: Path) -> None:
    with opened(rows) as engine:
        first = engine.infer(np.full((1, *SIZE, 3), 200, np.uint8))
        before = first.copy()
        engine.infer(np.zeros((1, *SIZE, 3), np.uint8))
    np.testing.assert_array_equal(first, before)


def test_read_only_frames_are_taken(rows: Path) -> None:
    frames = np.zeros((1, *SIZE, 3), np.uint8)
    frames.flags.writeable = False
    with opened(rows) as engine:
        assert len(engine.infer(frames)) == 1


def test_an_export_with_a_fixed_batch_is_always_given_that_many(tmp_path: Path) -> None:
    path = save(tmp_path / "four.torchscript", Rows(), SIZE, batch=4)
    frames = pictures(3, SIZE)
    with opened(path) as engine, opened(path, max_batch=2) as smaller:
        assert (engine.info.max_batch, smaller.info.max_batch) == (4, 2)
        together, single = engine.infer(frames), smaller.infer(frames[2:])
    assert together.shape == (3, 1, 6)
    np.testing.assert_array_equal(together[2:], single)


def test_a_trace_that_hides_its_fixed_batch_is_served_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "one.torchscript", OneFrame(), SIZE)
    monkeypatch.setattr("service.engines.torch.engine.PREFERRED_BATCH", {"cpu": 4})
    with opened(path) as engine:
        assert engine.info.max_batch == 1
        assert engine.info.note.endswith("the export takes one frame at a time")
        assert len(engine.infer(pictures(1, SIZE))) == 1
    with (
        pytest.raises(StartError, match=r"1 answers to 4 frames.* lower FRAMEFLEET_MAX_BATCH"),
        opened(path, max_batch=4),
    ):
        pass


def test_a_refused_batch_leaves_the_engine_usable(pair: tuple[Path, Path]) -> None:
    with opened(pair[0]) as engine:
        with pytest.raises(InferenceFailed):
            engine.infer(np.zeros((1, 32, 32, 3), np.uint8))
        assert len(engine.infer(pictures(1, SIZE))) == 1


def test_threads_bound_torchs_own(rows: Path) -> None:
    try:
        with opened(rows, threads=1):
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(FIRST_THREAD_COUNT)


def test_it_says_what_runs_where(rows: Path) -> None:
    with opened(rows) as engine:
        info = engine.info
    assert (info.kind, info.model, info.device, info.input_size) == ("torchscript", "rows", "cpu", SIZE)
    assert info.note == f"torch {torch.__version__}, NMS on the host"


def _no_file(path: Path) -> None:
    path.unlink()


def _no_manifest(path: Path) -> None:
    manifest_path(path).unlink()


def _another_file(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _garbage(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")
    describe(path, SIZE)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])
    describe(path, SIZE)


def _other_layout(path: Path) -> None:
    describe(path, SIZE, layout="serving")


def _other_classes(path: Path) -> None:
    write_manifest(path, msgspec.structs.replace(read_manifest(path), names=("one", "two")))


def _only_maps(path: Path) -> None:
    save(path, Maps(), SIZE)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_file, "does not exist; `make setup`"),
        (_no_manifest, "rows.json: missing; `make model"),
        (_another_file, "truncated, damaged or was replaced; run `make setup`"),
        (_garbage, r"does not run in torch .*; export it again"),
        (_truncated, r"does not run in torch .*; export it again"),
        (_other_layout, "has layout 'serving'; torch serves yolov5 and yolov8"),
        (_other_classes, r"9 columns; layout yolov5 has 7 for 2 classes\); "),
        (_only_maps, r"no tensor of three axes; export it with the detection head"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_it_cannot_serve_is_one_line_with_the_fix(
    rows: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(rows)
    with pytest.raises(StartError, match=message) as caught, opened(rows):
        pass
    assert "\n" not in str(caught.value)


def test_a_device_that_was_asked_for_is_never_replaced(rows: Path) -> None:
    with (
        pytest.raises(StartError, match="torch has no device 'tensorrt'; use auto, cpu or cuda"),
        opened(rows, device="tensorrt"),
    ):
        pass
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(StartError, match="finds no CUDA device"), opened(rows, device="cuda"):
        pass
    with opened(rows, device="auto") as engine:
        assert engine.info.device == "cpu"


def test_without_torch_the_start_says_how_to_get_it(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(StartError, match="run `make torch`"), opened(rows):
        pass


@pytest.mark.parametrize("whose", ["file", "folder", "folder of a link's target"])
def test_an_export_that_others_may_write_runs_nowhere(whose: str, tmp_path: Path) -> None:
    """The first half shows why: it does what it likes at its first inference."""
    (tmp_path / "models").mkdir()
    written, path = tmp_path / "written", tmp_path / "models" / "writes.torchscript"
    save(path, Writes(str(written)), SIZE)
    written.unlink()
    if whose.endswith("target"):
        path = path.rename(tmp_path / "elsewhere.torchscript")
        path.parent.joinpath("models/writes.torchscript").symlink_to(path)
        path = tmp_path / "models" / "writes.torchscript"
    {"file": path, "folder": path.parent}.get(whose, tmp_path).chmod(0o777)
    trusting = Settings(model=str(path), device="cpu", trust_any_path=1)
    with pytest.raises(StartError, match="does not run in torch"):  # what it answers is nothing
        load_engine(trusting).__enter__()
    assert written.exists()
    written.unlink()

    with pytest.raises(StartError, match=r"runs as code, but .* may be written by others"):
        load_engine(Settings(model=str(path), device="cpu")).__enter__()
    assert not written.exists()
    environ = {"FRAMEFLEET_MODEL": str(path), "FRAMEFLEET_DEVICE": "cpu"}
    (problem,) = start_problems(environ, "files")
    assert problem.startswith(f"FRAMEFLEET_MODEL: {path.resolve()} runs as code, but ")
    assert start_problems(environ | {"FRAMEFLEET_TRUST_ANY_PATH": "1"}, "files") == ()
