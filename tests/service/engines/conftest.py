import sys
from pathlib import Path

import pytest

from tests.service.engines.trt_machine import Machine, modules


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with a made-up GPU; what the engine imports comes from there."""
    made = Machine(tmp_path)
    for name, module in modules(made).items():
        monkeypatch.setitem(sys.modules, name, module)
    return made
