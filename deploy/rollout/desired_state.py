"""Decides what a host should run: reads the inventory for it and expands that with what the host has.

Flow: fleet.toml + release + [Devices] -> [DesiredState] -> expand -> [Fleet] -> [Deployment].
"""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from deploy.describe.fleet_file import parse_inventory
from deploy.describe.host_fleet import host_fleet
from deploy.describe.inventory import Inventory
from deploy.errors import ControlError, PreflightError, Problem, SettingsError
from deploy.files.render import render
from deploy.fleet import Fleet
from deploy.machine.devices import Devices
from deploy.machine.target import Target
from deploy.release import Release, release_of
from deploy.rollout.history import Deployment, History
from framefleet.text_file import NotText, read_text

BUNDLED = "fleet.toml"


@dataclass(frozen=True, slots=True)
class Request:
    """What the person at the command line asked for.

    Attributes:
        inventory: fleet.toml to deploy from now on; None takes the host's own, or at first the bundle's.
        host: this host's name in there; None finds it.
        bundle: folder of the unpacked bundle; None if the release's model is in place already.
    """

    inventory: Path | None = None
    host: str | None = None
    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What a host should run, before it is expanded.

    Attributes:
        text: of the inventory.
        inventory: the same, read.
        host: the host's name.
        release: what to run.
        drained: names of hosts that were drained by hand.
    """

    text: str
    inventory: Inventory
    host: str
    release: Release
    drained: tuple[str, ...]

    @property
    def model_sha256(self) -> str:
        """Hash of the model to serve; empty for a stand-in, or if nobody knows it."""
        model = self.inventory.model
        if model.simulated:
            return ""
        bundled = self.release.model_sha256 if self.release.model == Path(model.file).name else ""
        return model.sha256 or bundled

    @property
    def model(self) -> str:
        """Where the model is on the host, or `simulated:...`."""
        model = self.inventory.model
        if model.simulated:
            return model.file
        if not self.model_sha256:
            there = self.release.model or "none"
            what = f"{Path(model.file).name} did not come with release {self.release.id}, whose model is {there}"
            fix = "make a bundle from this fleet.toml, or write model.sha256"
            raise SettingsError(Problem("model.file", what, fix))
        return str(self.inventory.folders.paths.model(self.model_sha256, Path(model.file).name))


def read_desired_state(request: Request, history: History, target: Target) -> DesiredState:
    """Finds the inventory and this host in it.

    Raises:
        SettingsError: there is none, it is wrong, or this host is not in it.
    """
    text = _text(request, history)
    inventory = parse_inventory(text)
    known = history.current or history.pending
    host = inventory.host(request.host or (known.host if known else _here(inventory, target)))
    _check_folders(inventory, target)
    return DesiredState(text, inventory, host.name, target.release, history.current.drained if history.current else ())


def expand(wanted: DesiredState, target: Target, devices: Devices, engines: Mapping[str, str] | None = None) -> Fleet:
    """Expands it into what runs on this host.

    Raises:
        SettingsError: the inventory does not fit the host.
    """
    return host_fleet(
        wanted.inventory,
        wanted.host,
        target.facts,
        devices,
        release=wanted.release.id,
        model=wanted.model,
        engines=engines,
        drained=wanted.drained,
    )


def desired_state_of(deployment: Deployment) -> DesiredState:
    """What a deployment was made from.

    Raises:
        ControlError: its release is gone.
    """
    folder = deployment.folders.releases / deployment.release
    release = release_of(folder)
    if release is None:
        raise ControlError(Problem(str(folder), "the release is gone", "deploy its bundle again"))
    return DesiredState(deployment.inventory, deployment.parsed, deployment.host, release, deployment.drained)


def make_deployment(wanted: DesiredState, fleet: Fleet, target: Target) -> Deployment:
    """Renders a fleet into something that can be deployed, and gone back to."""
    return Deployment(
        release=wanted.release.id,
        host=wanted.host,
        inventory=wanted.text,
        drained=wanted.drained,
        files=render(fleet),
        at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        by=target.machine.environ.get("SUDO_USER") or getpass.getuser(),
    )


def _here(inventory: Inventory, target: Target) -> str:
    return inventory.this_host(target.machine.hostname).name


def _text(request: Request, history: History) -> str:
    if request.inventory:
        return _read(request.inventory)
    if known := history.current or history.pending:
        own = known.folders.inventory
        # A first deploy that was cut off has not written it yet.
        return _read(own) if own.exists() else known.inventory
    if request.bundle:
        return _read(request.bundle / BUNDLED)
    raise SettingsError(Problem("fleet.toml", "this host has none yet", "name one: --fleet FILE"))


def _read(file: Path) -> str:
    try:
        return read_text(file)
    except NotText as error:
        raise SettingsError(Problem(str(file), str(error), error.fix)) from None
    except OSError as error:
        what = error.strerror or str(error)
        raise SettingsError(Problem(str(file), what, "name a fleet.toml: --fleet FILE")) from None


def _check_folders(inventory: Inventory, target: Target) -> None:
    wanted = inventory.folders.releases / target.release.id
    if wanted != target.code.repo:
        what = f"this release was built in {target.code.repo}, the inventory wants {wanted}"
        fix = f"deploy the bundle with INSTALL={inventory.folders.install}"
        raise PreflightError(Problem("folders.install", what, fix))
