"""Where test machines stand: one bridge between them and the tests, one ssh key, one folder for their disks."""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.hosts.cgroups import groups_like, remove_groups
from tests.hosts.debian import debian_tree
from tests.hosts.machines import Machine

BRIDGES = "ffh"  # and the id of the process that owns it


class Lab:
    """Makes machines; see `lab`."""

    def __init__(self, tree: Path, folder: Path, bridge: str, network: str) -> None:
        self._tree, self._folder, self._bridge, self._network = tree, folder, bridge, network
        self._key = folder / "key"
        self._machines: list[Machine] = []
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)

    @property
    def key(self) -> Path:
        """The private ssh key that opens every machine."""
        return self._key

    def machine(self, name: str, like: Machine | None = None) -> Machine:
        """A new machine, switched off.

        Args:
            name: its host name.
            like: a machine that is switched off and will stay so; the new one begins with all that is on its disk.
        """
        assert like is None or not like.runs, "only a machine that is off can be copied"
        number = len(self._machines) + 2
        layers = (like.disk, *like.layers) if like else (self._tree,)
        machine = Machine(
            name,
            address=f"{self._network}.{number}",
            folder=self._folder / f"{number}-{name}",
            layers=layers,
            bridge=self._bridge,
            key=self._key,
        )
        self._machines.append(machine)
        return machine

    def close(self) -> None:
        """Cuts every machine's power, even if one resists."""
        with ExitStack() as stack:
            for machine in self._machines:
                stack.callback(machine.power_cut)


@contextmanager
def lab(cache: Path) -> Iterator[Lab]:
    """A place for machines; all of them are gone afterwards."""
    tree = debian_tree(cache)
    clear_away_leftovers(cache)
    bridge = f"{BRIDGES}{os.getpid()}"
    network = _free_network()
    folder = cache / "machines" / str(os.getpid())
    folder.mkdir(parents=True)
    _ip("link", "add", bridge, "type", "bridge")
    try:
        _ip("address", "add", f"{network}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made = Lab(tree, folder, bridge, network)
        try:
            yield made
        finally:
            made.close()
    finally:
        _ip("link", "delete", bridge)
        shutil.rmtree(folder)


def clear_away_leftovers(cache: Path) -> None:
    """Removes what a test run left that was killed: its machines died with it, other things of it did not."""
    for owner in re.findall(rf"^\d+: {BRIDGES}(\d+):", _ip("link"), re.MULTILINE):
        if not _runs(owner):
            _ip("link", "delete", f"{BRIDGES}{owner}")
    remove_groups(tuple(group for group in groups_like(f"{BRIDGES}*") if not _runs(group.name[len(BRIDGES) :])))
    for folder in cache.glob("*/[0-9]*"):
        if not _runs(folder.name):
            shutil.rmtree(folder)


def _runs(owner: str) -> bool:
    return Path("/proc", owner.partition("-")[0]).exists()


def _free_network() -> str:
    """The first three numbers of a /24 that nothing here has a route to."""
    taken = _ip("route")
    networks = [f"10.{random.randrange(64, 128)}.{random.randrange(256)}" for _ in range(64)]
    return next(network for network in networks if f"{network}." not in taken)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
