"""Runs the turns: every server in turn, round after round, so that a busy moment of the machine meets them all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.peers import bare, generator, processes
from bench.peers.generator import Load, Sent
from bench.peers.measured import Life, Poisson, Results, Turn
from bench.peers.server import ASK_EVERY_S, Server
from bench.peers.works import Work, WrongAnswerError
from framefleet.wire.percentiles import percentiles

MODEL = "default model"
WARM_S = 1.0
LOAD_SHARE = 0.7
MIXED_TURNS = 8
WINDOW_S, STRONG_SHARE = 0.25, 0.8
KILL_AFTER_S, KILL_LIMIT_S = 2.0, 10.0


class Rounds:
    """The turns of one run; `results` grows with them.

    Args:
        rounds: how many turns each server has at each work.
        seconds: length of a turn.
        bodies: request bodies by work.
    """

    def __init__(self, rounds: int, seconds: float, bodies: dict[Work, Path]) -> None:
        self.results = Results()
        self._rounds, self._seconds, self._bodies = rounds, seconds, bodies
        self._cores = len(os.sched_getaffinity(0))

    def closed(self, work: Work, servers: Sequence[Server], *, with_bare: bool = True) -> None:
        """A closed loop on each server in turn, and the bare work beside them; each answers rightly before and after.

        Raises:
            WrongAnswerError: one does not.
        """
        turns = self.results.turns.setdefault(work.name, {server.spec.name: [] for server in servers})
        for server in servers:
            self._check(server, work)
            send(self._load(server, work, WARM_S))
        for number in range(self._rounds):
            for server in servers:
                turns[server.spec.name].append(self._turn(server, work))
            if with_bare:
                taken = bare.measure("decode", self._bodies[work], self._seconds, self._cores)
                self.results.bare_ms.setdefault(work.name, []).append(taken.cpu_ms)
            print(f"{work.name}: round {number + 1} of {self._rounds}", flush=True)
        for server in servers:
            self._check(server, work)

    def poisson(self, work: Work, servers: Sequence[Server]) -> None:
        """Requests at random moments, at a share of what each server held in the closed loop."""
        for number in range(self._rounds):
            for server in servers:
                rate = LOAD_SHARE * self.results.rate(work.name, server.spec.name)
                load = self._load(server, work, 2 * self._seconds, rate=rate, seed=number)
                p50_ms, p99_ms = percentiles((sent := send(load)).latency_ms, 50, 99)
                turn = Poisson(rate, p50_ms, p99_ms, sent.lost)
                self.results.poisson.setdefault(server.spec.name, []).append(turn)

    def idle(self, servers: Sequence[Server]) -> None:
        """What they take while nobody asks, all at once."""
        before = {server.pid: processes.cpu_s(server.pid) for server in servers}
        time.sleep(self._seconds)
        for server in servers:
            used_s = processes.cpu_s(server.pid) - before[server.pid]
            self._life(server).idle_cores = used_s / self._seconds

    def memory(self, works: Sequence[Work], servers: Sequence[Server]) -> None:
        """What they hold after requests of all sizes at once, and after many times more of those."""
        for server in servers:
            life, taken = self._life(server), [work for work in works if server.spec.takes(work)]
            for turns in (1, MIXED_TURNS):
                load = self._load(server, taken[0], turns * self._seconds)
                load.bodies.extend(str(self._bodies[work]) for work in taken[1:])
                send(load)
                life.loaded_mb, life.mixed_mb = life.mixed_mb, processes.pss_mb(server.pid)

    def kill(self, work: Work, server: Server) -> None:
        """Kills the busiest process of a server under load, and sees when its rate is back, and all its parts are."""
        life, before = self._life(server), processes.tree(server.pid)
        with subprocess.Popen(
            [sys.executable, "-I", "-S", str(generator.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stdin
            json.dump(asdict(self._load(server, work, KILL_AFTER_S + KILL_LIMIT_S)), running.stdin)
            running.stdin.close()
            running.stdin = None
            time.sleep(KILL_AFTER_S)
            os.kill(processes.busiest(before, processes.tree(server.pid)), signal.SIGKILL)
            whole_s = _whole_again_s(server)
            sent = Sent(**json.loads(running.communicate()[0]))
        life.killed, life.kill_lost = True, sent.lost
        rate_s = strong_again_s(sent.done_s, KILL_AFTER_S, KILL_LIMIT_S)
        life.strong_s = None if rate_s is None or whole_s is None else max(rate_s, whole_s)

    def model(self, server: Server, work: Work, model: Path) -> None:
        """The default model behind nginx, and bare sessions of it on the same cores, in turn; then what it holds."""
        turns = self.results.turns.setdefault(MODEL, {server.spec.name: []})[server.spec.name]
        send(self._load(server, work, WARM_S))
        for _ in range(self._rounds):
            turns.append(self._turn(server, work))
            taken = bare.measure("model", self._bodies[work], self._seconds, self._cores, model)
            self.results.model_bare_rate.append(taken.rate)
        self._life(server).loaded_mb = processes.pss_mb(server.pid)
        self.kill(work, server)

    def start(self, server: Server, work: Work) -> None:
        """Starts a server, and notes how long its first answer took; the fastest start, with its files cached, counts.

        Raises:
            StartFailedError: it did not come up.
            WrongAnswerError: it answers with the wrong box.
        """
        server.start(work, self._bodies[work])
        life = self._life(server)
        life.start_s = min(life.start_s or server.start_s, server.start_s)

    def _life(self, server: Server) -> Life:
        return self.results.lives.setdefault(server.spec.name, Life())

    def _turn(self, server: Server, work: Work) -> Turn:
        before = processes.cpu_s(server.pid)
        sent = send(self._load(server, work, self._seconds))
        used_s, answers = processes.cpu_s(server.pid) - before, len(sent.done_s)
        if not answers:
            raise WrongAnswerError(f"{server.spec.name}: {work.name}: no answer; {sent.first_failure}")
        p50_ms, p99_ms = percentiles(sent.latency_ms, 50, 99)
        # Answers to what was under way at the end count too: the server has worked for them.
        rate = sum(done <= self._seconds for done in sent.done_s) / self._seconds
        return Turn(used_s * 1000 / answers, rate, p50_ms, p99_ms, sent.cpu_s * 1000 / answers, sent.lost)

    def _load(self, server: Server, work: Work, seconds: float, *, rate: float = 0.0, seed: int = 1) -> Load:
        # In an open loop a connection is free whenever a request is due, or nearly so.
        connections = 4 * work.connections if rate else work.connections
        return Load(server.spec.port, server.spec.path, [str(self._bodies[work])], connections, seconds, rate, seed)

    def _check(self, server: Server, work: Work) -> None:
        answer = server.answer(self._bodies[work])
        if answer is None:
            raise WrongAnswerError(f"{server.spec.name}: {work.name}: no answer")
        server.check(work, answer)


def send(load: Load) -> Sent:
    """Runs the generator in a process of its own."""
    command = [sys.executable, "-I", "-S", str(generator.__file__)]
    text = subprocess.run(command, input=json.dumps(asdict(load)), capture_output=True, text=True, check=True).stdout
    return Sent(**json.loads(text))


def strong_again_s(done_s: Sequence[float], killed_s: float, limit_s: float) -> float | None:
    """Seconds from a kill until answers come as fast as before, a second long; None if they never do.

    Args:
        done_s: s from the start to each answer.
        killed_s: when the kill was.
        limit_s: how long after it was looked.
    """
    before = sum(killed_s / 2 <= done < killed_s for done in done_s) / (killed_s / 2)
    for window in range(round((limit_s - 1) / WINDOW_S) + 1):
        begins = killed_s + window * WINDOW_S
        if sum(begins <= done < begins + 1 for done in done_s) >= STRONG_SHARE * before:
            return window * WINDOW_S
    return None


def _whole_again_s(server: Server) -> float | None:
    """Seconds from now until every part of a server is ready; None if that takes too long."""
    began = time.monotonic()
    while not server.is_whole():
        if time.monotonic() > began + KILL_LIMIT_S:
            return None
        time.sleep(ASK_EVERY_S)
    return time.monotonic() - began
