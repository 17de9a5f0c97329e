"""Runs one verb of a host's command line, with a stand-in for systemd: RELEASE FOLDER VERB [ARGUMENTS].

A program of its own, because what deploys is the code of the release, and because it can die at any step.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

release, died_at, verb, *arguments = sys.argv[1:]
sys.path.insert(0, release)

from deploy.__main__ import main  # noqa: E402
from deploy.errors import Problem  # noqa: E402
from deploy.fleet import Fleet  # noqa: E402
from deploy.machine import run  # noqa: E402
from deploy.machine.machine import Machine  # noqa: E402
from deploy.verbs import host_verbs  # noqa: E402

assert Path(host_verbs.__file__).is_relative_to(release)
UNIT = Path(release).parent.parent / "framefleet.service"


class StandIn:
    """Starts supervisord as `make up` does; a recipe that stops the unit stops the processes too."""

    def problems(self) -> Iterator[Problem]:
        yield from ()

    def install(self, unit: str) -> bool:
        changed = not UNIT.exists() or UNIT.read_text() != unit
        UNIT.write_text(unit)
        return changed

    def start(self, fleet: Fleet) -> None:
        run.start_supervisord(fleet.lasting, fleet.paths, os.environ)

    def stop(self) -> None:
        """The recipes end processes that are left themselves."""

    def remove(self) -> None:
        UNIT.unlink(missing_ok=True)


def dying(machine: Machine) -> Machine:
    def say(line: str) -> None:
        machine.say(line)
        if died_at != "-" and line.startswith(died_at):
            os._exit(9)

    return replace(machine, say=say)


real_target = host_verbs.this_target


def target(machine: Machine) -> host_verbs.Target | None:
    found = real_target(dying(machine))
    assert found
    return replace(found, manager=StandIn(), facts=replace(found.facts, root=True), steady_s=2.0)


host_verbs.this_target = target  # type: ignore[assignment]
sys.exit(main([verb, *arguments]))
