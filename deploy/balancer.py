"""What supervisord starts as the balancer: becomes nginx, and lets workers that a killed nginx master left retire.

A worker outlives a killed master and goes on answering. The port is shared (`reuseport`), so the new nginx listens
beside such workers; only then are new connections steered past them, and the ones they have wound down, and they are
asked to finish.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("deploy.balancer")


import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from deploy import run
from deploy.nginx_files import digest_on_disk
from deploy.paths import Paths
from deploy.processes import Listening, listening_sockets, orphaned_workers, serving_workers
from deploy.reload import WIND_DOWN_S
from deploy.steering import steered_past

# Below nginx's own patience with a taken port, 2.5 s: a worker started without `reuseport` still has to make room.
NEW_LIMIT_S = 1.5
# Of an old worker, to close its sockets once it was asked to finish.
CLOSE_LIMIT_S = 2.0
POLL_S = 0.02


def retire(paths: Paths, orphans: Collection[int], theirs: Mapping[Listening, int]) -> None:
    """Asks left-over workers to finish once others serve.

    Args:
        paths: of their fleet.
        orphans: their process ids.
        theirs: where they listen, before others do.
    """
    if not _holds(lambda: bool(serving_workers(paths) - set(orphans)), NEW_LIMIT_S):
        _finish(paths, orphans)
        return
    try:
        with steered_past(theirs):
            # A worker drops its idle connections when it finishes, and with them a request that is on its way there.
            run.write_text(paths.winding_down, "")
            time.sleep(WIND_DOWN_S)
            _finish(paths, orphans)
            _holds(lambda: not listening_sockets(orphans), CLOSE_LIMIT_S)
    finally:
        run.remove(paths.winding_down)


def _finish(paths: Paths, orphans: Collection[int]) -> None:
    still_ours = {process.pid for process in orphaned_workers(paths)}
    for pid in still_ours & set(orphans):
        os.kill(pid, signal.SIGQUIT)


def _holds(condition: Callable[[], bool], limit_s: float) -> bool:
    """Waits until something holds; says whether it did within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def main(arguments: Sequence[str]) -> None:
    """Replaces this process with nginx. Arguments: the nginx binary, the fleet's folders in the order of `Paths`."""
    nginx, *folders = arguments
    paths = Paths(*map(Path, folders))
    if orphans := {process.pid for process in orphaned_workers(paths)}:
        print(f"{len(orphans)} worker(s) of an nginx that was killed will finish", file=sys.stderr, flush=True)
        theirs = listening_sockets(orphans)
        run.detach(lambda: retire(paths, orphans, theirs))
    run.write_text(paths.nginx_loaded, digest_on_disk(paths))
    # nginx itself waits and tries again where the port is not free yet.
    os.execv(nginx, [nginx, "-c", str(paths.nginx_conf)])
