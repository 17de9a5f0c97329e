"""Which fleet a plan's figures were measured on, and what hosts it had: [Capacity...] -> [Source]. Pure."""

from collections.abc import Sequence

from loadtest.capacity.provenance import made_here
from loadtest.capacity.records import Capacity
from loadtest.plan.records import Source
from loadtest.target import service_status


def of(measured: Sequence[Capacity]) -> Source:
    """What was measured, in words and in the figures that say which hosts it speaks of."""
    cpu_only, largest = on_cpu(measured), max(measured, key=lambda one: one.instances)
    status, cores = largest.provenance.status, cores_of(largest)
    shared = f" on {cores} core{'s' if cores != 1 else ''}" if cores else ""
    model, plural = service_status.text(status, "model", "name"), "s" if largest.instances != 1 else ""
    who = f"{largest.instances} instance{plural} of {model} ({service_status.engine(status)})"
    text = f"{who}{shared} held {largest.slo.estimate:.1f} frames/s"
    return Source(text, largest.provenance.frame, cpu_only, False, largest.instances, cores)


def cores_of(one: Capacity) -> int | None:
    """The cores of the machine that was measured: known only if the load was made on it too."""
    return one.provenance.machine.cores if made_here(one.provenance.url) else None


def on_cpu(measured: Sequence[Capacity]) -> bool:
    """Whether it was measured on engines that use no GPU; a simulated one stands for one that does."""
    return all(
        service_status.text(one.provenance.status, "engine", "device") == "cpu"
        and not service_status.simulated(one.provenance.status)
        for one in measured
    )
