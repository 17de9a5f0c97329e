"""Runs the tests that need an NVIDIA GPU: `make test-gpu`, or `PYTHON -m pytest tests/gpu -m gpu` with any Python.

That Python needs torch, pytest and what `lock/service.txt` lists; nothing is downloaded and nothing of `./var` is
needed. Whatever else is missing is said, and its tests are skipped. Results: a table, and `./var/gpu/tests.json`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gpu.machine import Machine, this_machine
from tests.gpu.results import Result, table, write_json

DEFAULT_JSON = Path("var/gpu/tests.json")
MACHINE = pytest.StashKey[Machine]()
RESULTS = pytest.StashKey[list[Result]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-json", type=Path, default=DEFAULT_JSON, help="file for the results (default: %(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    machine = config.stash[MACHINE] = this_machine()
    if not machine.gpu:
        reason = "no NVIDIA GPU that torch can use" if machine.parts["torch"][0].isdigit() else "torch is not installed"
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    report = yield
    decisive = report.when == "call" or (report.when == "setup" and report.outcome != "passed")
    if decisive and item.get_closest_marker("gpu"):
        reason = "" if report.passed else _reason(report)
        name = item.nodeid.removeprefix("tests/gpu/")
        result = Result(name, report.outcome, round(report.duration, 2), reason, dict(report.user_properties))
        item.config.stash[RESULTS].append(result)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[RESULTS]
    path = config.getoption("--gpu-json", default=None)  # not known when the whole suite runs
    if not results or path is None:
        return
    machine = config.stash[MACHINE]
    write_json(path, machine, results)
    terminalreporter.section("GPU")
    for line in (*table(machine, results), "", f"written to {path}"):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def machine() -> Machine:
    return this_machine()


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # a skip: file, line, reason
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longreprtext).strip().splitlines()[-1]
