"""What the recipes may use of the world besides `run`, so that tests can give them another one."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class World:
    """What a recipe may use of the world besides `run`.

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

    def heedless(self) -> "World":
        """The same, for what has to come to its end though nobody can read what is said (`make down | head`)."""

        def say(line: str) -> None:
            with suppress(OSError):
                self.say(line)

        return replace(self, say=say)
