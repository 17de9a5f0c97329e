"""A fleet on this machine for whoever types `make up`: options and the machine's figures in, a validated fleet out.

Flow: command line [FleetOptions] + this machine [HostFacts] [Code] -> local_fleet -> [Fleet] -> render.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.allowance import GENEROUS, Allowance
from deploy.describe.instances import make_instance
from deploy.describe.limits import ServiceLimits, balancer_workers
from deploy.describe.placement import EVENLY, Own, Place, place
from deploy.errors import Problem, SettingsError
from deploy.fleet import (
    LOOPBACK,
    MAX_INSTANCES,
    MAX_PORT,
    MAX_SOCKET_PATH_BYTES,
    NAME,
    OPEN_FILES,
    OWNED,
    PREFIX,
    SIMULATED,
    UNQUOTABLE,
    UNQUOTABLE_SETTING,
    UNQUOTABLE_VAR,
    Balancer,
    Code,
    Fleet,
    HostFacts,
    Instance,
    free_port,
)
from deploy.machine.devices import UNKNOWN_NODE
from deploy.paths import Paths, local_paths

# Instances start elsewhere than where these were typed.
PATHS = tuple(PREFIX + name for name in ("CACHE", "KEYS", "PLUGIN", "QUARANTINE"))
DEFAULT_MODEL = "centerface-320.onnx"
NOT_IN_PATHS = "double quotes, line breaks, or a ; or # after a blank"


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What the person at the command line asked for.

    Attributes:
        instances: how many.
        port: where nginx listens on 127.0.0.1.
        instance_port: the first instance's port; the others follow.
        var: absolute folder for everything the fleet writes.
        model: path or `simulated:...`; None takes FRAMEFLEET_MODEL, then the default model.
        release: the id that /readyz shows.
        allowance: how much one client may ask of nginx.
        cpus_per_instance: CPUs that belong to each instance alone; `auto` deals them out, 0 shares them.
    """

    var: Path
    instances: int = 2
    port: int = 8080
    instance_port: int = 8101
    model: str | None = None
    release: str = "dev"
    allowance: Allowance = GENEROUS
    cpus_per_instance: Own = EVENLY


def local_fleet(
    options: FleetOptions,
    facts: HostFacts,
    nodes: Mapping[int, tuple[int, ...]],
    code: Code,
    environ: Mapping[str, str],
) -> Fleet:
    """Expands the options into a fleet on this machine.

    Args:
        options: what was asked for.
        facts: what there is.
        nodes: its usable CPUs by NUMA node.
        code: what every program is started from.
        environ: the caller's environment; its FRAMEFLEET_* service settings reach every instance, except the ones
            in `OWNED`. FRAMEFLEET_MODEL is the model if the options name none.

    Raises:
        SettingsError: lists every problem at once.
    """
    settings = _settings(facts, environ)
    paths = local_paths(options.var)
    model = _model(options, facts, settings, paths)
    limits = ServiceLimits(settings)
    places, too_few = _places(options, nodes)
    problems = [
        *_port_problems(options),
        *too_few,
        *_path_problems(paths, facts, code, model),
        *_text_problems(options, settings),
        *limits.problems,
    ]
    if problems:
        raise SettingsError(problems)
    return Fleet(
        release=options.release,
        model=model,
        instances=tuple(_instances(options, places, model, settings, paths)),
        balancer=Balancer(
            host=LOOPBACK,
            port=options.port,
            workers=balancer_workers(facts.cores),
            max_body_bytes=limits.max_body_bytes,
            read_timeout_s=limits.read_timeout_s,
            allowance=options.allowance,
            by_key=PREFIX + "KEYS" in settings,
            hold_ms=limits.hold_ms,
        ),
        paths=paths,
        machine=replace(facts, open_files=min(OPEN_FILES, facts.open_files)),
        code=code,
        lasting=code,
        stop_wait_s=limits.stop_wait_s,
    )


def _instances(
    options: FleetOptions, places: tuple[Place, ...], model: str, settings: Mapping[str, str], paths: Paths
) -> Iterator[Instance]:
    for index, where in enumerate(places):
        yield make_instance(
            f"cpu{index}",
            LOOPBACK,
            options.instance_port + index,
            place=where,
            model=model,
            release=options.release,
            settings=settings,
            quarantine=paths.quarantine,
        )


