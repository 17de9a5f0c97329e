"""Finds the processes that belong to one fleet, by marks that no other process carries; reads /proc, nothing else.

- supervisord: its command line names this fleet's configuration file.
- instances: their environment names this fleet's supervisor socket, which supervisord puts there.
- nginx: its command line names this fleet's configuration (master), or it holds a log of this fleet open (workers,
  whose command line and environment nginx overwrites).
"""

import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.paths import Paths

Kind = Literal["supervisord", "balancer", "instance"]
PROC = Path("/proc")
LISTEN = "0A"
# Of /proc/PID/stat: stopped by a signal or a debugger; able to run, or waiting for a disk, but not run.
STOPPED = frozenset("Tt")
STARVED = frozenset("RD")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a fleet.

    Attributes:
        pid: its id.
        parent: its parent's id.
        kind: what it does in the fleet.
    """

    pid: int
    parent: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Listening:
    """Where sockets listen.

    Attributes:
        host: an address of this machine; 0.0.0.0 or :: for every one.
        port: TCP.
    """

    host: str
    port: int


def fleet_processes(paths: Paths, proc: Path = PROC) -> tuple[Process, ...]:
    """Lists the living processes of the fleet in `paths`, in the order of their ids.

    Of other users' processes those are found that their command line marks; zombies are left out.
    """
    found = []
    for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()):
        # A process may end between any two reads; then it is none of the fleet's any more.
        try:
            kind = _kind(proc / str(pid), paths)
            parent = _parent(proc / str(pid)) if kind else 0
        except OSError:
            continue
        if kind and pid != os.getpid():
            found.append(Process(pid, parent, kind))
    return tuple(found)


def serving_workers(paths: Paths, proc: Path = PROC) -> frozenset[int]:
    """Ids of the nginx workers of this fleet that still accept connections: those not told to finish."""
    return serving_among(balancer_processes(paths, proc), proc)


def serving_among(nginx: Collection[Process], proc: Path = PROC) -> frozenset[int]:
    """Those of the processes."""
    return frozenset(process.pid for process in nginx if _is_serving_worker(proc / str(process.pid)))


def balancer_processes(paths: Paths, proc: Path = PROC) -> tuple[Process, ...]:
    """Lists nginx's masters and workers of this fleet alone, which is quicker than to list all of its processes."""
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit() and _comm(entry) == "nginx":
            with suppress(OSError):
                if _kind(entry, paths) == "balancer":
                    found.append(Process(int(entry.name), _parent(entry), "balancer"))
    return tuple(sorted(found, key=lambda process: process.pid))


def family(pid: int, proc: Path = PROC) -> tuple[int, ...]:
    """A process and its children, as far as they live."""
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int(entry.name) == pid or _parent(entry) == pid:
                    found.append(int(entry.name))
    return tuple(found)


def thread_states(pid: int, proc: Path = PROC) -> frozenset[str]:
    """The states that a process's threads are in, as letters of /proc/PID/stat; empty for what is gone."""
    states = set()
    with suppress(OSError):
        for thread in (proc / str(pid) / "task").iterdir():
            with suppress(OSError):
                states.add(_stat(thread)[0])
    return frozenset(states)


def is_stopped(pid: int, proc: Path = PROC) -> bool:
    """True if no thread of a process can run before somebody lets it go on."""
    states = thread_states(pid, proc)
    return bool(states) and states <= STOPPED


def connections_waiting(pids: Collection[int], proc: Path = PROC) -> Mapping[int, int]:
    """How many connections wait to be accepted by each process of an nginx.

    Its workers hold each other's sockets too, but each watches its own alone, with epoll. Where nobody watches, it is
    for the master, which watches none, to start who does.
    """
    watched = {pid: set(_watched(proc / str(pid))) for pid in pids}
    by_somebody = set().union(*watched.values())
    theirs = {pid: watched[pid] or {*_targets(proc / str(pid))} - by_somebody for pid in pids}
    rows = [(inode, waiting) for _, inode, waiting in _listening_rows(proc) if waiting]
    return {pid: sum(waiting for inode, waiting in rows if inode in theirs[pid]) for pid in pids}


def cpu_ticks(pid: int, proc: Path = PROC) -> int:
    """CPU time that a process and its children have used, in clock ticks; 0 for what is gone."""
    ticks = 0
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = _stat(entry)
                if int(entry.name) == pid or int(fields[1]) == pid:
                    ticks += int(fields[11]) + int(fields[12])
    return ticks


