"""Thousands of made-up requests, right and wrong ones, against the document that a real instance serves."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.instance import ROOT, running_instance

pytest.importorskip("schemathesis", reason="schemathesis needs Python 3.11")
FOLDER = Path(__file__).resolve().parent
LIMIT_S = 400
# Small, so that the largest valid frame is soon sent and the smallest too large one, too.
LIMITS = {"max_side": 64, "max_pixels": 64 * 64, "max_body_bytes": 64 * 1024}


def test_the_document_is_an_openapi_document(free_port: Callable[[], int], tmp_path: Path) -> None:
    from schemathesis.specs.openapi.definitions import OPENAPI_30_VALIDATOR

    with running_instance(free_port(), "simulated:a_ms=0,b_ms=0,size=64", tmp_path / "log") as instance:
        OPENAPI_30_VALIDATOR.validate(requests.get(f"{instance.url}/openapi.json", timeout=10).json())


def test_no_request_gets_an_answer_that_the_document_does_not_promise(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    with running_instance(free_port(), "simulated:a_ms=0,b_ms=0,size=64", tmp_path / "log", **LIMITS) as instance:
        # From a file: of a document read from its address, schemathesis leaves out that address.
        document = tmp_path / "openapi.json"
        document.write_bytes(requests.get(f"{instance.url}/openapi.json", timeout=10).content)
        command = ["--config-file", FOLDER / "schemathesis.toml", "run", document, "--url", instance.url]
        ran = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *map(str, command), "--checks", "all"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        metrics = requests.get(f"{instance.url}/metrics", timeout=10).text
    for route in ("/v1/detect", "/predict"):
        assert _answers(metrics, route, "200") > 300
        assert _answers(metrics, route, "422") > 50
    assert "Traceback" not in (tmp_path / "log").read_text()


def _answers(metrics: str, route: str, status: str) -> float:
    line = f'framefleet_requests_total{{route="{route}",status="{status}"}} '
    return sum(float(found.removeprefix(line)) for found in metrics.splitlines() if found.startswith(line))
