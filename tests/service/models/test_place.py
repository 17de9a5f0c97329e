from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest

from framefleet.whole_file import sha256, sha256_of
from framefleet.wire.manifest import Manifest, read_manifest
from service.models.__main__ import main
from tests.service.models.files import ENGINE, LIBRARY, checkpoint, engine_with_header, torchscript
from tests.service.models.web import Site, site
from tests.service.models.yolo import TINY, build_yolo

NAMES = {0: "T01", 1: "T02_1", 2: "T02_2", 3: "T26"}
EXPORT = replace(TINY, metadata={"stride": 32, "names": NAMES})
ULTRALYTICS = {"task": "detect", "imgsz": [640, 640], "batch": 1, "names": {"0": "T01", "1": "T26"}}

Make = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def export() -> bytes:
    return build_yolo(EXPORT).SerializeToString()


@pytest.fixture
def make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Make:
    """Runs `python -m service.models` on a file with this content; gives exit code, stdout and stderr."""

    def run(content: bytes, *options: str, name: str = "best.onnx") -> tuple[int, str, str]:
        path = tmp_path / name
        path.write_bytes(content)
        code = main([str(path), "--var", str(tmp_path / "var"), *options])
        return code, *capsys.readouterr()

    return run


def models(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "var").rglob("*") if path.is_file())


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def test_export_is_explained_written_with_its_manifest_and_the_line_to_serve_it(
    make: Make, tmp_path: Path, export: bytes
) -> None:
    code, out, err = make(export)

    model = tmp_path / "var/models/best.onnx"
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "  ONNX, opset 17, fp32",
        "  layout  yolov5, [n, 378, 9]: box, objectness, 4 class scores",
        "  input   64x96 (height x width)",
        "  classes 4: T01, T02_1, T02_2, T26",
        "  batch   any",
        f"serve it: make up MODEL={model}",
    ]
    manifest = read_manifest(model)
    assert manifest == Manifest(
        name="best",
        sha256=sha256_of(model) or "",
        source=str(tmp_path / "best.onnx"),
        source_sha256=sha256(export),
        layout="serving",
        input=(64, 96),
        names=("T01", "T02_1", "T02_2", "T26"),
        builder=manifest.builder,
    )
    assert models(tmp_path) == ["best.json", "best.onnx"]


def test_second_run_changes_nothing(make: Make, tmp_path: Path, export: bytes) -> None:
    make(export)
    before = snapshot(tmp_path / "var")

    code, out, _ = make(export)

    model = tmp_path / "var/models/best.onnx"
    assert (code, out) == (0, f"{model}: in place\nserve it: make up MODEL={model}\n")
    assert snapshot(tmp_path / "var") == before


@pytest.mark.parametrize("damage", ["best.onnx", "best.json"])
def test_what_an_earlier_run_wrote_is_written_again_when_damaged(
    make: Make, tmp_path: Path, export: bytes, damage: str
) -> None:
    make(export)
    path = tmp_path / "var/models" / damage
    good = path.read_bytes()
    path.write_bytes(good[:-10])

    assert make(export)[0] == 0
    assert path.read_bytes() == good


def test_other_content_or_other_wishes_are_built_anew(make: Make, tmp_path: Path, export: bytes) -> None:
    make(export)
    make(export, "--names", "a,b,c,d")
    assert read_manifest(tmp_path / "var/models/best.onnx").names == ("a", "b", "c", "d")

    make(build_yolo(replace(EXPORT, seed=6)).SerializeToString())
    assert read_manifest(tmp_path / "var/models/best.onnx").names == tuple(NAMES.values())


def test_names_come_from_a_file_too(make: Make, tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("one\ntwo\n\nthree\nfour\n")

    make(build_yolo(TINY).SerializeToString(), "--names", str(listed))

    assert read_manifest(tmp_path / "var/models/best.onnx").names == ("one", "two", "three", "four")


def test_unnamed_classes_are_numbered_and_the_way_to_name_them_said(make: Make) -> None:
    _, out, _ = make(build_yolo(TINY).SerializeToString())

    assert "classes 4: class_0, class_1, class_2, class_3; not named by the file: give NAMES=" in out


def test_fixed_batch_is_freed_and_said(make: Make, tmp_path: Path) -> None:
    _, out, _ = make(build_yolo(replace(EXPORT, batch=2)).SerializeToString())

    assert "batch   any; the export fixed 2, which was freed" in out
    assert read_manifest(tmp_path / "var/models/best.onnx").batch is None
    session = onnxruntime.InferenceSession(tmp_path / "var/models/best.onnx")
    assert session.get_inputs()[0].shape == ["n", 64, 96, 3]


def test_batch_that_cannot_be_freed_is_kept_and_said(make: Make, tmp_path: Path) -> None:
    network = build_yolo(replace(EXPORT, batch=2))
    last = network.graph.node[-1]
    last.output[0] = "own"
    network.graph.node.append(onnx.helper.make_node("ReduceMean", ["own"], ["mean"], axes=[0], keepdims=1))
    network.graph.node.append(onnx.helper.make_node("Max", ["own", "mean"], ["output0"]))

    _, out, _ = make(network.SerializeToString())

    assert "batch   2, fixed by the export and not to be freed: it is served 2 at a time" in out
    assert read_manifest(tmp_path / "var/models/best.onnx").batch == 2


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("96x64", (96, 64))])
def test_free_input_size_is_given(make: Make, tmp_path: Path, text: str, size: tuple[int, int]) -> None:
    content = build_yolo(replace(EXPORT, size=None)).SerializeToString()

    assert make(content, "--size", text)[0] == 0

    assert read_manifest(tmp_path / "var/models/best.onnx").input == size


