from typing import Any

import pytest

from framefleet.wire.errors import ModelError
from service.models.inspection import ExportMetadata, read_properties


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({}, ExportMetadata(), id="nothing"),
        pytest.param(
            {"stride": "32", "names": "{0: 'T01', 1: \"driver's\"}"},
            ExportMetadata(names=("T01", "driver's"), layout="yolov5"),
            id="YOLOv5 ONNX",
        ),
        pytest.param({"stride": "64", "names": "['a']"}, ExportMetadata(("a",), None, 64, "yolov5"), id="names listed"),
        pytest.param(
            {"shape": [1, 3, 384, 640], "stride": 32, "names": {"1": "b", "0": "a"}},
            ExportMetadata(("a", "b"), (384, 640), 32, "yolov5"),
            id="YOLOv5 TorchScript",
        ),
        pytest.param(
            {"task": "detect", "imgsz": "[640, 640]", "names": "{0: 'a'}", "stride": "32", "args": "{'nms': False}"},
            ExportMetadata(("a",), (640, 640), 32, "yolov8"),
            id="ultralytics ONNX",
        ),
        pytest.param(
            {"task": "detect", "imgsz": 320, "author": "Ultralytics"},
            ExportMetadata((), (320, 320), 32, "yolov8"),
            id="one side",
        ),
        pytest.param(
            {"names": "__import__('os')", "imgsz": "[1]", "stride": "x"}, ExportMetadata(layout="yolov5"), id="odd"
        ),
    ],
)
def test_properties_of_each_exporter_are_read(properties: dict[str, Any], expected: ExportMetadata) -> None:
    assert read_properties(properties) == expected


@pytest.mark.parametrize("task", ["segment", "pose", "classify", "obb"])
def test_other_tasks_are_refused(task: str) -> None:
    with pytest.raises(ModelError, match=f"task is '{task}'; only detection models are served"):
        read_properties({"task": task})


@pytest.mark.parametrize("properties", [{"args": "{'nms': True}"}, {"end2end": "True"}, {"end2end": True}], ids=str)
def test_exports_with_nms_are_refused_with_the_flag_to_drop(properties: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"nms=False \(and end2end=False"):
        read_properties(properties)


def test_names_with_gaps_are_refused() -> None:
    with pytest.raises(ModelError, match=r"names are not numbered 0, 1, 2 and so on; .*--names"):
        read_properties({"names": "{0: 'a', 2: 'c'}"})
