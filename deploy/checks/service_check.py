"""Lets the service itself say what would keep its instances from starting: only it knows its settings and models.

Flow: [Fleet] -> `python -m service --check` per model -> [Problem...], before anything is stopped or started.
"""

import re
from collections.abc import Mapping
from typing import Literal

from deploy.errors import Problem
from deploy.fleet import PREFIX, Code, Fleet
from deploy.machine.command import Runner

# Neither the folder this is called from nor the environment has a say in what is imported.
CHECK = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('service', run_name='__main__', alter_sys=True)"
)
BROKEN = "service"
LINE = re.compile(rf"({PREFIX}[A-Z0-9_]+|GPU): (.+?)(?:; (.+))?")
# How much of what settings name is on this machine.
Scope = Literal["settings", "files", "all"]


def service_problems(
    fleet: Fleet, code: Code, run: Runner, *, scope: Scope = "all", instead: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    """Checks the settings of a fleet's instances, and the files and devices they name.

    Args:
        fleet: what is wanted.
        code: has the service that is asked.
        run: runs a command and waits for its end.
        scope: how much of that is on this machine.
        instead: settings that are not yet what they will be.
    """
    # All instances of a fleet have the same settings, but for those that it sets itself.
    per_model = {instance.environment[f"{PREFIX}MODEL"]: instance.environment for instance in fleet.instances}
    environments = [{**environment, **(instead or {})} for environment in per_model.values()]
    return tuple(dict.fromkeys(p for each in environments for p in setting_problems(each, code, run, scope)))


def setting_problems(settings: Mapping[str, str], code: Code, run: Runner, scope: Scope) -> list[Problem]:
    """Checks one set of settings, by their whole names; those of other programs are left out."""
    given = (f"{name}={value}" for name, value in settings.items() if name.startswith(PREFIX))
    service = (str(code.python), "-I", "-X", "utf8", "-c", CHECK, str(code.repo), "--check", scope)
    outcome = run(("env", "-i", *given, *service))
    if outcome.code == 0:
        return []
    lines = [line.strip() for line in outcome.output.splitlines() if line.strip()]
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    if not found:  # it broke down instead of answering
        what = lines[-1] if lines else f"it ended with code {outcome.code}"
        return [Problem(BROKEN, f"its own check fails: {what}", "run `make setup` again")]
    return [Problem(match[1], match[2], match[3] or "correct it") for match in found]