def port_owner(port: int, proc: Path = PROC) -> str:
    """Says which process listens on a TCP port of 127.0.0.1 or of every address; empty if that cannot be seen."""
    inodes = {inode for where, inode in _listening(proc) if where.port == port}
    for entry in proc.iterdir():
        if entry.name.isdigit() and inodes & set(_targets(entry)):
            return f"{_comm(entry)}, pid {entry.name}"
    return ""


def ports_of_session(session: int, proc: Path = PROC) -> frozenset[int]:
    """TCP ports that the processes of one session listen on."""
    targets: set[str] = set()
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if _session(entry) == session:
                    targets |= set(_targets(entry))
    return frozenset(where.port for where, inode in _listening(proc) if inode in targets)


def listening_sockets(pids: Collection[int], proc: Path = PROC) -> Mapping[Listening, int]:
    """Where some processes listen, and how many sockets they have there; one that several of them hold counts once."""
    targets = {target for pid in pids for target in _targets(proc / str(pid))}
    return Counter(where for where, inode in _listening(proc) if inode in targets)


def holds_open(pid: int, file: Path, proc: Path = PROC) -> bool:
    """True if a process has a file open, and not one that bore this name before; also if that cannot be told."""
    try:
        wanted = file.stat()
        found = [descriptor.stat() for descriptor in (proc / str(pid) / "fd").iterdir()]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not stat.S_ISREG(wanted.st_mode) or any(os.path.samestat(wanted, each) for each in found)


def can_be_shared(where: Listening) -> bool:
    """True if a process of this user may listen there beside those that do, as all of them asked for `reuseport`."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            trial.bind((where.host, where.port))  # without listen() it is dealt no connection
        except OSError:
            return False
    return True


def _kind(process: Path, paths: Paths) -> Kind | None:
    arguments = (process / "cmdline").read_bytes().split(b"\0")
    if os.fsencode(paths.supervisor_conf) in arguments:
        return "supervisord"
    if _comm(process) == "nginx":
        logs = f"{paths.log}{os.sep}"
        mine = _is_master(process, paths) or any(target.startswith(logs) for target in _targets(process))
        return "balancer" if mine else None
    mark = b"SUPERVISOR_SERVER_URL=unix://" + os.fsencode(paths.supervisor_socket)
    return "instance" if mark in (process / "environ").read_bytes().split(b"\0") else None


def _is_master(process: Path, paths: Paths) -> bool:
    try:
        return os.fsencode(paths.nginx_conf) in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _is_serving_worker(process: Path) -> bool:
    try:
        title = (process / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return False
    # By what it says it is: of a master that ends, nothing can be read for a moment.
    return b"worker process" in title and b"is shutting down" not in title


def _comm(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"


def _parent(process: Path) -> int:
    return int(_stat(process)[1])


def _session(process: Path) -> int:
    return int(_stat(process)[3])


def _stat(process: Path) -> list[str]:
    """Fields of /proc/PID/stat from the state on."""
    # The command name, in brackets, may itself contain spaces and brackets.
    return (process / "stat").read_text().rpartition(")")[2].split()


def _targets(process: Path) -> Iterator[str]:
    """What the process's file descriptors refer to."""
    try:
        for descriptor in (process / "fd").iterdir():
            yield str(descriptor.readlink())
    except OSError:
        return


def _watched(process: Path) -> Iterator[str]:
    """What a process waits for with epoll, as its file descriptors refer to it."""
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == "anon_inode:[eventpoll]":
                    lines = (process / "fdinfo" / descriptor.name).read_text().splitlines()
                    for number in [line.split()[1] for line in lines if line.startswith("tfd:")]:
                        with suppress(OSError):
                            yield str((process / "fd" / number).readlink())


def _listening(proc: Path) -> Iterator[tuple[Listening, str]]:
    """Where somebody listens, with the socket as file descriptors refer to it."""
    return ((where, inode) for where, inode, _ in _listening_rows(proc))


def _listening_rows(proc: Path) -> Iterator[tuple[Listening, str, int]]:
    """The same, with how many connections wait to be accepted there."""
    # IPv6 sockets of every address take IPv4 connections too.
    for table in ("tcp", "tcp6"):
        try:
            rows = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTEN:
                host, _, port = fields[1].rpartition(":")
                waiting = int(fields[4].partition(":")[2], 16)
                yield Listening(_address(host), int(port, 16)), f"socket:[{fields[9]}]", waiting


def _address(text: str) -> str:
    """An address as /proc/net prints it: words of 32 bits, each in the machine's own byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
