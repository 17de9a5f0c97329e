"""Keeps two fleets from starting on the same ports at the same moment; each would find them free."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from deploy.errors import PreflightError, Problem
from framefleet.machine.claim import ClaimedError, claimed, holder_text


@contextmanager
def port_claims(addresses: Iterable[tuple[str, int]]) -> Iterator[None]:
    """Claims ports from before they are tried until a fleet listens on them.

    nginx and the instances share their ports (`SO_REUSEPORT`), so the kernel lets a second fleet of the same user in,
    and each would answer for the other.

    Args:
        addresses: host and port of each.

    Raises:
        PreflightError: another command is about to start a fleet on one.
    """
    with ExitStack() as held:
        for port in sorted({port for _, port in addresses}):
            try:
                held.enter_context(claimed(f"start-{port}"))
            except ClaimedError as error:
                what = f"{holder_text(error.pid)} is starting a fleet on it"
                raise PreflightError(Problem(f"port {port}", what, "wait for it, or choose another port")) from None
        yield
