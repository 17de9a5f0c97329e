"""Reads fleet.toml, the one description of a fleet, and says everything that is wrong with it at once.

Flow: fleet.toml -> read_inventory -> [Inventory] -> host_fleet. fleet.example.toml explains every key.

`read_settings`, `read_host`: reads the tables of fleet.toml that a host consists of: the host itself, and service
settings.
"""

import ipaddress
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from deploy.allowance import GENEROUS, MAX_AT_ONCE, Allowance
from deploy.describe.inventory import AUTO, Balancing, Host, Inventory, Keys, Mode, Model
from deploy.describe.limits import ServiceLimits
from deploy.describe.local import DEFAULT_MODEL
from deploy.describe.placement import EVENLY, MAX_CPUS, Own
from deploy.describe.tables import MISSING, Doubts, Table, more_than_once
from deploy.errors import Problem, SettingsError
from deploy.fleet import (
    IPV4,
    MAX_INSTANCES,
    MAX_PORT,
    MAX_SOCKET_PATH_BYTES,
    NAME,
    OPEN_FILES,
    OWNED,
    PREFIX,
    UNSAFE,
    Monitoring,
    Tls,
    free_port,
)
from deploy.paths import Folders
from framefleet.text_file import NotText, read_text

HTTPS_PORT = 443


ADDRESS_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
GPU = re.compile(r"\d{1,2}(?::\d{1,2})?|(?:GPU|MIG)-[0-9A-Za-z/-]{4,}")
GPU_FIX = '"auto", or a list of indices (0, "0:1" for a MIG device) and UUIDs as `nvidia-smi -L` shows them'


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MAX_HSTS_DAYS = 3650


MODES = ("each", "one", "edge")


MODEL_FILE = re.compile(r"[^\x00-\x1f\x7f\"'\\$;#*?\[\]%]+")


SHA256 = re.compile(r"(?:[0-9a-f]{64})?")


HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


ABSOLUTE = re.compile(r"/(?!.*/\.\.(?:/|$))[^\x00-\x20\x7f\"'\\$;#*?\[\]%:]+")


TOML_BITS = 64


