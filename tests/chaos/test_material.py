"""What a rehearsal is made with: a model is rehearsed as a copy that can be served, and spoilt."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.material import copied
from chaos.rehearsal import ChaosError
from tests.instance import running_instance


def test_a_copy_of_a_model_can_be_served(default_model: Path, tmp_path: Path, free_port: Callable[[], int]) -> None:
    model = copied(default_model, tmp_path)
    assert Path(model).parent == tmp_path
    with running_instance(free_port(), model, tmp_path / "log"):
        pass


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChaosError, match=r"gone\.onnx: No such file or directory; run `make setup`"):
        copied(tmp_path / "gone.onnx", tmp_path)
