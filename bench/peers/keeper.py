"""Runs a server and adopts what its processes leave behind: `python keeper.py COMMAND...`.

So everything that a server starts stays below one process, even what moves into a session of its own, and the CPU time
of what ends is added to that of the one above. Only the standard library: it adds next to nothing to what is measured.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Waits until the server and all that it has left behind have ended; returns the server's exit code."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    # Where the measurement itself is killed, the server is asked to end.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    server, code = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.kill(server, signal.SIGTERM))
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return code
        if pid == server:
            code = os.waitstatus_to_exitcode(status) & 0xFF
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
