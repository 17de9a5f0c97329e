"""`make engine` on a real GPU with a real TensorRT: built, judged, served."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

pytest.importorskip("tensorrt", exc_type=Exception, reason="TensorRT is not installed, or has no driver")
pytest.importorskip("onnxruntime", reason="onnxruntime, the reference, is not installed")

from service.models.build.__main__ import main
from tests.instance import running_instance
from tests.service.engines.stack import detect
from tests.service.engines.torch_models import pictures
from tests.service.models.graphs import write_graph

pytestmark = pytest.mark.gpu
SIZE = (64, 96)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_is_built_judged_and_serves(
    precision: str,
    free_port: Callable[[], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    graph, frames = write_graph(tmp_path / "tiny.onnx"), tmp_path / "frames"
    frames.mkdir()
    for number, picture in enumerate(pictures(16, SIZE)):
        cv2.imwrite(str(frames / f"{number:02}.png"), picture)
    options = ["--precision", precision, "--agreement", "0.75", "--frames", str(frames), "--var", str(tmp_path)]
    assert main([str(graph), *options]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    record_property("gate", next(line for line in said.splitlines() if line.startswith("accuracy: ")))
    (engine,) = (tmp_path / "models").glob("*.engine")
    body = cv2.imencode(".png", pictures(1, SIZE)[0])[1].tobytes()
    with running_instance(free_port(), engine, tmp_path / "log") as instance:
        assert detect(instance.url, body)
    assert main([str(graph), *options]) == 0
    assert f"{engine}: in place" in capsys.readouterr().out
