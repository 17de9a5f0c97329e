"""What a run of the GPU tests leaves behind: JSON for machines and a table for people."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.gpu.machine import Machine


@dataclass(frozen=True, slots=True)
class Result:
    """One test: its `name`, `outcome` (passed, failed, skipped), `seconds`, `reason` and its recorded `figures`."""

    name: str
    outcome: str
    seconds: float
    reason: str = ""
    figures: dict[str, object] = field(default_factory=dict)


def write_json(path: Path, machine: Machine, results: list[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine.record(), "tests": [asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def table(machine: Machine, results: list[Result]) -> list[str]:
    width = max((len(result.name) for result in results), default=0)
    rows = []
    for result in results:
        figures = ", ".join(f"{name} {value}" for name, value in result.figures.items())
        remark = result.reason or figures
        rows.append(f"{result.outcome:<8} {result.seconds:6.1f} s  {result.name:<{width}}  {remark}".rstrip())
    return [*machine.lines(), "", *rows]
