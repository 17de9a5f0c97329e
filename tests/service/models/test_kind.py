import io
import re
import shlex
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from framefleet.wire.errors import ModelError
from service.models.kind import PT_RECIPE, recognise
from tests.service.models.files import ENGINE, checkpoint, engine_with_header, torchscript
from tests.service.models.yolo import TINY, build_yolo

HEADER = {"task": "detect", "imgsz": [640, 640], "names": {"0": "T01"}}


def test_onnx_is_known_by_its_content() -> None:
    found = recognise(build_yolo(TINY).SerializeToString())

    assert found.kind == "onnx"
    assert found.graph is not None
    assert found.graph.graph.input[0].name == "images"


def test_engines_are_known_with_and_without_a_header() -> None:
    assert recognise(ENGINE).kind == "engine"
    assert recognise(ENGINE).properties == {}
    assert recognise(engine_with_header(HEADER)).properties == HEADER


@pytest.mark.parametrize("config", [HEADER, None], ids=["config", "no config"])
def test_torchscript_is_known_and_its_config_read(config: dict[str, object] | None) -> None:
    found = recognise(torchscript(config))

    assert (found.kind, found.properties) == ("torchscript", config or {})


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"?")
    return buffer.getvalue()


def damaged(data: bytes) -> bytes:
    at = data.index(b"class Model") + 20
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


NETWORK = build_yolo(replace(TINY, classes=1)).SerializeToString()
REFUSALS = [
    pytest.param(b"", "the file is empty", id="empty"),
    pytest.param(bytes(range(256)) * 40, "neither ONNX, TorchScript nor a TensorRT engine", id="garbage"),
    pytest.param(NETWORK[: len(NETWORK) // 2], "is cut off; fetch or export it again", id="half an ONNX"),
    pytest.param(b"\n<!DOCTYPE html>\n<title>404</title>", "a web page, not a model; use the direct link", id="html"),
    pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", id="lfs"),
    pytest.param(checkpoint(), "never opened here; export it .*--include onnx --dynamic", id="checkpoint"),
    pytest.param(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch checkpoint", id="old checkpoint"),
    pytest.param(zipped("readme.txt"), "a zip file without a model", id="zip"),
    pytest.param(torchscript(HEADER)[:-40], "cut off or damaged; fetch it again", id="half a TorchScript"),
    pytest.param(damaged(torchscript(HEADER)), "is damaged; fetch or export it again", id="damaged TorchScript"),
    pytest.param(torchscript("not json"), "config.txt in it is no JSON", id="broken config"),
    pytest.param(engine_with_header(HEADER, b""), "cut off behind its header", id="header alone"),
]


def test_network_whose_weights_are_in_another_file_is_refused_with_the_line_that_joins_them(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    onnx.save(build_yolo(TINY), path, save_as_external_data=True, location="x.data")

    with pytest.raises(ModelError, match="its weights are in another file; make one of both: `python -c") as raised:
        recognise(path.read_bytes())

    line = shlex.split(re.findall("`(.*)`", str(raised.value))[0])
    subprocess.run([sys.executable, *line[1:]], cwd=tmp_path, check=True)
    assert recognise((tmp_path / "whole.onnx").read_bytes()).kind == "onnx"


@pytest.mark.parametrize(("data", "message"), REFUSALS)
def test_what_is_no_model_is_refused_with_what_it_is(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        recognise(data)


def test_checkpoint_recipe_names_both_exporters() -> None:
    assert "python export.py --weights x.pt --include onnx --dynamic" in PT_RECIPE
    assert "yolo export model=x.pt format=onnx dynamic=True" in PT_RECIPE
