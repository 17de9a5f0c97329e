"""docs/models.md says what `make model` does."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from service.models.__main__ import main
from service.models.kind import PT_RECIPE
from tests.service.models.yolo import YOLOV5N, build_yolo


@pytest.fixture
def document(repo_root: Path) -> str:
    return (repo_root / "docs/models.md").read_text()


def test_shown_output_is_what_is_printed(document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.search(r"```\n(  ONNX.*?)```", document, re.DOTALL)
    names = {index: name for index, name in enumerate(["T01", "T02_1", "T02_2", *(f"T{n:02}" for n in range(3, 27))])}
    export = build_yolo(replace(YOLOV5N, classes=27, batch=1, metadata={"stride": 32, "names": names}))
    (tmp_path / "best.onnx").write_bytes(export.SerializeToString())

    main([str(tmp_path / "best.onnx"), "--var", str(tmp_path / "var")])

    assert shown is not None
    assert capsys.readouterr().out.replace(f"{tmp_path}/", "") == shown[1]


def test_checkpoint_recipes_are_the_documents_own(document: str) -> None:
    for recipe in re.findall(r"`(.*?)`", PT_RECIPE):
        assert recipe.replace("x.pt", "best.pt") in document


def test_every_option_is_in_the_document(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"--(\w+)", capsys.readouterr().out)) - {"help", "name", "var"}

    assert {option.upper() for option in options} == set(re.findall(r"^\| `(\w+)=`", document, re.MULTILINE))
