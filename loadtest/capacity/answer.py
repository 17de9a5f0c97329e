"""A capacity in ten lines for a terminal: [Capacity] -> text. Pure."""

from loadtest.capacity.records import Capacity, made_here
from loadtest.capacity.row import Row
from loadtest.target import service_status

LITTLE_WITHIN = 0.05
# What cameras give, frames/s; the answer counts those of the first rate that the fleet holds at all.
CAMERA_FPS = (25, 10, 5, 1)


def render(found: Capacity) -> str:
    """The answer first, then what it rests on."""
    row = row_at(found)
    return "\n".join([headline(found), *(f"{name:<12}{text}" for name, text in _lines(found, row))])


def headline(found: Capacity) -> str:
    """The answer in a sentence."""
    who = f"{found.instances} instance{'s' if found.instances != 1 else ''}"
    model = service_status.text(found.provenance.status, "model", "name")
    least = "" if found.bounded else "at least "
    unsure = "" if found.verified_fps else "; no rate held every time"
    return (
        f"{who} of {model} hold{'s' if found.instances == 1 else ''} {least}"
        f"{found.slo.estimate:.1f} frames/s within {found.slo_ms:g} ms (95 % of all frames){_cameras(found)}{unsure}."
    )


def _cameras(found: Capacity) -> str:
    """How many cameras fit for certain: at the lower bound of the interval."""
    for fps in CAMERA_FPS:
        if count := int(found.slo.low // fps):
            return f": {count} camera{'s' if count != 1 else ''} at {fps} frames/s"
    return ""


def row_at(found: Capacity) -> Row:
    """The step that shows the fleet at its capacity: the fastest that held, else the slowest of all.

    Beyond the capacity a step holds by luck, and its latency is none that the fleet can keep.
    """
    held = [row for row in found.rows if row.holds and row.kind in ("sweep", "verify")]
    if held:
        within = [row for row in held if row.asked_fps <= max(found.slo.estimate, found.verified_fps or 0.0)]
        return max(within or held, key=lambda row: row.asked_fps)
    return min(found.rows, key=lambda row: row.asked_fps)


def place_text(found: Capacity) -> str:
    """What answered, and whether it had its machine to itself."""
    source = found.provenance
    engine, cores = service_status.engine(source.status), source.machine.cores
    if not made_here(source.url):
        return f"{engine}; the load came from another machine"
    shared = f"{cores} core{'s' if cores != 1 else ''}"
    return f"{engine}; on {shared} that also made the load: without it the fleet may hold more"


def verified_text(found: Capacity) -> str:
    """What the repetitions said."""
    if found.verified_fps is None:
        return f"no rate held {found.repetitions} times in a row"
    return f"{found.verified_fps:.1f} frames/s held {found.repetitions} of {found.repetitions} times"


def scaling_text(found: Capacity) -> str:
    """How capacity grows with instances."""
    law = found.scaling
    if law.measured == 1:
        return "one fleet size measured: growth is assumed to be linear, not known"
    text = (
        f"USL over {', '.join(f'{p.instances}' for p in law.points)} instances: {law.one_fps:.1f} frames/s each, "
        f"contention {law.contention:.3f}, coherency {law.coherency:.4f}"
    )
    return text + ("; smaller fleets do less per instance" if law.faster_than_linear else "")


def batch_text(found: Capacity) -> str:
    """What a batch costs."""
    if found.batch is None:
        return "all batches had one size, or the service does not tell"
    return f"{found.batch.a_ms:.2f} ms + {found.batch.b_ms:.2f} ms a frame, +- {found.batch.error_ms:.2f} ms"


def little_text(found: Capacity) -> str:
    """Whether the steps that held were in steady state."""
    checked = [row for row in found.rows if row.little and row.holds]
    if not checked:
        return "no step met the SLO and was answered, so Little's law was not looked at"
    fine = [row for row in checked if row.little and row.little.error <= LITTLE_WITHIN]
    return f"Little's law holds within {LITTLE_WITHIN:.0%} in {len(fine)} of {len(checked)} steps that met the SLO"


def trust_text(found: Capacity) -> str:
    """Whether the measurement itself can be trusted."""
    doubted = [row for row in found.rows if row.doubts]
    if not doubted:
        return f"all {len(found.rows)} steps are valid"
    held, left_out = sum(row.holds for row in doubted), sum(not row.trusted for row in doubted)
    return (
        f"the generator was not up to {len(doubted)} of {len(found.rows)} steps; {left_out} that missed are left out, "
        f"{held} met the SLO in spite of it, {len(doubted) - held - left_out} missed it from the send on too"
    )


def _lines(found: Capacity, row: Row) -> list[tuple[str, str]]:
    slo = found.slo
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in row.stages.items())
    outside = "" if row.outside_ms is None else f", outside {row.outside_ms:.1f}"
    shares = ", ".join(f"{share.name} {share.share:.0%}" for share in row.shares)
    return [
        ("on", place_text(found)),
        ("interval", f"{slo.low:.1f} to {slo.high:.1f} frames/s, 95 % confidence; {verified_text(found)}"),
        (
            "peak, knee",
            f"{found.peak_fps:.1f} frames/s answered at most; latency takes over beyond {found.knee_fps:.1f}",
        ),
        ("stages, ms", f"{stages}{outside} at {row.asked_fps:.1f} frames/s" if stages else "the service names none"),
        ("shares", shares or "none answered"),
        ("a batch", batch_text(found)),
        ("scaling", scaling_text(found)),
        ("overload", found.timelines[0].text if found.timelines else "not measured"),
        ("checks", little_text(found)),
        ("trust", trust_text(found)),
    ]
