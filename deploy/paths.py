"""Where a fleet keeps its files: one folder for developer runs, the system's own folders on a host."""

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one fleet. Folders are absolute with symbolic links resolved, to be compared with what /proc shows.

    Attributes:
        state: what must survive a reboot; names the fleet in messages.
        etc: rendered configuration; replaced as a whole.
        run: sockets, pid files and locks.
        log: one log file per program.
    """

    state: Path
    etc: Path
    run: Path
    log: Path

    @property
    def tmp(self) -> Path:
        """Request and answer bodies that outgrow nginx's memory buffers."""
        return self.state / "tmp"

    @property
    def home(self) -> Path:
        """Home of who runs the programs on a host: what engines, and libraries such as CUDA, work out once.

        Not the `cache` of the engine builder: root writes there, so nobody else may.
        """
        return self.state / "home"

    @property
    def models(self) -> Path:
        """Model files."""
        return self.state / "models"

    def model(self, sha256: str, name: str) -> Path:
        """Where a host keeps the model of that hash and file name."""
        return self.models / sha256 / name

    @property
    def stage(self) -> Path:
        """Where a configuration is tried before it is used."""
        return self.state / "stage"

    @property
    def etc_new(self) -> Path:
        """The next configuration, on its way to becoming `etc`."""
        return self.etc.with_name(f"{self.etc.name}.new")

    @property
    def etc_previous(self) -> Path:
        """The configuration before this one."""
        return self.etc.with_name(f"{self.etc.name}.previous")

    @property
    def record(self) -> Path:
        """The fleet that was asked for last, as JSON."""
        return self.etc / "fleet.json"

    @property
    def supervisor_conf(self) -> Path:
        """What supervisord is started with; its appearance in a command line marks this fleet's supervisord."""
        return self.etc / "supervisor" / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord takes orders; programs it starts carry this path in their environment."""
        return self.run / "supervisor.sock"

    @property
    def waiting_room(self) -> Path:
        """Where nginx sends requests while no instance listens; the reviver's process takes them."""
        return self.run / "room.sock"

    @property
    def supervisor_pid(self) -> Path:
        """Written by supervisord."""
        return self.run / "supervisord.pid"

    @property
    def nginx_conf(self) -> Path:
        """What nginx is started with."""
        return self.etc / "nginx" / "nginx.conf"

    @property
    def nginx_pid(self) -> Path:
        """Written by the nginx master."""
        return self.run / "nginx.pid"

    @property
    def nginx_loaded(self) -> Path:
        """Digest of the nginx files the running balancer has read."""
        return self.run / "nginx.loaded"

    @property
    def lock(self) -> Path:
        """Held by who works on the fleet."""
        return self.run / "lock"

    @property
    def winding_down(self) -> Path:
        """While it exists, the balancer ends every connection with its next answer."""
        return self.run / "winding-down"

    @property
    def programs_json(self) -> Path:
        """What every program is doing, for the fleet page; written by the reviver."""
        return self.run / "programs.json"

    @property
    def programs_prom(self) -> Path:
        """The same for Prometheus."""
        return self.run / "programs.prom"

    @property
    def quarantine(self) -> Path:
        """Hashes of pictures that instances died of, their secret, who listens or drains; written by the instances."""
        return self.run / "quarantine"

    @property
    def access_log(self) -> Path:
        """One JSON line per request the balancer answered."""
        return self.log / "balancer-access.log"

    def log_of(self, program: str) -> Path:
        """The log file of one program, or of supervisord itself."""
        return self.log / f"{program}.log"

    def folders(self) -> tuple[Path, ...]:
        """Every folder the programs expect to exist."""
        return (self.etc, self.run, self.log, self.tmp)


@dataclass(frozen=True, slots=True)
class Folders:
    """A host's folders, as fleet.toml names them.

    Attributes:
        install: releases, and the links to the one that runs and the one before.
        etc: the inventory and the configuration rendered from it.
        state: models, and what a deploy notes down.
        run: sockets, pid files and locks; below /run, so that it is empty after a boot.
        log: log files.
    """

    install: Path = Path("/opt/framefleet")
    etc: Path = Path("/etc/framefleet")
    state: Path = Path("/var/lib/framefleet")
    run: Path = Path("/run/framefleet")
    log: Path = Path("/var/log/framefleet")

    @property
    def releases(self) -> Path:
        """One folder per release, named by its id."""
        return self.install / "releases"

    @property
    def current(self) -> Path:
        """Link to the release that runs."""
        return self.install / "current"

    @property
    def previous(self) -> Path:
        """Link to the release that ran before."""
        return self.install / "previous"

    @property
    def inventory(self) -> Path:
        """The fleet.toml that this host was deployed from."""
        return self.etc / "fleet.toml"

    @property
    def paths(self) -> Paths:
        """The files of the fleet that runs here."""
        return Paths(state=self.state, etc=self.etc / "rendered", run=self.run, log=self.log)

    def below(self, root: Path) -> "Folders":
        """The same folders under another root, such as a machine's file system that is mounted somewhere."""
        return Folders(*(root / getattr(self, field.name).relative_to("/") for field in fields(self)))


def local_paths(var: Path) -> Paths:
    """The files of a developer's fleet, all below one folder."""
    return Paths(state=var, etc=var / "etc", run=var / "run", log=var / "log")