def test_free_input_size_is_taken_from_the_export_where_it_is_named(make: Make, tmp_path: Path) -> None:
    metadata = {**EXPORT.metadata, "task": "detect", "imgsz": [64, 96]}
    make(build_yolo(replace(EXPORT, layout="yolov8", size=None, metadata=metadata)).SerializeToString())

    assert read_manifest(tmp_path / "var/models/best.onnx").input == (64, 96)


def test_torchscript_is_kept_as_it_is_with_what_its_config_says(make: Make, tmp_path: Path) -> None:
    content = torchscript({"shape": [1, 3, 384, 640], "stride": 32, "names": {"0": "T01", "1": "T26"}})

    code, out, _ = make(content, name="best.torchscript")

    model = tmp_path / "var/models/best.torchscript"
    manifest = read_manifest(model)
    assert code == 0
    assert f"serve it: make up MODEL={model}" in out
    assert model.read_bytes() == content
    assert (manifest.layout, manifest.input, manifest.names) == ("yolov5", (384, 640), ("T01", "T26"))


def test_ultralytics_engine_is_described_by_its_header(make: Make, tmp_path: Path) -> None:
    make(engine_with_header(ULTRALYTICS), name="best.engine")

    manifest = read_manifest(tmp_path / "var/models/best.engine")
    assert (manifest.layout, manifest.input, manifest.names) == ("yolov8", (640, 640), ("T01", "T26"))


def test_tensorrtx_engine_comes_with_its_plugin(make: Make, tmp_path: Path) -> None:
    plugin = tmp_path / "libmyplugins.so"
    plugin.write_bytes(LIBRARY)

    code, _, err = make(
        ENGINE + b"YoloLayer_TRT", "--plugin", str(plugin), "--names", "a,b", "--size", "640", name="best.engine"
    )

    manifest = read_manifest(tmp_path / "var/models/best.engine")
    assert (code, err) == (0, "")
    assert (manifest.layout, manifest.plugin) == ("tensorrtx", str(tmp_path / "var/models/best.so"))
    assert Path(manifest.plugin).read_bytes() == LIBRARY
    assert manifest.plugin_sha256 == sha256(LIBRARY)


def test_engine_among_the_models_gets_its_manifest_in_place(tmp_path: Path) -> None:
    path = tmp_path / "models/best.engine"
    path.parent.mkdir()
    path.write_bytes(ENGINE)

    options = ["--names", "a", "--size", "640", "--layout", "yolov5"]
    assert main([str(path), "--var", str(tmp_path), *options]) == 0

    assert read_manifest(path).sha256 == sha256(ENGINE)


