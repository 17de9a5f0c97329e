"""What fleet.toml says, validated: which hosts there are, what runs on them, and who balances over whom.

Flow: fleet.toml -> fleet_file.read_inventory -> [Inventory] + one host's [Devices] -> host_fleet -> [Fleet] -> render.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.allowance import Allowance
from deploy.describe.placement import EVENLY, Own
from deploy.errors import Problem, SettingsError
from deploy.fleet import MAX_INSTANCES, MAX_PORT, SIMULATED, Monitoring, Tls
from deploy.paths import Folders

# each: clients go to any host, whose nginx balances over its own instances. one: one host's nginx balances over every
# instance of the fleet. edge: some hosts' nginx balance over the other hosts' nginx.
Mode = Literal["each", "one", "edge"]
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, slots=True)
class Model:
    """The model every instance serves.

    Attributes:
        file: path on the machine that makes bundles, relative to fleet.toml's folder, or `simulated:...`.
        sha256: hash the file must have; empty takes the file's own.
    """

    file: str
    sha256: str

    @property
    def simulated(self) -> bool:
        """True if there is no file."""
        return self.file.startswith(SIMULATED)


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the fleet.

    Attributes:
        name: what people and other hosts call it.
        address: where other machines reach it: an IPv4 address or a name.
        gpus: `auto` for all, else indices (`0`, `0:1` for a MIG device) and UUIDs.
        cpu: instances without a GPU.
        instances_per_gpu: instances that share each GPU.
        cpus_per_instance: CPUs that belong to each instance alone; `auto` deals them out, 0 shares a NUMA node's.
        settings: service settings by their whole name, over the fleet's.
        drained: True if no other host sends it requests.
    """

    name: str
    address: str
    gpus: Literal["auto"] | tuple[str, ...] = AUTO
    cpu: int = 0
    instances_per_gpu: int = 1
    cpus_per_instance: Own = EVENLY
    settings: Mapping[str, str] = field(default_factory=dict)
    drained: bool = False

    @property
    def instances(self) -> int | None:
        """How many instances it runs; None if only the host itself can tell."""
        return None if self.gpus == AUTO else len(self.gpus) * self.instances_per_gpu + self.cpu

    def is_on(self, hostname: str) -> bool:
        """True if a machine of that host name, with or without its domain, is this host."""
        return self.name in (hostname, hostname.partition(".")[0])


@dataclass(frozen=True, slots=True)
class Balancing:
    """Who takes clients' requests.

    Attributes:
        mode: see `Mode`.
        hosts: names of the hosts that do; empty in mode `each`, where all do.
        address: where their nginx listens.
        port: every host's nginx's port.
        tls: None for plain HTTP.
        allowance: how much one client may ask.
    """

    mode: Mode
    hosts: tuple[str, ...]
    address: str
    port: int
    tls: Tls | None
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Keys:
    """Who may ask.

    Attributes:
        file: hashes of the API keys, on every host; None lets everybody ask.
        own: file with one of those keys itself, that a host's own tools ask with; None with `file` alone.
    """

    file: Path | None = None
    own: Path | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """A validated fleet.toml.

    Attributes:
        model: what is served.
        settings: service settings by their whole name, for every instance.
        hosts: in the order of the file.
        balancing: who takes requests.
        first_port: the first instance's port on every host; the others follow.
        last_port: the last port an instance may have.
        user: who runs everything on a host.
        group: that user's group.
        nginx: its binary on the hosts.
        open_files: file descriptors per process.
        memory_mb: MiB that everything on a host together may hold; 0 for all there is.
        folders: where a host keeps its files.
        monitoring: who looks at it.
        keys: who may ask.
    """

    model: Model
    settings: Mapping[str, str]
    hosts: tuple[Host, ...]
    balancing: Balancing
    first_port: int
    last_port: int
    user: str
    group: str
    nginx: Path
    open_files: int
    memory_mb: int
    folders: Folders
    monitoring: Monitoring
    keys: Keys = Keys()

    @property
    def room(self) -> int:
        """How many instances its ports hold on a host."""
        return min(MAX_INSTANCES, self.last_port - self.first_port + 1)

    def over_room(self, where: str, instances: int) -> Problem:
        """Says that a host has more instances than `room`; `where` is the path of what makes them so many."""
        what = f"{instances} instances exceed the ports {self.first_port}-{self.last_port}"
        if instances > MAX_INSTANCES:
            return Problem(
                where, f"{instances} instances are more than a host may have", f"run {MAX_INSTANCES} at most"
            )
        needed = self.first_port + instances - 1
        tls = self.balancing.tls
        others = {self.balancing.port} | ({tls.port} if tls else set())
        if needed > MAX_PORT or not others.isdisjoint(range(self.first_port, needed + 1)):
            return Problem(where, what, f"move ports.first and ports.last to {instances} free ones, or run fewer")
        return Problem(where, what, f"raise ports.last ({MAX_INSTANCES} instances at most), or run fewer")

    def host(self, name: str) -> Host:
        """The host of that name.

        Raises:
            SettingsError: there is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise SettingsError(Problem(f"host {name}", "not in the inventory", f"there are: {names}"))

    def this_host(self, hostname: str) -> Host:
        """The host that a machine of that host name is; a single host is it whatever it is called.

        Raises:
            SettingsError: none has that name.
        """
        if len(self.hosts) == 1:
            return self.hosts[0]
        return next((host for host in self.hosts if host.is_on(hostname)), None) or self.host(hostname)
