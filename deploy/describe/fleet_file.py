"""Reads fleet.toml, the one description of a fleet, and says everything that is wrong with it at once.

Flow: fleet.toml -> read_inventory -> [Inventory] -> host_fleet. fleet.example.toml explains every key.
"""

import ipaddress
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from deploy.describe.allowance import Allowance, read_allowance
from deploy.describe.host_table import read_host, read_settings
from deploy.describe.inventory import Balancing, Inventory, Keys, Mode, Model
from deploy.describe.inventory_rules import contradictions
from deploy.describe.local import DEFAULT_MODEL
from deploy.describe.tables import Doubts, Table
from deploy.errors import Problem, SettingsError
from deploy.fleet import IPV4, MAX_PORT, OPEN_FILES, Monitoring, Tls
from deploy.paths import Folders
from framefleet.text_file import NotText, read_text

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


def parse_inventory(text: str) -> Inventory:
    """Reads and validates the text of a fleet.toml.

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
