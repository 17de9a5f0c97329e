"""What the options of a plan may be: one table, and one way to refuse the rest."""

from loadtest.errors import OptionError

# Of a value that is no slip but a joke.
MOST_SHOWN = 24
# A camera that sends less than a frame in three hours, or a million of them, is a slip of the finger; and a plan for it
# would take for ever, or divide by nothing.
LIMITS: dict[str, tuple[float, float]] = {
    "streams": (1, 1_000_000),
    "fps": (0.0001, 10_000),
    "p95-ms": (0.1, 600_000),
    "target": (0.01, 1),
    "instances-per-host": (1, 1024),
    "gpus-per-host": (0, 64),
    "cores-per-host": (0.1, 4096),
    "nic-gbps": (0.001, 10_000),
    "host-price": (0, 1e12),
    "gpu-price": (0, 1e12),
    "frame-kb": (0.1, 100_000),
    "max-batch": (1, 1024),
}


def demand_within(name: str, value: float | None) -> None:
    """Makes sure that an option's value is in its range; one that was not given is.

    Raises:
        OptionError: it is not, or is no number at all (NaN).
    """
    low, high = LIMITS[name]
    if value is not None and not low <= value <= high:
        raise OptionError(f"--{name}={str(value)[:MOST_SHOWN]}: must be from {low:,} to {high:,}")
