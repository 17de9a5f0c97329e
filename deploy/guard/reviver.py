"""Decides what to do about programs that supervisord has given up on or restarts for ever; nothing happens here.

To supervisord FATAL is final, and a program that dies after it counted as running is started again at once, without
end. Flow: supervisord's events [Event] + [ProgramState...] -> Reviver -> [Act...] -> listener.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from deploy.machine.control import UP_STATES, ProgramState


@dataclass(frozen=True, slots=True)
class Delays:
    """When the reviver acts.

    Attributes:
        first_delay_s: s until a FATAL program is first started again; doubles with each failure.
        last_delay_s: the longest such delay.
        steady_s: s a program has to run until its failures are forgotten.
        crashes: a program that dies so often within `window_s` is in a crash loop.
        window_s: s.
        first_hold_s: s a program in a crash loop is kept stopped; doubles with each further loop up to `last_delay_s`.
        stopping_s: s after which a program that is told to stop counts as stuck.
    """

    first_delay_s: float = 60.0
    last_delay_s: float = 600.0
    steady_s: float = 600.0
    crashes: int = 5
    window_s: float = 300.0
    first_hold_s: float = 10.0
    stopping_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do: start or stop a program, or only tell people.

    Attributes:
        kind: what to do; each is told to people too.
        program: its name.
        message: why, for the log and the webhook.
    """

    kind: Literal["start", "stop", "alert"]
    program: str
    message: str


@dataclass(slots=True)
class _History:
    """What happened to one program.

    `failures`: since it last ran steadily; `due`: when it is started again, if it waits for that; `held`: whether the
    reviver itself stopped it; `crashes`: when it died lately; `drained`: whether one of these was as it should be;
    `stopping_since`; `reported`: stuck, and said so.
    """

    failures: int = 0
    due: float | None = None
    held: bool = False
    crashes: deque[float] = field(default_factory=deque)
    drained: bool = False
    stopping_since: float | None = None
    reported: bool = False


class Reviver:
    """Remembers how each program has fared.

    Args:
        limits: when to act.
        singles: programs that no other stands in for; they are never kept stopped.
    """

    def __init__(self, limits: Delays, singles: frozenset[str]) -> None:
        self._limits = limits
        self._singles = singles
        self._histories: dict[str, _History] = {}

    def crashed(self, program: str, now: float, *, expected: bool = False) -> None:
        """Notes that a program which ran has died by itself.

        Args:
            program: its name.
            now: s, monotonic, as in every other call.
            expected: whether it ended as it should, such as at its memory ceiling; its likes may be next.
        """
        history = self._of(program)
        history.crashes.append(now)
        history.drained |= expected

    def decide(self, states: Mapping[str, ProgramState], now: float) -> tuple[Act, ...]:
        """Compares what runs with what happened before.

        Args:
            states: every program of supervisord's.
            now: s, monotonic.

        Returns:
            What has to be done now, in order.
        """
        for gone in self._histories.keys() - states.keys():
            del self._histories[gone]
        return tuple(act for state in states.values() for act in self._decide_one(state, states, now))

    def _decide_one(self, state: ProgramState, states: Mapping[str, ProgramState], now: float) -> Iterator[Act]:
        history = self._of(state.name)
        yield from self._stuck(state, history, now)
        if state.state in UP_STATES:
            yield from self._running(state, history, states, now)
        elif state.state == "FATAL" or (history.held and state.state == "STOPPED"):
            yield from self._revive(state, history, states, now)
        elif state.state == "STOPPED":
            # Somebody else stopped it on purpose: it is theirs to start.
            self._histories[state.name] = _History()

    def _stuck(self, state: ProgramState, history: _History, now: float) -> Iterator[Act]:
        if state.state != "STOPPING":
            history.stopping_since, history.reported = None, False
            return
        history.stopping_since = now if history.stopping_since is None else history.stopping_since
        seconds = now - history.stopping_since
        if seconds > self._limits.stopping_s and not history.reported:
            history.reported = True
            yield Act("alert", state.name, f"still stopping after {seconds:.0f} s; `ps -o stat,wchan {state.pid}`")

    def _running(
        self, state: ProgramState, history: _History, states: Mapping[str, ProgramState], now: float
    ) -> Iterator[Act]:
        history.due, history.held = None, False
        while history.crashes and now - history.crashes[0] > self._limits.window_s:
            history.crashes.popleft()
        history.drained = history.drained and bool(history.crashes)
        if len(history.crashes) >= self._limits.crashes:
            count = len(history.crashes)
            history.crashes.clear()
            yield self._crash_loop(state, history, states, count, now)
        elif state.uptime_s >= self._limits.steady_s:
            history.failures = 0

    def _crash_loop(
        self, state: ProgramState, history: _History, states: Mapping[str, ProgramState], count: int, now: float
    ) -> Act:
        what = f"died {count} times within {self._limits.window_s:.0f} s"
        drained, history.drained = history.drained, False
        if drained:
            # Held, it would leave its load to others that grow likewise.
            return Act("alert", state.name, f"{what}, also as it should (see its log); it goes on being restarted")
        if not self._has_stand_in(state.name, states):
            # Half a service is better than none.
            return Act("alert", state.name, f"{what}; nothing stands in for it, so it goes on being restarted")
        delay = self._delay(self._limits.first_hold_s, history)
        history.due, history.held = now + delay, True
        return Act("stop", state.name, f"{what}; stopped for {delay:.0f} s")

    def _has_stand_in(self, program: str, states: Mapping[str, ProgramState]) -> bool:
        running = {name for name, state in states.items() if state.state == "RUNNING" and not self._of(name).held}
        return program not in self._singles and bool(running - self._singles - {program})

    def _revive(
        self, state: ProgramState, history: _History, states: Mapping[str, ProgramState], now: float
    ) -> Iterator[Act]:
        if history.due is None:
            delay = self._delay(self._limits.first_delay_s, history)
            history.due = now + delay
            reason = f" ({state.reason})" if state.reason else ""
            yield Act("alert", state.name, f"FATAL{reason}; started again in {delay:.0f} s")
        elif now >= history.due or (history.held and not self._has_stand_in(state.name, states)):
            history.due, history.held = None, False
            yield Act("start", state.name, f"started again after {history.failures} failure(s) in a row")

    def _delay(self, first_s: float, history: _History) -> float:
        delay = min(first_s * 2.0**history.failures, self._limits.last_delay_s)
        history.failures += 1
        return delay

    def _of(self, program: str) -> _History:
        return self._histories.setdefault(program, _History())
