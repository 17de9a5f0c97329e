"""What runs on one machine, as frozen records; local.py and host_fleet.py make them, everything after reads them.

Flow: command line -> local_fleet | fleet.toml -> host_fleet -> [Fleet] -> render -> rollout.
"""

import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.allowance import NO_LIMITS, Allowance
from deploy.paths import Paths

LOOPBACK = "127.0.0.1"
PREFIX = "FRAMEFLEET_"
SIMULATED = "simulated:"
REVIVER = "reviver"
# The fleet decides these per instance; nobody else's values are passed on.
OWNED = frozenset(PREFIX + name for name in ("HOST", "PORT", "INSTANCE", "RELEASE", "CPUS"))
MAX_INSTANCES = 64
MAX_PORT = 65535
# supervisord's own default is 1024; every connection of a program it starts needs one.
OPEN_FILES = 65536
# Linux: sockaddr_un holds 108 bytes with the final NUL, and supervisord binds "<path>.<pid>" before it renames.
MAX_SOCKET_PATH_BYTES = 107 - len(".4194304")
# Quotes and backslashes end supervisor's quoting, "$" is a variable to nginx, ";" and "#" start comments, and
# supervisor expands * ? [ ] in the paths it includes. No setting of a host needs any of them.
UNSAFE = re.compile(r"[\x00-\x1f\x7f\"'\\$;#*?\[\]]")
# People's own folders may have what render.py can quote. Supervisor quotes by " alone, and takes " ;" and " #" for the
# start of a comment whatever the quotes.
UNQUOTABLE = re.compile(r"[\x00-\x1f\x7f\"]|(?<=\s)[;#]")
# The folder that nginx's and supervisor's own files lie in has to do without what they expand there.
UNQUOTABLE_VAR = re.compile(rf"{UNQUOTABLE.pattern}|[\\$*?\[\]]")
# Of a variable, supervisor drops a ' at either end.
UNQUOTABLE_SETTING = re.compile(rf"{UNQUOTABLE.pattern}|^'|'$")
IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def free_port(usual: Sequence[int], taken: Collection[Container[int]]) -> int:
    """The first of the usual ports that is none of those taken: what a message may suggest. The last if none is."""
    return next((port for port in usual if not any(port in ports for ports in taken)), usual[-1])


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the fleet may use of the machine it runs on.

    Attributes:
        nginx: its binary.
        cores: CPU cores this process may use.
        open_files: hard limit of file descriptors per process.
        root: True if the fleet's processes run as uid 0.
        cwd: folder that relative model paths start at.
    """

    nginx: Path
    cores: int
    open_files: int
    root: bool
    cwd: Path


@dataclass(frozen=True, slots=True)
class Code:
    """What a program is started from.

    Attributes:
        repo: absolute folder that holds `service/` and `deploy/`.
        python: the interpreter that has their dependencies.
    """

    repo: Path
    python: Path


@dataclass(frozen=True, slots=True)
class Instance:
    """One gunicorn process with one model.

    Attributes:
        name: supervisor program, log file, X-Instance header.
        host: address it listens on.
        port: port it listens on.
        environment: what supervisord adds to its environment.
        device: UUID of its GPU or MIG device, or `cpu`.
    """

    name: str
    host: str
    port: int
    environment: Mapping[str, str]
    device: str = "cpu"

    @property
    def url(self) -> str:
        """Where the instance answers."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A server on another machine that the balancer sends requests to: that machine's nginx, or an instance there.

    Attributes:
        name: of the host or instance, for people.
        host: its address.
        port: its port.
        weight: its share of requests against the other servers'; an instance has 1.
        drained: True if it gets no requests for now.
        instance: True if it is an instance.
    """

    name: str
    host: str
    port: int
    weight: int = 1
    drained: bool = False
    instance: bool = False


@dataclass(frozen=True, slots=True)
class Tls:
    """How the balancer speaks HTTPS.

    Attributes:
        certificate: PEM file with the whole chain.
        key: PEM file, readable by the user nginx runs as.
        port: where HTTPS listens.
        redirect: True if the balancer's plain port sends clients there; else that port is for this machine alone.
        hsts_days: days that browsers shall remember to come by HTTPS alone; 0 tells them nothing.
    """

    certificate: Path
    key: Path
    port: int
    redirect: bool
    hsts_days: int = 0


@dataclass(frozen=True, slots=True)
class Balancer:
    """The nginx in front of the instances.

    Attributes:
        host: address it listens on; 0.0.0.0 for every one.
        port: port it listens on for HTTP. This machine's own tools ask it here, with TLS too.
        workers: nginx worker processes.
        max_body_bytes: the largest request body, the same limit the instances have.
        read_timeout_s: s without a byte from an instance until the client gets a 504.
        peers: servers on other machines, beside the instances.
        drained: True if only the peers get requests for now.
        tls: None for plain HTTP.
        allowance: how much one client may ask.
        by_key: True if clients bring API keys, and are told apart by them.
        hold_ms: ms that a request may wait for an instance while none listens; 0 where a balancer in front asks others.
        edges: addresses of the nginxes that clients come through; what they say of a client's address counts.
    """

    host: str
    port: int
    workers: int
    max_body_bytes: int
    read_timeout_s: int
    peers: tuple[Peer, ...] = ()
    drained: bool = False
    tls: Tls | None = None
    allowance: Allowance = NO_LIMITS
    by_key: bool = False
    hold_ms: int = 0
    edges: tuple[str, ...] = ()

    name = "balancer"

    @property
    def stop_wait_s(self) -> int:
        """Seconds from SIGQUIT until supervisord kills nginx; above nginx's own limit for old workers."""
        return self.read_timeout_s + 15

    @property
    def url(self) -> str:
        """Where this machine's tools ask it."""
        everywhere = self.host == "0.0.0.0"
        return f"http://{LOOPBACK if everywhere or self.tls else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another host of the fleet, as the fleet page reaches it through this host's nginx.

    Attributes:
        name: the host's name.
        url: where its nginx listens.
    """

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Who may look at the fleet's figures, and who is told when something is wrong.

    Attributes:
        names: host names that figures are asked for by, beside addresses, localhost and the machine's own name.
        operators: addresses and networks that may read figures and the fleet page through the balancer.
        webhook: URL that gets the reviver's reports; empty for none.
        slo_ms: p95 of an answer that alerts and pages measure against, ms.
    """

    operators: tuple[str, ...] = (LOOPBACK,)
    webhook: str = ""
    slo_ms: int = 100
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """The systemd service that keeps supervisord alive on a host.

    Attributes:
        user: who runs everything.
        group: that user's group.
        gpus: True if the service needs NVIDIA's device files.
        run_folder: `Paths.run`, relative to /run; systemd makes it at every boot.
        memory_mb: MiB that everything together may hold; 0 for all there is.
    """

    user: str
    group: str
    gpus: bool
    run_folder: str
    memory_mb: int = 0

    name = "framefleet.service"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that is rendered, started and probed on one machine.

    Attributes:
        release: the id every instance shows on /readyz.
        model: absolute path or `simulated:...`.
        instances: in the order of their ports.
        balancer: nginx.
        paths: where the files are.
        machine: what runs it.
        code: what instances are started from; on a host the release's own folder, so that a new release is a change.
        lasting: what programs that outlive a release are started from; on a host the `current` link.
        stop_wait_s: s that supervisord waits after SIGTERM before it kills an instance.
        unit: None where people start supervisord themselves.
        monitoring: who looks at it.
        host: this machine's name in the fleet.
        address: where other machines reach it.
        neighbours: the other hosts that the fleet page shows.
        own_key: file with the API key that this machine's tools ask with; None if instances ask for none.
    """

    release: str
    model: str
    instances: tuple[Instance, ...]
    balancer: Balancer
    paths: Paths
    machine: HostFacts
    code: Code
    lasting: Code
    stop_wait_s: int = 45
    unit: Unit | None = None
    monitoring: Monitoring = Monitoring()
    host: str = "local"
    address: str = LOOPBACK
    neighbours: tuple[Neighbour, ...] = ()
    own_key: Path | None = None

    @property
    def servers(self) -> tuple["Instance | Balancer", ...]:
        """Everything that listens: the instances, then the balancer."""
        return (*self.instances, self.balancer)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Every address and port that has to be free before it starts."""
        tls = self.balancer.tls
        secure = ((self.balancer.host, tls.port),) if tls else ()
        return (*((server.host, server.port) for server in self.servers), *secure)

    @property
    def held_for(self) -> tuple[tuple[str, int], ...]:
        """Addresses of the instances that requests wait for while none listens; see deploy/guard/waiting_room.py."""
        if not self.balancer.hold_ms:
            return ()
        own = [] if self.balancer.drained else [(one.host, one.port) for one in self.instances]
        others = [(peer.host, peer.port) for peer in self.balancer.peers if peer.instance and not peer.drained]
        return (*own, *others)

    @property
    def redirects(self) -> bool:
        """True if clients who come by plain HTTP are sent to HTTPS."""
        tls = self.balancer.tls
        # On loopback alone, that port is the one for this machine's tools.
        return tls is not None and tls.redirect and self.balancer.host != LOOPBACK

    @property
    def stop_seconds(self) -> int:
        """Seconds until systemd kills what supervisord has not stopped, which is the balancer first, then instances."""
        return self.balancer.stop_wait_s + self.stop_wait_s + 15

    @property
    def watchers(self) -> tuple[str, ...]:
        """Names of supervisor's event listeners, which serve nobody."""
        return (REVIVER,)

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of all supervisor programs that serve."""
        return tuple(server.name for server in self.servers)
