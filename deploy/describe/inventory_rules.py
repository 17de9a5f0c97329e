"""What in an inventory does not fit together, though every value is right by itself."""

from collections.abc import Iterator

from deploy.describe.inventory import Host, Inventory
from deploy.describe.tables import Doubts, more_than_once
from deploy.errors import Problem
from deploy.fleet import IPV4, MAX_SOCKET_PATH_BYTES, PREFIX, free_port

HTTPS_PORT = 443


def contradictions(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
    """Finds every pair of values that contradict each other, but for those with doubtful values."""
    if inventory.hosts:
        yield from _hosts(inventory, doubts)
        yield from _instances(inventory, doubts)
        if not doubts.about("balancer.mode", "balancer.hosts"):
            yield from _balancing(inventory, doubts)
    elif not doubts.about("hosts"):
        yield Problem("hosts", "there is none", "describe each machine under [[hosts]]")
    yield from _ports(inventory, doubts)
    yield from _folders(inventory, doubts)
    if not doubts.about("keys"):
        yield from _keys(inventory)


def _hosts(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
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


def _ports(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
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


def _instances(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
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


def _balancing(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
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


def _folders(inventory: Inventory, doubts: Doubts) -> Iterator[Problem]:
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


def _keys(inventory: Inventory) -> Iterator[Problem]:
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