def _settings(facts: HostFacts, environ: Mapping[str, str]) -> dict[str, str]:
    settings = {k: v for k, v in sorted(environ.items()) if k.startswith(PREFIX) and k not in OWNED}
    for name in PATHS:
        if path := settings.get(name):
            settings[name] = str(facts.cwd / path)
    if not settings.get(PREFIX + "KEYS"):  # empty lets everybody in, as no name does
        settings.pop(PREFIX + "KEYS", None)
    return settings


def _model(options: FleetOptions, facts: HostFacts, settings: Mapping[str, str], paths: Paths) -> str:
    asked = options.model or settings.get(PREFIX + "MODEL") or str(paths.models / DEFAULT_MODEL)
    return asked if asked.startswith(SIMULATED) else str(facts.cwd / asked)


def _port_problems(options: FleetOptions) -> Iterator[Problem]:
    if not 1 <= options.instances <= MAX_INSTANCES:
        yield Problem(
            "--instances", f"{options.instances} is outside 1-{MAX_INSTANCES}", "choose a number in that range"
        )
    last = options.instance_port + options.instances - 1
    if not 1 <= options.port <= MAX_PORT:
        free = free_port((8080, 8081, 18080), [range(options.instance_port, last + 1)])
        yield Problem("--port", f"{options.port} is outside 1-{MAX_PORT}", f"choose a port such as {free}")
    if options.instance_port < 1 or last > MAX_PORT:
        ports = f"instance ports {options.instance_port}-{last} are not within 1-{MAX_PORT}"
        starts = (start for start in (8101, 8201) if options.port not in range(start, start + options.instances))
        yield Problem("--instance-port", ports, f"choose a port such as {next(starts, 8101)}")
    if options.instance_port <= options.port <= last:
        clash = f"{options.port} lies within the instance ports {options.instance_port}-{last}"
        yield Problem("--port", clash, "move --port or --instance-port")


def _places(
    options: FleetOptions, nodes: Mapping[int, tuple[int, ...]]
) -> tuple[tuple[Place, ...], tuple[Problem, ...]]:
    if not 1 <= options.instances <= MAX_INSTANCES:
        return (), ()
    try:
        return place(nodes, [UNKNOWN_NODE] * options.instances, options.cpus_per_instance), ()
    except ValueError as error:
        return (), (Problem("--cpus-per-instance", str(error), "lower it, or run fewer"),)


def _path_problems(paths: Paths, facts: HostFacts, code: Code, model: str) -> Iterator[Problem]:
    named = {"--model": model, "the repository's path": str(code.repo)}
    named |= {"the path of python": str(code.python), "the path of nginx": str(facts.nginx)}
    for where, text in named.items():
        if found := UNQUOTABLE.search(text):
            yield Problem(where, f"{text!r} contains {found[0]!r}", f"use a path without {NOT_IN_PATHS}")
    if found := UNQUOTABLE_VAR.search(str(paths.state)):
        what = f"{str(paths.state)!r} contains {found[0]!r}"
        yield Problem("--var", what, f"use a folder without \\ $ * ? [ ] {NOT_IN_PATHS}")
    if (size := len(str(paths.supervisor_socket).encode())) > MAX_SOCKET_PATH_BYTES:
        what = f"{paths.supervisor_socket} has {size} bytes, a unix socket's path may have {MAX_SOCKET_PATH_BYTES}"
        yield Problem("--var", what, "choose a folder with a shorter path")


def _text_problems(options: FleetOptions, settings: Mapping[str, str]) -> Iterator[Problem]:
    if not NAME.fullmatch(options.release):
        yield Problem(
            "--release", f"{options.release!r} is no plain name", "use letters, digits and . _ - (64 at most)"
        )
    for variable, value in settings.items():
        if variable != PREFIX + "MODEL" and (found := UNQUOTABLE_SETTING.search(value)):
            yield Problem(variable, f"{value!r} contains {found[0]!r}", "no setting needs that character: correct it")
