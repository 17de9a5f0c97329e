"""A plan from the cost of a batch that somebody knows from elsewhere: `4 + 1.2n` -> [Model], [Basis]. Pure.

Who has no accelerator here may still know what it takes for a batch of n frames: from another machine's capacity.json,
from `make bench-gpu`, from its maker. How many frames per second an instance of that cost holds within a limit is
worked out with the simulated instance, for frames that arrive at random.
"""

import re
from dataclasses import dataclass

from loadtest.capacity.fits import ScalePoint, Scaling
from loadtest.capacity.records import Capacity
from loadtest.capacity.row import IN_TIME_WANTED
from loadtest.errors import OptionError
from loadtest.plan import agreement
from loadtest.plan.basis import on_cpu
from loadtest.plan.fleet_model import Model
from loadtest.plan.records import Basis, PerFrame, Source
from loadtest.plan.simulation import Load, simulate

# What the engines of GPUs take at once unless they are told otherwise.
MAX_BATCH = 8
# Without a measurement: a JPEG of 1280x720 or so, a short answer, the SLO of `make capacity`, decoding and HTTP.
REQUEST_BYTES, RESPONSE_BYTES = 100_000.0, 500.0
P95_MS, AROUND_MS = 100.0, 5.0
LEAST_MS, MOST_MS = 0.01, 60_000.0
# Enough for a 95th percentile, few enough to try a dozen rates in a second or two.
TRIAL_FRAMES, HALVINGS = 5_000, 10
_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:\s*ms)?"
_BATCH, _FRAME = re.compile(_NUMBER), re.compile(rf"(?:{_NUMBER}\s*\*?\s*)?n")


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Time of a batch of n frames: `a_ms + b_ms * n`."""

    a_ms: float
    b_ms: float

    def __str__(self) -> str:
        parts = [f"{self.a_ms:g}"] * bool(self.a_ms) + [f"{self.b_ms:g}n"] * bool(self.b_ms)
        return f"{' + '.join(parts)} ms"


@dataclass(frozen=True, slots=True)
class Typed:
    """What somebody knows without a measurement of it.

    Attributes:
        cost: of a batch.
        max_batch: frames inferred together at most.
    """

    cost: BatchCost
    max_batch: int


def parse(text: str) -> BatchCost:
    """Reads `4 + 1.2n`: ms of a batch, and of each of its n frames; either may be left out, in any order.

    Raises:
        OptionError: it is something else, or no time at all.
    """
    found: dict[str, float] = {}
    for term in text.lower().split("+"):
        batch, frame = _BATCH.fullmatch(term.strip()), _FRAME.fullmatch(term.strip())
        kind, match = ("batch", batch) if batch else ("frame", frame)
        if match is None or kind in found:
            raise OptionError(f'--batch-ms="{text}": write the ms of one batch of n frames as "4 + 1.2n"')
        found[kind] = float(match[1] or 1)
    cost = BatchCost(found.get("batch", 0.0), found.get("frame", 0.0))
    if not LEAST_MS <= cost.a_ms + cost.b_ms <= MOST_MS:
        one_ms = cost.a_ms + cost.b_ms
        raise OptionError(f'--batch-ms="{text}": {one_ms:g} ms for one frame; must be {LEAST_MS:g} to {MOST_MS:,.0f}')
    return cost


def model_of(typed: Typed, measured: Capacity | None) -> Model:
    """An instance of that cost; what happens around its engine is taken from a measurement, if there is one."""
    around = agreement.model_of(measured) if measured and agreement.can_be_modelled(measured) else None
    return Model(
        a_ms=typed.cost.a_ms,
        b_ms=typed.cost.b_ms,
        spread_ms=0.0,
        max_batch=typed.max_batch,
        queue_size=around.queue_size if around else agreement.QUEUE_SIZE,
        around_ms=around.around_ms if around else AROUND_MS,
    )


def basis(typed: Typed, model: Model, measured: Capacity | None, p95_ms: float | None) -> Basis:
    """What a plan rests on then.

    Args:
        typed: the cost that was given.
        model: what `model_of` made of it.
        measured: of the same pictures on any engine, for their size and what they cost outside the engine.
        p95_ms: limit to be met; none takes the one of the measurement, or 100 ms.

    Raises:
        OptionError: not even one frame alone is answered within the limit.
    """
    limit_ms = p95_ms or (measured.slo_ms if measured else P95_MS)
    fps = held_fps(model, limit_ms)
    text = f"a batch of n frames takes {typed.cost}, at most {typed.max_batch} frames at once; nothing was measured"
    frame = measured.provenance.frame if measured else "a JPEG"
    return Basis(
        source=Source(text, frame, cpu_only=False, typed=True, instances=1, cores=None),
        scaling=Scaling(fps, 0.0, 0.0, (ScalePoint(1, fps),), measured=0, faster_than_linear=False),
        p95_ms=limit_ms,
        per_frame=_per_frame(measured, model),
        warnings=tuple(_warnings(typed, measured, model)),
    )


def held_fps(model: Model, limit_ms: float) -> float:
    """The highest rate, frames/s, at which one instance answers 95 % of frames that arrive at random in time.

    Raises:
        OptionError: there is none.
    """
    alone_ms = model.a_ms + model.b_ms + model.around_ms
    if alone_ms >= limit_ms:
        raise OptionError(
            f"--p95-ms={limit_ms:g}: one frame alone takes {alone_ms:.4g} ms, {model.around_ms:.4g} of it outside the "
            f"engine; ask for more"
        )
    low, high = 0.0, model.max_batch / (model.a_ms + model.b_ms * model.max_batch) * 1e3
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _holds(model, middle, limit_ms):
            low = middle
        else:
            high = middle
    if not low:
        raise OptionError(f"--p95-ms={limit_ms:g}: a batch takes too long for it; ask for more")
    return low


def _holds(model: Model, fps: float, limit_ms: float) -> bool:
    seconds = TRIAL_FRAMES / fps
    load = Load(
        instances=1,
        instances_per_host=1,
        fps=fps,
        streams=0,
        seconds=seconds,
        warm_s=seconds / 20,
        slo_ms=limit_ms,
        seed=1,
    )
    return simulate(model, load).in_time >= IN_TIME_WANTED


def _per_frame(measured: Capacity | None, model: Model) -> PerFrame:
    if measured is None:
        return PerFrame(REQUEST_BYTES, RESPONSE_BYTES, None)
    source = measured.provenance
    # On a GPU host the CPU does what goes on around the engine; a CPU engine's own work is not among it.
    cpu_ms = model.around_ms if on_cpu([measured]) else measured.cpu_ms
    return PerFrame(source.request_bytes, source.response_bytes, cpu_ms)


def _warnings(typed: Typed, measured: Capacity | None, model: Model) -> list[str]:
    found = [
        f"{typed.cost} was typed, not measured here: measure on one such host (`make capacity`) before you buy many"
    ]
    if measured is None:
        found.append(
            f"no measurement given: pictures of {REQUEST_BYTES / 1e3:g} kB (--frame-kb) and {AROUND_MS:g} ms a frame "
            f"for decoding and HTTP are assumed, and hosts are not checked for cores"
        )
    elif on_cpu([measured]):
        found.append(
            f"the CPU time of a frame is taken to be the {model.around_ms:.1f} ms that decoding and HTTP took where "
            f"CPU engines were measured"
        )
    return found
