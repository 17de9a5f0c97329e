"""What supervisord starts as the balancer: becomes nginx, and lets workers that a killed nginx master left retire.

A worker outlives a killed master and goes on answering. The port is shared (`reuseport`), so the new nginx listens
beside such workers; only then are their connections wound down, and they are asked to finish.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from deploy import run
from deploy.nginx_files import digest_on_disk
from deploy.paths import Paths
from deploy.processes import orphaned_workers, serving_workers
from deploy.reload import WIND_DOWN_S

# Below nginx's own patience with a taken port, 2.5 s: a worker started without `reuseport` still has to make room.
NEW_LIMIT_S = 1.5
POLL_S = 0.02


def retire(
    paths: Paths,
    orphans: Collection[int],
    *,
    kill: Callable[[int, int], None] = os.kill,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Asks left-over workers to finish once others serve.

    Args:
        paths: of their fleet.
        orphans: their process ids.
        kill: sends a signal.
        clock: s, monotonic.
        sleep: waits for s.
    """
    deadline = clock() + NEW_LIMIT_S
    while not serving_workers(paths) - set(orphans) and clock() < deadline:
        sleep(POLL_S)
    if serving_workers(paths) - set(orphans):
        # A worker drops its idle connections when it finishes, and with them a request that is on its way there.
        run.write_text(paths.winding_down, "")
        sleep(WIND_DOWN_S)
    still_ours = {process.pid for process in orphaned_workers(paths)}
    try:
        for pid in still_ours & set(orphans):
            kill(pid, signal.SIGQUIT)
    finally:
        run.remove(paths.winding_down)


def main(arguments: list[str]) -> None:
    """Replaces this process with nginx. Arguments: the nginx binary, the fleet's folders in the order of `Paths`."""
    nginx, *folders = arguments
    paths = Paths(*map(Path, folders))
    if orphans := {process.pid for process in orphaned_workers(paths)}:
        print(f"{len(orphans)} worker(s) of an nginx that was killed will finish", file=sys.stderr, flush=True)
        run.detach(lambda: retire(paths, orphans))
    run.write_text(paths.nginx_loaded, digest_on_disk(paths))
    # nginx itself waits and tries again where the port is not free yet.
    os.execv(nginx, [nginx, "-c", str(paths.nginx_conf)])


if __name__ == "__main__":
    main(sys.argv[1:])
