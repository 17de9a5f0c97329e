import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from framefleet.whole_file import sha256
from service.engines.ort.cache import CachedGraph, cached_graph, processor_name
from service.engines.ort.engine import OrtEngine
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from tests.service.models.manifests import save_model
from tests.service.models.yolo import TINY, Array, build_yolo

FRAMES = np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    served = to_serving_graph(
        build_yolo(TINY), name="tiny", input_size=(64, 96), names=list("abcd"), scale=1 / 255, source_sha256=""
    )
    return save_model(tmp_path_factory.mktemp("models") / "tiny.onnx", to_bytes(served))


def start(model: Path, cache: Path, version: str = onnxruntime.__version__) -> tuple[list[Path], Array]:
    """Opens an engine; gives the files it loaded, in order, and its answer."""
    loaded: list[Path] = []

    def create(path: Path, options: Any, **rest: Any) -> Any:
        session = onnxruntime.InferenceSession(path, options, **rest)
        loaded.append(path)
        return session

    names = ("SessionOptions", "GraphOptimizationLevel", "get_available_providers")
    kept = {name: getattr(onnxruntime, name) for name in names}
    runtime = SimpleNamespace(InferenceSession=create, __version__=version, **kept)
    with OrtEngine(str(model), device="cpu", cache=cache, threads=1, max_batch=0, runtime=runtime) as engine:
        return loaded, engine.infer(FRAMES)


def graphs(cache: Path) -> list[Path]:
    return sorted((cache / "graphs").glob("*.onnx"))


def test_second_start_loads_the_optimised_graph_and_answers_the_same(model: Path, tmp_path: Path) -> None:
    first, answer = start(model, tmp_path)
    second, again = start(model, tmp_path)

    assert first == [model]
    assert second == graphs(tmp_path)
    np.testing.assert_array_equal(answer, again)


def test_nothing_but_graph_and_seal_is_left(model: Path, tmp_path: Path) -> None:
    start(model, tmp_path)

    (graph,) = graphs(tmp_path)
    assert sorted(os.listdir(graph.parent)) == sorted([graph.name, graph.with_suffix(".seal").name])


def _cut(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[:-100])


def _one_bit(graph: Path) -> None:
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def _sealed_garbage(graph: Path) -> None:
    graph.write_bytes(b"garbage")
    graph.with_suffix(".seal").write_text(sha256(b"garbage"))


def _no_seal(graph: Path) -> None:
    graph.with_suffix(".seal").unlink()


@pytest.mark.parametrize("damage", [_cut, _one_bit, _sealed_garbage, _no_seal])
def test_damaged_graph_is_made_again(model: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    _, answer = start(model, tmp_path)
    damage(graphs(tmp_path)[0])

    loaded, again = start(model, tmp_path)

    assert loaded == [model]
    np.testing.assert_array_equal(answer, again)
    assert start(model, tmp_path)[0] == graphs(tmp_path)


def test_cache_that_cannot_be_written_keeps_nothing_from_starting(model: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder would be")

    loaded, answer = start(model, blocked)

    assert loaded == [model]
    assert answer.shape == (1, 300, 6)


def test_other_version_of_the_runtime_makes_its_own_graph_in_the_old_ones_place(model: Path, tmp_path: Path) -> None:
    start(model, tmp_path)
    old = graphs(tmp_path)

    loaded, _ = start(model, tmp_path, version="0.0.1")

    assert loaded == [model]
    assert len(graphs(tmp_path)) == 1
    assert graphs(tmp_path) != old


def test_models_do_not_drop_one_anothers_graphs(model: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "tiny-2.onnx", model.read_bytes())

    start(model, tmp_path)
    start(other, tmp_path)
    start(model, tmp_path)

    assert len(graphs(tmp_path)) == 2


@pytest.mark.parametrize("changed", ["digest", "version", "processor"])
def test_name_changes_with_model_version_and_processor(tmp_path: Path, changed: str) -> None:
    given = {"digest": "a", "version": "b", "processor": "c"}

    def place(values: dict[str, str]) -> CachedGraph:
        return cached_graph(tmp_path, Path("x.onnx"), values["digest"], values["version"], values["processor"])

    assert place(given) == place(dict(given))
    assert place(given) != place({**given, changed: "other"})


def test_processor_is_named_by_its_instruction_sets(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    names = []
    for text in ("cpu MHz : 1\nflags : avx2\n", "cpu MHz : 2\nflags : avx2\n", "flags : avx2 avx512f\n"):
        info.write_text(text)
        names.append(processor_name(info))

    assert names[0] == names[1] != names[2]
    assert processor_name(tmp_path / "none") not in names


def test_optimised_graph_that_cannot_be_written_keeps_nothing_from_starting(model: Path, tmp_path: Path) -> None:
    def full(path: Path, options: Any, **rest: Any) -> Any:
        if options.optimized_model_filepath:
            raise RuntimeError("No space left on device")
        return onnxruntime.InferenceSession(path, options, **rest)

    names = ("SessionOptions", "GraphOptimizationLevel", "get_available_providers", "__version__")
    runtime = SimpleNamespace(InferenceSession=full, **{name: getattr(onnxruntime, name) for name in names})
    with OrtEngine(str(model), device="cpu", cache=tmp_path, threads=1, max_batch=0, runtime=runtime) as engine:
        assert engine.infer(FRAMES).shape == (1, 300, 6)

    assert list((tmp_path / "graphs").iterdir()) == []
