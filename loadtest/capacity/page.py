"""One self-contained page about a capacity: [Capacity] -> HTML text. It is rendered here and written elsewhere."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from loadtest.capacity import answer, charts, curve
from loadtest.capacity.gate import Comparison
from loadtest.capacity.records import Capacity
from loadtest.capacity.row import Row
from loadtest.report.plots import Plot
from loadtest.report.report import Tile
from loadtest.report.table import milliseconds
from loadtest.target import proof, service_status


def render(found: Capacity, comparison: Comparison | None = None) -> str:
    """The page; it needs no other file and no network."""
    environment = Environment(
        loader=PackageLoader("loadtest"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ms"] = lambda value: "-" if value is None else milliseconds(value)
    return environment.get_template("capacity.html.j2").render(_context(found, comparison))


def tiles(found: Capacity) -> tuple[Tile, ...]:
    """The figures that answer the first questions."""
    slo, row = found.slo, answer.row_at(found)
    verified = "-" if found.verified_fps is None else f"{found.verified_fps:.1f}"
    return (
        Tile("Capacity, frames/s", f"{slo.estimate:.1f}", f"{slo.low:.1f} to {slo.high:.1f}, 95 % confidence", "good"),
        Tile(
            "Verified",
            verified,
            f"held {found.repetitions} times in a row" if found.verified_fps else "no rate held every time",
            "plain" if found.verified_fps else "warn",
        ),
        Tile("Per instance", f"{slo.estimate / found.instances:.1f}" if found.instances else "-", "frames/s", "plain"),
        Tile(
            f"Latency p95 at {row.asked_fps:.1f}",
            f"{milliseconds(row.times.p95_ms)} ms" if row.times else "-",
            f"SLO {found.slo_ms:g} ms",
            "plain",
        ),
        Tile("Knee, frames/s", f"{found.knee_fps:.1f}", "latency takes over beyond it", "plain"),
    )


def _context(found: Capacity, comparison: Comparison | None) -> dict[str, Any]:
    return {
        "found": found,
        "headline": answer.headline(found),
        "tiles": tiles(found),
        "warning": _warning(found),
        "simulated": service_status.simulated(found.provenance.status),
        "comparison": comparison,
        "trust": answer.trust_text(found),
        "plots": _plots(found),
        "timelines": found.timelines,
        "row": answer.row_at(found),
        "rows": sorted(found.rows, key=lambda row: row.asked_fps),
        "law": found.scaling,
        "scaling_text": answer.scaling_text(found),
        "batch_text": answer.batch_text(found),
        "little_text": answer.little_text(found),
        "provenance": provenance(found),
    }


def _warning(found: Capacity) -> str:
    part = found.provenance.detecting
    if part is None or part >= proof.FEW:
        return ""
    return f"The service finds something in {part:.0%} of the frames: that answers stay the same proves little"


def _plots(found: Capacity) -> tuple[Plot, ...]:
    plots = [charts.latency(found), charts.throughput(found), charts.stages(found)]
    plots += [charts.batch(found.batch)] if found.batch else []
    plots += [charts.scaling(found.scaling)]
    plots += [charts.timeline(one, number) for number, one in enumerate(found.timelines)]
    return tuple(plot for plot in plots if plot)


def provenance(found: Capacity) -> list[tuple[str, str]]:
    """Pairs of name and text: all that is needed to measure the same again."""
    source, status = found.provenance, found.provenance.status
    cpu = "the service does not tell" if found.cpu_ms is None else f"{found.cpu_ms:.2f} ms of CPU a frame"
    calm: tuple[Row, ...] = curve.calm(found.rows)
    return [
        ("Service", f"{source.url}{source.route}, release {status.get('release') or 'unknown'}"),
        ("Model", f"{service_status.text(status, 'model', 'name')}, engine {service_status.engine(status)}"),
        ("Frames", f"{source.video}, {source.frame}, {source.request_bytes / 1e3:.1f} kB each"),
        ("Answers", f"{source.response_bytes / 1e3:.2f} kB each, every one held against the one without load"),
        ("The same means", source.right or "unknown"),
        ("SLO", f"{found.in_time_wanted:.0%} of all frames as without load within {found.slo_ms:g} ms of their moment"),
        ("Instances' CPU", cpu),
        (
            "Steps",
            f"{len(found.rows)}, {len(calm)} of them on the curve, {calm[0].seconds:.0f} s each" if calm else "0",
        ),
        ("Seed", f"{source.seed}, and one more for each step"),
        ("Started", source.started),
        ("Revision", source.revision or "unknown"),
        ("Load made on", str(source.machine)),
        ("Versions", ", ".join(f"{name} {number}" for name, number in source.versions.items())),
    ]
