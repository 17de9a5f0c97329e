"""From a serving graph to an installed engine; TensorRT-RTX builds, ONNX Runtime answers in the engine's place."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from framefleet.whole_file import sha256_of
from framefleet.wire.errors import ModelError
from framefleet.wire.manifest import read_manifest, write_manifest
from service.engines import Engine, load_engine
from service.engines.trt.cuda_context import Gpu
from service.errors import StartError
from service.models.build.__main__ import BuildOrder, Toolchain, build, local_toolchain, main
from service.models.build.trt import BatchRange
from service.models.convert.fp16 import to_half
from service.models.convert.serving_graph import to_bytes
from service.settings import Settings
from tests.service.models.graphs import NAMES, serving, write_graph, write_quantised
from tests.service.models.manifests import save_model
from tests.service.models.yolo import TINY, build_yolo

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; `make torch` installs it")

import tensorrt_rtx as rtx

pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
OpenEngine = Callable[[Path], Engine]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("graph") / "tiny.onnx")


@pytest.fixture(scope="module")
def half_engine(tmp_path_factory: pytest.TempPathFactory) -> OpenEngine:
    """What the built engine computes, on a CPU: the FP16 graph in ONNX Runtime."""
    path = save_model(tmp_path_factory.mktemp("half") / "half.onnx", to_bytes(to_half(serving(build_yolo(TINY)))))
    return lambda _engine: onnx_runtime(path)


@pytest.fixture
def tools(half_engine: OpenEngine) -> Toolchain:
    return Toolchain(rtx, Gpu("NVIDIA Test 9000 Ti", "9.0"), half_engine)


@pytest.fixture
def order(graph: Path, sample_video: Path, tmp_path: Path) -> BuildOrder:
    return BuildOrder(
        model=graph,
        precision="auto",
        batches=BatchRange(most=4, tuned=4),
        frames=sample_video,
        frame_count=6,
        least=0.9,
        var=tmp_path / "var",
    )


def onnx_runtime(graph: Path) -> Engine:
    return load_engine(Settings(model=str(graph), device="cpu", threads=1, max_batch=4, cache=str(graph.parent)))


def without_builder(tools: Toolchain) -> Toolchain:
    """Tools that cannot build: whatever needs them fails."""
    return replace(tools, trt=SimpleNamespace(__version__=tools.trt.__version__))


def quiet(_line: str) -> None:
    pass


def installed(order: BuildOrder) -> list[str]:
    return sorted(path.name for path in (order.var / "models").glob("*"))


def test_an_engine_and_its_manifest_are_installed(order: BuildOrder, tools: Toolchain) -> None:
    said: list[str] = []
    path = build(order, tools, said.append)
    manifest = read_manifest(path)
    version, graph_sha = rtx.__version__, sha256_of(order.model)
    assert path.name == f"tiny-fp16-b4-nvidia-test-9000-ti-sm90-trt{version}-{str(graph_sha)[:8]}.engine"
    assert (manifest.name, manifest.names, manifest.input, manifest.layout) == ("tiny", NAMES, TINY.size, "serving")
    assert manifest.sha256 == sha256_of(path) and manifest.source_sha256 == graph_sha
    assert manifest.built_for is not None
    assert manifest.built_for.gpu == "NVIDIA Test 9000 Ti" and manifest.built_for.precision == "fp16"
    assert [line.split(" ")[0] for line in said] == ["building", "accuracy:", f"{path}:"]


def test_an_engine_in_place_is_left_alone(order: BuildOrder, tools: Toolchain) -> None:
    path = build(order, tools, quiet)
    before = path.stat()
    said: list[str] = []
    assert build(order, without_builder(tools), said.append) == path
    assert said == [f"{path}: in place"]
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_every_gpu_version_precision_batch_and_graph_has_an_engine_of_its_own(
    order: BuildOrder, tools: Toolchain, tmp_path: Path
) -> None:
    build(order, tools, quiet)
    other_graph = write_graph(tmp_path / "other.onnx", replace(TINY, seed=6))
    for another in (
        (order, replace(tools, gpu=Gpu("NVIDIA Test 9000", "9.0"))),
        (order, replace(tools, gpu=Gpu("NVIDIA Test 9000 Ti", "8.9"))),
        (order, replace(tools, trt=SimpleNamespace(__version__="11.0"))),
        (replace(order, precision="fp32"), tools),
        (replace(order, batches=BatchRange(most=2, tuned=2)), tools),
        (replace(order, model=other_graph), tools),
    ):
        with pytest.raises(AttributeError, match="ILogger"):  # it went on to build
            build(another[0], without_builder(another[1]), quiet)


def test_an_engine_that_is_not_what_its_manifest_says_is_built_again(order: BuildOrder, tools: Toolchain) -> None:
    path = build(order, tools, quiet)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    build(order, tools, quiet)
    assert read_manifest(path).sha256 == sha256_of(path) and path.stat().st_size > 1000
    write_manifest(path, msgspec.structs.replace(read_manifest(path), built_for=None))
    with pytest.raises(AttributeError):
        build(order, without_builder(tools), quiet)


def test_boxes_that_are_not_the_graphs_install_nothing(order: BuildOrder, tools: Toolchain, tmp_path: Path) -> None:
    other = write_graph(tmp_path / "other.onnx", replace(TINY, seed=6))
    wrong = replace(tools, open_engine=lambda _engine: onnx_runtime(other))
    with pytest.raises(ModelError, match=r"\d+ of \d+ boxes agree .* at least 90.0% is needed, nothing was installed"):
        build(order, wrong, quiet)
    assert installed(order) == []


def test_an_engine_that_does_not_run_installs_nothing(order: BuildOrder, tools: Toolchain) -> None:
    def refuse(engine: Path) -> Engine:
        assert read_manifest(engine).sha256 == sha256_of(engine)  # what is judged is what would be installed
        raise StartError("the engine was built for another GPU")

    with pytest.raises(ModelError, match=r"could not be compared \(the engine was built for another GPU\)"):
        build(order, replace(tools, open_engine=refuse), quiet)
    assert installed(order) == []


def test_frames_that_cannot_be_read_are_found_before_anything_is_built(
    order: BuildOrder, tools: Toolchain, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"calibration frames: .*no such file.*; pass --frames"):
        build(replace(order, frames=tmp_path / "no.mp4"), without_builder(tools), quiet)


def test_quantised_graphs_are_int8_and_others_never(order: BuildOrder, tools: Toolchain, tmp_path: Path) -> None:
    graph = write_quantised(tmp_path / "quantised.onnx")
    same = replace(tools, open_engine=lambda _engine: onnx_runtime(graph))
    path = build(replace(order, model=graph), same, quiet)
    assert path.name.startswith("tiny-int8-b4-")
    with pytest.raises(ModelError, match="--precision fp16: the graph is quantised; use --precision int8"):
        build(replace(order, model=graph, precision="fp16"), tools, quiet)
    with pytest.raises(ModelError, match="--precision int8: the graph has no quantisation nodes"):
        build(replace(order, precision="int8"), tools, quiet)


def test_a_half_graph_is_not_called_full(order: BuildOrder, tools: Toolchain, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "half.onnx", replace(TINY, half=True))
    with pytest.raises(ModelError, match="--precision fp32: the graph is FP16 already"):
        build(replace(order, model=graph, precision="fp32"), tools, quiet)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        (b"\xff\xff garbage", "is no ONNX model; `make model"),
        (build_yolo(TINY).SerializeToString(), r"is no serving graph; `make model MODEL=\S+` makes one"),
    ],
    ids=["missing", "garbage", "plain export"],
)
def test_what_is_no_serving_graph_is_refused(
    order: BuildOrder, tools: Toolchain, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "given.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        build(replace(order, model=path), tools, quiet)


def test_the_command_builds_and_says_how_to_serve(
    graph: Path, sample_video: Path, tools: Toolchain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(graph), "--var", str(tmp_path), "--frames", str(sample_video), "--agreement", "0.9"]
    assert main(arguments, lambda: tools) == 0
    shown = capsys.readouterr()
    (engine,) = (tmp_path / "models").glob("*.engine")
    assert shown.out.splitlines()[-1] == f"serve it: make up MODEL={engine}"
    assert "boxes agree with ONNX Runtime" in shown.out


def test_the_command_fails_with_one_line(
    graph: Path, tools: Toolchain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(graph), "--var", str(tmp_path), "--precision", "int8"], lambda: tools) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has an NVIDIA driver")
def test_without_a_gpu_the_command_says_so_before_anything_is_built(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(graph), "--var", str(tmp_path)], local_toolchain) == 1
    error = capsys.readouterr().err
    assert error.startswith("engine: GPU: no NVIDIA driver on this machine") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [["--max-batch", "0"], ["--agreement", "2"], ["--tuned-batch", "9"]])
def test_options_out_of_range_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["model.onnx", *wrong])