# How Python's parser ends its messages.
PLACE = re.compile(r"(?P<what>.+) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)


WEBHOOK = re.compile(r"(?:https?://[!-~]+)?")


def read_inventory(file: Path) -> Inventory:
    """Reads and validates a fleet.toml.

    Raises:
        SettingsError: lists every problem at once, each with its path in the file.
    """
    inventory, problems = survey_file(file)
    if problems:
        raise SettingsError(problems_of(file, problems))
    return inventory


def survey_file(file: Path) -> tuple[Inventory, tuple[Problem, ...]]:
    """Reads a fleet.toml as far as it is right, as `survey` does.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
    """
    text = _text(file)
    try:
        return survey(text)
    except SettingsError as error:
        raise SettingsError(problems_of(file, error.problems)) from None


def problems_of(file: Path, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The same problems, with the file in front of each place in it; options are elsewhere."""
    return tuple(p if p.where.startswith("-") else Problem(f"{file}: {p.where}", p.what, p.fix) for p in problems)


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except NotText as error:
        raise SettingsError(Problem(str(file), str(error), error.fix)) from None
    except OSError as error:
        fix = "deploy/fleet.example.toml is a file to start from"
        raise SettingsError(Problem(str(file), error.strerror or str(error), fix)) from None


@lru_cache(maxsize=4)
def parse_inventory(text: str) -> Inventory:
    """Reads and validates the text of a fleet.toml; the same text once.

    Raises:
        SettingsError: as `read_inventory`.
    """
    inventory, problems = survey(text)
    if problems:
        raise SettingsError(problems)
    return inventory


def survey(text: str) -> tuple[Inventory, tuple[Problem, ...]]:
    """Reads a fleet.toml as far as it is right.

    Returns:
        What it says, with defaults in the place of what will not do; and everything that is wrong.

    Raises:
        SettingsError: it is no TOML.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the parser's own, or Python's about a number too long to read
        raise SettingsError(_no_toml(str(error), text)) from None
    if _has_endless_number(values):
        raise SettingsError(Problem("TOML", "holds a whole number of over 64 bits", "write a smaller one"))
    top = Table(values, "", [])
    inventory = _inventory(top)
    top.close()
    return inventory, (*top.problems, *contradictions(inventory, Doubts(top.problems)))


def _no_toml(reason: str, text: str) -> Problem:
    """What the parser says, with the place in front as in messages of compilers."""
    match = PLACE.fullmatch(reason)
    if not match:
        return Problem("TOML", reason, "correct its syntax")
    line, column = match["line"] or text.count("\n") + 1, match["column"] or len(text.rpartition("\n")[2]) + 1
    return Problem(f"line {line}, column {column}", match["what"], "correct its TOML")


def _has_endless_number(value: object) -> bool:
    """Whether a number is longer than TOML allows; one of thousands of digits could not even be shown."""
    if isinstance(value, dict):
        return any(map(_has_endless_number, value.values()))
    if isinstance(value, list):
        return any(map(_has_endless_number, value))
    return isinstance(value, int) and value.bit_length() > TOML_BITS


def _inventory(top: Table) -> Inventory:
    system, ports = top.table("system"), top.table("ports")
    user = system.text("user", "framefleet", USER, "choose a plain user name such as framefleet")
    inventory = Inventory(
        model=_model(top.table("model")),
        settings=read_settings(top.table("settings")),
        hosts=tuple(read_host(table) for table in top.tables("hosts")),
        balancing=_balancing(top.table("balancer"), _tls(top), read_allowance(top.table("limits"))),
        first_port=ports.number("first", 8101, 1, MAX_PORT),
        last_port=ports.number("last", 8164, 1, MAX_PORT),
        user=user,
        group=system.text("group", user, USER, "choose a plain group name such as framefleet"),
        nginx=_path(system, "nginx", "/usr/sbin/nginx"),
        open_files=system.number("open_files", OPEN_FILES, 1024, 2**20),
        memory_mb=system.number("memory_mb", 0, 0, 2**24),
        folders=_folders(top.table("folders")),
        monitoring=_monitoring(top.table("monitoring")),
        keys=_keys(top.table("keys")),
    )
    system.close()
    ports.close()
    return inventory


def _model(table: Table) -> Model:
    file = table.text("file", f"var/models/{DEFAULT_MODEL}", MODEL_FILE, "name a file without quotes, $ ; # * ? [ ] %")
    sha256 = table.text("sha256", "", SHA256, "write the 64 hexadecimal digits that sha256sum shows")
    table.close()
    return Model(file, sha256)


def _balancing(table: Table, tls: Tls | None, allowance: Allowance) -> Balancing:
    balancing = Balancing(
        mode=cast(Mode, table.choice("mode", "each", MODES)),
        hosts=table.texts("hosts"),
        address=table.text("address", "0.0.0.0", IPV4, "write an IPv4 address; 0.0.0.0 is every one of the host"),
        port=table.number("port", 80, 1, MAX_PORT),
        tls=tls,
        allowance=allowance,
    )
    table.close()
    return balancing


def _tls(top: Table) -> Tls | None:
    table = top.table("tls")
    if "tls" not in top:
        return None
    fix = "write the absolute path of a PEM file on the hosts"
    tls = Tls(
        certificate=Path(table.text("certificate", None, ABSOLUTE, fix)),
        key=Path(table.text("key", None, ABSOLUTE, fix)),
        port=table.number("port", 443, 1, MAX_PORT),
        redirect=table.flag("redirect", True),
        hsts_days=table.number("hsts_days", 0, 0, MAX_HSTS_DAYS),
    )
    table.close()
    return tls


def _folders(table: Table) -> Folders:
    default = Folders()
    folders = Folders(
        install=_path(table, "install", str(default.install)),
        etc=_path(table, "etc", str(default.etc)),
        state=_path(table, "state", str(default.state)),
        run=_path(table, "run", str(default.run)),
        log=_path(table, "log", str(default.log)),
    )
    table.close()
    return folders


def _monitoring(table: Table) -> Monitoring:
    default = Monitoring()
    operators = table.texts("operators", default.operators)
    for operator in operators:
        try:
            ipaddress.ip_network(operator)
        except ValueError as error:
            table.problem("operators", str(error), 'write addresses and networks such as "10.0.0.0/24"')
    names = table.texts("names", default.names)
    for name in names:
        if not HOST_NAME.fullmatch(name):
            table.problem(
                "names", f"{name!r} is no host name", 'write names such as "fleet.example.org", without a port'
            )
    monitoring = Monitoring(
        operators=operators,
        webhook=table.text("webhook", default.webhook, WEBHOOK, "write an http or https URL"),
        slo_ms=table.number("slo_ms", default.slo_ms, 1, 60_000),
        names=names,
    )
    table.close()
    return monitoring


def _keys(table: Table) -> Keys:
    fix = "write the absolute path of a file on the hosts"
    file, own = (table.text(key, "", ABSOLUTE, fix) for key in ("file", "own"))
    table.close()
    return Keys(Path(file) if file else None, Path(own) if own else None)


def _path(table: Table, key: str, default: str) -> Path:
    return Path(table.text(key, default, ABSOLUTE, "write an absolute path without spaces, quotes, $ ; # * ? [ ] % :"))


def read_settings(table: Table) -> dict[str, str]:
    """Reads service settings; returns them by their whole name, `FRAMEFLEET_...`."""
    settings = {}
    for key in table.present():
        value, variable = table.value(key), PREFIX + key.upper()
        if key != key.lower() or not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            table.problem(key, "settings are written in lower case", "see the settings table in docs/settings.md")
        elif variable in OWNED or key == "model":
            table.problem(key, "the fleet gives every instance its own", "leave it out; [model] names the model")
        elif key == "keys":
            table.problem(key, "all of a fleet's instances have the same", "write [keys] with its file")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            table.problem(key, f"{value!r} is neither a number nor text", "see the settings table in docs/settings.md")
        elif found := UNSAFE.search(str(value)):
            table.problem(key, f"{value!r} contains {found[0]!r}", "no setting needs that character: correct it")
        else:
            settings[variable] = str(value)
    for problem in ServiceLimits(settings).problems:
        table.problem(problem.where.removeprefix(PREFIX).lower(), problem.what, problem.fix)
    return settings


def read_host(table: Table) -> Host:
    """Reads one of [[hosts]]."""
    name = table.text("name", None, NAME, "use letters, digits and . _ - (64 at most)")
    cpu = table.number("cpu", 0, 0, MAX_INSTANCES)
    host = Host(
        name=name,
        address=table.text("address", name, ADDRESS_NAME, "write an IPv4 address or a host name"),
        # A host that is told to use its CPU does not use its GPUs as well unless told to.
        gpus=_gpus(table, () if cpu else AUTO),
        cpu=cpu,
        instances_per_gpu=table.number("instances_per_gpu", 1, 1, MAX_INSTANCES),
        cpus_per_instance=_own_cpus(table),
        settings=read_settings(table.table("settings")),
        drained=table.flag("drained", False),
    )
    table.close()
    return host


def _own_cpus(table: Table) -> Own:
    value: Any = table.value("cpus_per_instance")
    if value is MISSING or value == EVENLY:
        return EVENLY
    if isinstance(value, str):
        table.problem("cpus_per_instance", f"{value!r} will not do", 'write "auto", or a whole number')
        return EVENLY
    return table.number("cpus_per_instance", 0, 0, MAX_CPUS)


def _gpus(table: Table, default: "Literal['auto'] | tuple[str, ...]") -> "Literal['auto'] | tuple[str, ...]":
    value: Any = table.value("gpus")
    if value is MISSING:
        return default
    if value == AUTO:
        return AUTO
    gpus = tuple(str(item) for item in value) if isinstance(value, list) else None
    if gpus is None or not all(GPU.fullmatch(gpu) for gpu in gpus):
        table.problem("gpus", f"{value!r} will not do", f"write {GPU_FIX}")
        return default
    if twice := more_than_once(gpus):
        table.problem("gpus", f"names {', '.join(twice)} twice", "name each once; instances_per_gpu shares a GPU")
    return gpus


def read_allowance(table: Table) -> Allowance:
    """Reads [limits]."""
    allowance = Allowance(
        rate=table.number("rate", GENEROUS.rate, 0, MAX_AT_ONCE),
        burst=table.number("burst", GENEROUS.burst, 0, MAX_AT_ONCE),
        concurrency=table.number("concurrency", GENEROUS.concurrency, 0, MAX_AT_ONCE),
        connections=table.number("connections", GENEROUS.connections, 0, MAX_AT_ONCE),
        large=table.number("large", GENEROUS.large, 0, MAX_AT_ONCE),
    )
    table.close()
    return allowance


def contradictions(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    """Finds every pair of values that contradict each other, but for those with doubtful values."""
    if inventory.hosts:
        yield from _wrong_hosts(inventory, doubts)
        yield from _wrong_instances(inventory, doubts)
        if not doubts.about("balancer.mode", "balancer.hosts"):
            yield from _wrong_balancing(inventory, doubts)
    elif not doubts.about("hosts"):
        yield Problem("hosts", "there is none", "describe each machine under [[hosts]]")
    yield from _wrong_ports(inventory, doubts)
    yield from _wrong_folders(inventory, doubts)
    if not doubts.about("keys"):
        yield from _wrong_keys(inventory)


def _wrong_hosts(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    for key in ("name", "address"):
        # Without an address of its own a host is reached by its name.
        given = {
            f"hosts[{n}].{key}": getattr(host, key)
            for n, host in enumerate(inventory.hosts)
            if not doubts.about(f"hosts[{n}].name", f"hosts[{n}].{key}")
        }
        for twice in more_than_once(given.values()):
            where = ", ".join(path for path, value in given.items() if value == twice)
            yield Problem(where, f"all are {twice!r}", f"give every host its own {key}")


def _wrong_ports(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    first, last = inventory.first_port, inventory.last_port
    sure = not doubts.about("ports.first", "ports.last")
    if sure and first > last:
        yield Problem("ports.first", f"{first} is above ports.last, {last}", "lower it or raise ports.last")
    taken = {"balancer.port": inventory.balancing.port}
    if inventory.balancing.tls:
        taken["tls.port"] = inventory.balancing.tls.port
    taken = {where: port for where, port in taken.items() if not doubts.about(where)}
    for where, port in taken.items():
        if sure and first <= port <= last:
            yield Problem(
                where, f"{port} lies within the instance ports {first}-{last}", "move it, or ports.first and ports.last"
            )
    if len(set(taken.values())) < len(taken):
        yield _one_port_for_two(inventory.balancing.port, range(first, last + 1))


def _one_port_for_two(port: int, instances: range) -> Problem:
    """Which of HTTP and HTTPS has to move: the one that is not where people look for it."""
    if port == HTTPS_PORT:
        plain = free_port((80, 8080, 8081), [instances])
        what = f"{port} is tls.port too; balancer.port is that of plain HTTP"
        return Problem("balancer.port", what, f"choose another for it{_such_as(plain, instances)}")
    secure = free_port((HTTPS_PORT, 8443, 18443), [instances, [port]])
    return Problem("tls.port", f"{port} is balancer.port too", f"choose another{_such_as(secure, instances)}")


def _such_as(port: int, instances: range) -> str:
    # All may be the instances', who are told to move.
    return "" if port in instances else f", such as {port}"


def _wrong_instances(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    balancers = _balancers(inventory)
    for number, host in enumerate(inventory.hosts):
        where = f"hosts[{number}]"
        if _counted(number, doubts):
            continue
        if host.instances == 0:
            if host.name not in balancers and not doubts.about("balancer.mode", "balancer.hosts", f"{where}.name"):
                yield Problem(f"{where}.gpus", "neither GPUs nor cpu: nothing would run", "name GPUs, or set cpu = 1")
        # Ports in the wrong order, which leave no room, are a problem of their own.
        elif host.instances is not None and 0 < inventory.room < host.instances and not doubts.about("ports"):
            yield inventory.over_room(f"{where}.{'instances_per_gpu' if host.gpus else 'cpu'}", host.instances)


def _counted(number: int, doubts: Doubts) -> bool:
    """True if how many instances a host has cannot be relied on."""
    return doubts.about(*(f"hosts[{number}].{key}" for key in ("gpus", "cpu", "instances_per_gpu")))


def _wrong_balancing(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    mode, chosen = inventory.balancing.mode, inventory.balancing.hosts
    known = {host.name for host in inventory.hosts}
    named = not any(doubts.about(f"hosts[{number}].name") for number in range(len(inventory.hosts)))
    for name in chosen:
        if named and name not in known:
            there = ", ".join(sorted(known))
            yield Problem("balancer.hosts", f"{name!r} is none of the hosts", f"there are: {there}")
    for name in more_than_once(chosen):
        yield Problem("balancer.hosts", f"names {name!r} twice", "name each host once")
    if mode == "each" and chosen:
        yield Problem("balancer.hosts", 'with mode "each" every host balances', "leave it out, or change the mode")
    if mode == "one" and len(chosen) != 1:
        yield Problem("balancer.hosts", f'mode "one" needs one host, not {len(chosen)}', 'write hosts = ["NAME"]')
    if mode == "edge" and not chosen:
        yield Problem("balancer.hosts", 'mode "edge" needs the hosts that balance', 'write hosts = ["NAME"]')
    if named and mode != "each" and chosen and known.issuperset(chosen):
        yield from _serving(inventory, doubts)
        yield from _nameable(inventory, doubts) if mode == "one" else ()
        yield from _countable(inventory, doubts) if mode == "one" else _edges(inventory, doubts)


def _serving(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    if any(_counted(n, doubts) or doubts.about(f"hosts[{n}].drained") for n in range(len(inventory.hosts))):
        return
    serving = [host for host in inventory.hosts if host.instances != 0]
    edges = inventory.balancing.hosts
    if not serving and len(edges) > 1 and len(edges) == len(inventory.hosts):
        yield Problem("hosts", "all balance, and none has an instance", "add a host with GPUs or cpu")
    elif not serving:
        yield Problem("hosts", "none has an instance", "give at least one GPUs or cpu")
    elif all(host.drained for host in serving):
        yield Problem("hosts", "every one with instances is drained", "leave at least one undrained")


def _countable(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    for number, host in _others(inventory):
        if host.instances is None and not _counted(number, doubts):
            fix = 'list them, or choose balancer.mode = "edge"'
            yield Problem(f"hosts[{number}].gpus", '"auto" cannot be counted from the balancing host', fix)
        if not IPV4.fullmatch(host.address) and not doubts.about(f"hosts[{number}].address"):
            what = f"{host.address!r} is no IPv4 address"
            fix = 'write the one its instances are to listen on, or choose balancer.mode = "edge"'
            yield Problem(f"hosts[{number}].address", what, fix)


def _nameable(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    """The others' instances listen on their host's address and are told, by address, who may connect."""
    for number, host in enumerate(inventory.hosts):
        doubtful = doubts.about(f"hosts[{number}].address", "settings.allow") or _lets_in(inventory)
        if host.name in inventory.balancing.hosts and not IPV4.fullmatch(host.address) and not doubtful:
            what = f"{host.address!r} is no IPv4 address, by which the other hosts' instances would let it in"
            yield Problem(f"hosts[{number}].address", what, "write one, or name who may connect in settings.allow")


def _lets_in(inventory: Inventory) -> bool:
    return PREFIX + "ALLOW" in inventory.settings


def _edges(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    edges = inventory.balancing.hosts
    for number, host in enumerate(inventory.hosts):
        if len(edges) > 1 and host.name in edges and host.instances != 0 and not _counted(number, doubts):
            what = "of several balancing hosts none may have instances: they would send requests in circles"
            yield Problem(f"hosts[{number}].gpus", what, "write gpus = [] and no cpu, or name one balancing host")


def _wrong_folders(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    folders = inventory.folders
    if not doubts.about("folders.run") and not folders.run.is_relative_to("/run"):
        yield Problem("folders.run", f"{folders.run} is not below /run", "choose a folder that a boot empties")
    if (size := len(str(folders.paths.supervisor_socket).encode())) > MAX_SOCKET_PATH_BYTES:
        what = f"a socket's path below {folders.run} has {size} bytes, {MAX_SOCKET_PATH_BYTES} are possible"
        yield Problem("folders.run", what, "choose a shorter path")
    names = ("install", "etc", "state", "run", "log")
    sure = [str(getattr(folders, name)) for name in names if not doubts.about(f"folders.{name}")]
    for twice in more_than_once(sure):
        yield Problem("folders", f"{twice} is used twice", "give each its own")


def _wrong_keys(inventory: Inventory) -> Iterator[Problem]:
    keys = inventory.keys
    if keys.file and not keys.own:
        what = "missing: a deploy asks each new instance about a picture, and needs a key for that"
        yield Problem("keys.own", what, "write one of the keys into a file for root alone, and name it")
    if keys.own and not keys.file:
        yield Problem("keys.own", "there are no keys without keys.file", "name that too, or leave this out")


def _balancers(inventory: Inventory) -> tuple[str, ...]:
    return () if inventory.balancing.mode == "each" else inventory.balancing.hosts


def _others(inventory: Inventory) -> Iterator[tuple[int, Host]]:
    """Hosts that do not balance, with their number in the file."""
    return ((n, host) for n, host in enumerate(inventory.hosts) if host.name not in inventory.balancing.hosts)
