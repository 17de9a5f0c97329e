"""What the recipes may do to the machine they run on; tests give them one that only notes down what it is told.

Everything a recipe does that is seen outside its own process goes through here: what it says, and how it waits, starts
and stops processes, writes files, and asks programs. What it decides stays in `deploy.rollout`.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace

from deploy.machine import run, run_files, run_host, run_lock
from deploy.machine.control import Control, answers
from deploy.machine.processes import fleet_processes, ports_of_session
from framefleet.http.session import open_session
from framefleet.machine.listening import try_to_listen

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Machine:
    """One machine, and the terminal of who gives orders there. Each action is described where it is imported from.

    Attributes:
        say: shows one line to the person who started the recipe.
        clock: monotonic s.
        sleep: waits for s.
        environ: the caller's environment.
        hostname: this machine's, to find it in an inventory.
    """

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    hostname: str = field(default_factory=socket.gethostname)

    # Commands and processes.
    run_in_foreground = staticmethod(run.run_in_foreground)
    trial_process = staticmethod(run_host.trial_process)
    processes = staticmethod(fleet_processes)
    ports_of_session = staticmethod(ports_of_session)
    signal_process = staticmethod(run.send)
    # supervisord.
    start_supervisord = staticmethod(run.start_supervisord)
    supervisord_listens = staticmethod(answers)
    control = Control
    # Files.
    write_text = staticmethod(run_files.write_text)
    write_files = staticmethod(run.write_files)
    replace_etc = staticmethod(run.replace_etc)
    make_folders = staticmethod(run.make_folders)
    make_host_folders = staticmethod(run_host.make_folders)
    point = staticmethod(run_host.point)
    place_model = staticmethod(run_host.place_model)
    take_over = staticmethod(run_files.take_over)
    remove = staticmethod(run_files.remove)
    remove_if_empty = staticmethod(run_host.remove_if_empty)
    # The host itself.
    devices = staticmethod(run.this_devices)
    ensure_user = staticmethod(run_host.ensure_user)
    remove_user = staticmethod(run_host.remove_user)
    try_to_listen = staticmethod(try_to_listen)
    open_session = staticmethod(open_session)
    # Who else is at work.
    fleet_lock = staticmethod(run.fleet_lock)
    deploy_lock = staticmethod(run_lock.deploy_lock)
    lock_holder = staticmethod(run_lock.lock_holder)
    port_claims = staticmethod(run_lock.port_claims)
    run = staticmethod(run.run_command)  # the last, as it hides the module

    def undisturbed(self) -> AbstractContextManager[None]:
        """Ignores Ctrl-C and its like for a while: what is half done must be undone."""
        return run.handling(dict.fromkeys(INTERRUPTIONS, lambda *_: None))

    def heedless(self) -> "Machine":
        """The same, for what has to come to its end though nobody can read what is said (`make down | head`)."""

        def say(line: str) -> None:
            with suppress(OSError):
                self.say(line)

        return replace(self, say=say)
