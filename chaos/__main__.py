"""The command line: `python -m chaos`. Exit code 0 only if everything held that is expected."""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("chaos.__main__")


import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chaos.material import DEFAULT_MODEL, DEFAULT_VIDEO, PAGE, circumstances, copied, poison_picture, read_frames
from chaos.matrix import MATRIX, Fault
from chaos.rehearsal import ChaosError
from chaos.report import siege_of, to_markdown
from chaos.run import Campaign, Wish, campaign

# A batch helps little, so that a few dozen cameras fill it.
SIMULATED = "simulated:a_ms=10,b_ms=10"


def main(arguments: Sequence[str]) -> int:
    """Runs the matrix on each model; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    try:
        campaigns = [_campaign(model, options) for model in options.model or [str(options.default_model), SIMULATED]]
    except ChaosError as error:
        print(error, file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    before = options.out.read_text() if options.out.exists() else ""
    options.out.write_text(to_markdown(campaigns, circumstances(options.seed), siege_of(before)))
    print(f"written: {options.out}")
    return 0 if all(done.met for done in campaigns) else 1


def _campaign(model: str, options: argparse.Namespace) -> Campaign:
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        served = model if model.startswith("simulated:") else copied(Path(model), Path(folder).resolve())
        wish = Wish(
            folder=Path(folder),
            model=served,
            instances=options.instances,
            faults=_faults(options.only, file_model=served != model),
            share=options.share,
            minutes=options.minutes,
            seed=options.seed,
            frames=read_frames(options.video),
            poison=poison_picture(),
        )
        return campaign(wish, lambda line: print(line, flush=True))


def _faults(only: Sequence[str], *, file_model: bool) -> tuple[Fault, ...]:
    wanted = [fault for fault in MATRIX if file_model or not fault.file_model]
    return tuple(fault for fault in wanted if not only or any(word in fault.name for word in only))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", action="append", help="path or simulated:... (default: the default model, then both)"
    )
    parser.add_argument("--default-model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--video", type=Path, default=DEFAULT_VIDEO)
    parser.add_argument("--instances", type=int, default=2, help="at least 2 (default %(default)s)")
    parser.add_argument(
        "--share", type=float, default=0.7, help="of what one instance fewer holds (default %(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of random faults (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default %(default)s)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORDS", help="faults whose name has these words"
    )
    parser.add_argument("--out", type=Path, default=PAGE, help="default %(default)s")
    return parser
