"""Starts one server below a keeper, asks it things, and ends it with all it has started."""

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import keeper, processes
from bench.peers.works import Work, check

START_LIMIT_S, END_LIMIT_S, ANSWER_LIMIT_S = 90, 8, 30
ASK_EVERY_S = 0.02


class StartFailedError(Exception):
    """A server did not come up; the message ends with the last of its log."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How a server is started, and what it can.

    `name`: its row; `command`; `port` on which it answers `path`; `environment` beside this process's; `folder`: where
    it runs; `pictures`: takes JPEG; `raw`: takes the first server's JSON; `checked`: answers with a box; `version`: of
    what it is made of, `setup`: how it is set up, both in words; `parts`: ports that answer `/readyz` once it is whole.
    """

    name: str
    command: tuple[str, ...]
    port: int
    environment: dict[str, str]
    folder: Path
    pictures: bool = True
    raw: bool = False
    checked: bool = True
    path: str = "/predict"
    version: str = ""
    setup: str = ""
    parts: tuple[int, ...] = ()

    def takes(self, work: Work) -> bool:
        """True if it speaks the protocol of such requests."""
        return self.raw if work.raw else self.pictures


@dataclass(slots=True)
class Server:
    """A server while it runs; `start_s`: s from its start to its first right answer."""

    spec: Spec
    log: Path
    start_s: float = 0.0
    _keeper: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The keeper's."""
        assert self._keeper
        return self._keeper.pid

    def start(self, work: Work, body: Path) -> None:
        """Starts it and waits for its first answer.

        Raises:
            StartFailedError: it ended, or does not answer.
            WrongAnswerError: it answers something else.
        """
        command = [sys.executable, "-I", "-S", str(keeper.__file__), *self.spec.command]
        environment = os.environ | self.spec.environment
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                command, cwd=self.spec.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while True:
            answer = self.answer(body)
            if answer is not None:
                break
            if self._keeper.poll() is not None or time.monotonic() > began + START_LIMIT_S:
                raise StartFailedError(f"{self.spec.name}: {self._last_words()}")
            time.sleep(ASK_EVERY_S)
        self.start_s = time.monotonic() - began
        self.check(work, answer)

    def check(self, work: Work, answer: bytes) -> None:
        """Compares an answer with the right one, where the server is one that answers with boxes.

        Raises:
            WrongAnswerError: it is another.
        """
        if self.spec.checked:
            check(work, answer)

    def answer(self, body: Path) -> bytes | None:
        """The body of a 200 answer to one request; None if there was none."""
        kind = {"Content-Type": "application/json" if body.name.endswith("-raw") else "image/jpeg"}
        connection = http.client.HTTPConnection("127.0.0.1", self.spec.port, timeout=ANSWER_LIMIT_S)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("POST", self.spec.path, body.read_bytes(), kind)
            answer = connection.getresponse()
            content = answer.read()
            return content if answer.status == http.client.OK else None
        return None

    def is_whole(self) -> bool:
        """Whether every part of it says that it is ready; True where nothing can be asked."""
        return all(map(_is_ready, self.spec.parts))

    def stop(self) -> None:
        """Asks it to end, and kills what has not after a while."""
        if self._keeper is None:
            return
        keeper_, self._keeper = self._keeper, None
        keeper_.terminate()
        deadline = time.monotonic() + END_LIMIT_S
        with suppress(ProcessLookupError):
            # What outlives the server's first process is still below the keeper until that ends.
            while len(processes.tree(keeper_.pid)) > 1 and keeper_.poll() is None and time.monotonic() < deadline:
                time.sleep(ASK_EVERY_S)
        processes.end_all(keeper_.pid)
        with suppress(ProcessLookupError):
            keeper_.send_signal(signal.SIGKILL)
        keeper_.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"no answer on port {self.spec.port}; {self.log}: {' / '.join(lines[-3:])}"


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    return False