def test_source_is_never_overwritten(tmp_path: Path, export: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models/best.onnx"
    path.parent.mkdir()
    path.write_bytes(export)

    assert main([str(path), "--var", str(tmp_path)]) == 1

    assert "is the source itself, and would be overwritten; give another --name" in capsys.readouterr().err
    assert path.read_bytes() == export
    assert main([str(path), "--var", str(tmp_path), "--name", "served"]) == 0


def _without_rows(content: bytes) -> bytes:
    """As a classification model: one output of two axes."""
    network = onnx.load_model_from_string(content)
    network.graph.node.append(onnx.helper.make_node("ReduceMax", ["output0"], ["best"], axes=[1], keepdims=0))
    network.graph.output[0].name = "best"
    return network.SerializeToString()


def _with_masks(content: bytes) -> bytes:
    network = onnx.load_model_from_string(content)
    network.graph.output.append(onnx.helper.make_tensor_value_info("model.24.m.0", onnx.TensorProto.FLOAT, None))
    return network.SerializeToString()


def _with_nms(content: bytes) -> bytes:
    network = onnx.load_model_from_string(content)
    network.graph.node[-1].op_type = "EfficientNMS_TRT"
    return network.SerializeToString()


PLAIN = build_yolo(TINY).SerializeToString()
FREE = build_yolo(replace(TINY, size=None)).SerializeToString()
SEGMENT = build_yolo(replace(TINY, metadata={"task": "segment"})).SerializeToString()
REFUSALS = [
    pytest.param(b"", [], "best.onnx: the file is empty", id="empty"),
    pytest.param(checkpoint(), [], "never opened here; export it where it was trained", id="checkpoint"),
    pytest.param(PLAIN, ["--sha256", "0" * 64], f"its sha256 is {sha256(PLAIN)}, not {'0' * 64}", id="other hash"),
    pytest.param(PLAIN, ["--names", "a,b"], "does not fit 2 class names", id="too few names"),
    pytest.param(PLAIN, ["--names", "a,a,b,c"], "expected different names", id="names twice"),
    pytest.param(PLAIN, ["--size", "128"], "axis 2 is 64, expected 128; use the size it was exported for", id="size"),
    pytest.param(PLAIN, ["--plugin", "x.so"], "plugin x.so: is no shared library", id="plugin"),
    pytest.param(FREE, [], "its height and width are free; give the size it was trained at", id="no size"),
    pytest.param(FREE, ["--size", "100"], "the network needs multiples of 32", id="odd size"),
    pytest.param(SEGMENT, [], "task is 'segment'; only detection models are served", id="segmentation by metadata"),
    pytest.param(_with_masks(PLAIN), [], "this looks like a segmentation model", id="segmentation"),
    pytest.param(_without_rows(PLAIN), [], "this looks like a classification model", id="classification"),
    pytest.param(_with_nms(PLAIN), [], "ends in NMS (EfficientNMS_TRT); export without it", id="end to end"),
    pytest.param(torchscript(None), [], "add NAMES=a,b,c (or a file, one a line), SIZE=640", id="bare TorchScript"),
    pytest.param(ENGINE, ["--names", "a", "--size", "640"], "add LAYOUT=yolov5 or LAYOUT=yolov8", id="bare engine"),
    pytest.param(ENGINE + b"YoloLayer_TRT", [], "add PLUGIN=path/to/libmyplugins.so", id="tensorrtx without plugin"),
]


@pytest.mark.parametrize(("content", "options", "message"), REFUSALS)
def test_what_cannot_be_served_is_one_line_with_the_fix(
    make: Make, tmp_path: Path, content: bytes, options: list[str], message: str
) -> None:
    code, out, err = make(content, *options)

    assert (code, out) == (1, "")
    assert err.startswith("model: ")
    assert err.count("\n") == 1
    assert message in err
    assert models(tmp_path) == []


def test_serving_graph_is_not_wrapped_again(make: Make, tmp_path: Path, export: bytes) -> None:
    make(export)

    code, _, err = make((tmp_path / "var/models/best.onnx").read_bytes(), name="again.onnx")

    assert code == 1
    assert "it is a serving graph already; serve it as it is" in err


def test_network_that_takes_no_pictures_is_refused(make: Make) -> None:
    network = build_yolo(TINY)
    del network.graph.input[0].type.tensor_type.shape.dim[2:]

    assert "input 'images': 2 axes, expected 4" in make(network.SerializeToString())[2]


def test_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "no.onnx"), "--var", str(tmp_path)]) == 1

    assert capsys.readouterr().err.endswith("no.onnx: no such file; give the path or the http(s) URL of a model\n")


@pytest.mark.parametrize("option", [["--size", "x"], ["--size", "0"], ["--sha256", "abc"], ["--name", "../x"]], ids=str)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "x.onnx"), *option])

    assert "expected" in capsys.readouterr().err


class TestFromAnAddress:
    @pytest.fixture
    def web(self, export: bytes) -> Iterator[Site]:
        with site(export) as served:
            yield served

    def test_model_is_downloaded_and_never_again(self, web: Site, tmp_path: Path) -> None:
        arguments = [f"{web.url}/exports/best.onnx?token=secret", "--var", str(tmp_path)]

        assert main([*arguments, "--sha256", sha256(web.content)]) == 0
        assert main([*arguments, "--sha256", sha256(web.content)]) == 0
        assert main(arguments) == 0

        assert len(web.ranges) == 1
        assert read_manifest(tmp_path / "models/best.onnx").source == f"{web.url}/exports/best.onnx"

    def test_other_hash_is_one_line_and_nothing_is_written(
        self, web: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([f"{web.url}/best.onnx", "--var", str(tmp_path), "--sha256", "0" * 64]) == 1

        assert capsys.readouterr().err.splitlines()[-1].endswith(f"not {'0' * 64}; nothing was kept. Check both")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_what_is_no_model_is_not_kept_either(
        self, web: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        web.content = b"<html>log in first</html>"

        assert main([f"{web.url}/best.onnx", "--var", str(tmp_path)]) == 1

        assert f"{web.url}/best.onnx: it is a web page, not a model" in capsys.readouterr().err
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
