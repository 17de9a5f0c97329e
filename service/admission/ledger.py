"""Who holds how much of something scarce, who may have more, and who is next: decisions alone, nobody waits here.

What is held is bytes, and with many of them a lane: the right to compute for long. No client holds every lane, and
beside the bytes that a large request may take for itself there are some to spare for clients that hold little. Whoever
computed least lately, and then who holds least, is served first.

`Places`: who may have how many of the places in an instance: a lone client all, several their share; decisions alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Whoever asked within so many seconds counts as there, be it between two frames.
THERE_S = 2.0
HALF_LIFE_S = 10.0
FORGOTTEN_S = 0.001
MANY_CLIENTS = 256


class Places:
    """The places, and who holds them.

    Args:
        size: that a lone client may hold.
        clock: seconds, monotonic.

    Attributes:
        most: held at once by all clients together; a quarter more than `size`, so that who comes finds some.
        taken: held right now.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size, self.most, self.taken = size, size + size // 4, 0
        self._clock = clock
        self._held: dict[str, int] = {}
        self._seen: dict[str, float] = {}

    def take(self, client: str, places: int, beside: int = 0) -> bool:
        """Takes places for a request; says whether it may have them.

        Args:
            client: who asks.
            places: how many.
            beside: those that the same request holds already.
        """
        self._seen[client] = self._clock()
        if len(self._seen) > MANY_CLIENTS:
            self._forget()
        if not self._may(client, places, beside):
            return False
        self.taken += places
        self._held[client] = self._held.get(client, 0) + places
        return True

    def give_back(self, client: str, places: int) -> None:
        """Gives them back."""
        self.taken -= places
        left = self._held.pop(client) - places
        if left:
            self._held[client] = left

    def _may(self, client: str, places: int, beside: int) -> bool:
        wanted = self.taken + places
        if wanted <= self.size // 2:
            return True
        others = self._others(client)
        if not others:
            return wanted <= self.size
        share = max(self.most - self.size, self.most // (1 + others))
        held = self._held.get(client, 0)
        # A form of many files may need more than a share: it is let in alone.
        return wanted <= self.most and (held == beside or held + places <= share)

    def _others(self, client: str) -> int:
        """How many other clients are there."""
        if len(self._seen) == 1:  # the one who asks
            return 0
        self._forget()
        return len(self._seen.keys() - {client})

    def _forget(self) -> None:
        since = self._clock() - THERE_S
        self._seen = {name: at for name, at in self._seen.items() if at > since or name in self._held}


@dataclass(slots=True, eq=False)
class Ask:
    """Somebody who wants `size` bytes, and a lane with them if they are many."""

    client: str
    size: int


@dataclass(slots=True)
class _Account:
    """What a client holds: `lanes`, bytes `held`; the seconds it `used`, decayed up to the clock's second `at`."""

    lanes: int = 0
    held: int = 0
    used_s: float = 0.0
    at: float = 0.0


class Ledger:
    """The books of one kind of memory.

    Args:
        capacity: bytes that may be held; no request gets more.
        spare: bytes beyond, for clients that hold little: at most three quarters of them.
        lanes: requests that may compute for long at once, at least 2; one client may have a half of them.
        clock: seconds, monotonic.
        small: bytes below which a request needs no lane: to wait for one would cost more than its work. That holds for
            as many at once as a client has of twice these bytes.
    """

    def __init__(self, capacity: int, spare: int, lanes: int, clock: Callable[[], float], small: int = 0) -> None:
        self.capacity = capacity
        self.held = 0
        self._small = small
        self._spare, self._little, self._lanes, self._clock = spare, spare * 3 // 4, lanes, clock
        self._busy = 0
        self._accounts: dict[str, _Account] = {}

    def take(self, ask: Ask) -> bool:
        """Books what somebody gets: the bytes, and a lane if they need one; returns whether they do."""
        if len(self._accounts) > MANY_CLIENTS:
            self._forget()
        account = self._accounts.get(ask.client)
        if account is None:
            account = self._accounts[ask.client] = _Account(at=self._clock())
        lane = self._needs_lane(ask, account)
        account.held += ask.size
        self.held += ask.size
        account.lanes += lane
        self._busy += lane
        return lane

    def leave_lane(self, client: str, seconds: float) -> None:
        """Takes a lane back that was used for so many seconds."""
        account = self._accounts[client]
        account.used_s, account.at = self.used_s(client) + seconds, self._clock()
        account.lanes -= 1
        self._busy -= 1

    def give_back(self, client: str, size: int) -> None:
        """Takes bytes back."""
        self._accounts[client].held -= size
        self.held -= size

    def _had(self, client: str) -> tuple[float, int]:
        account = self._accounts.get(client)
        return self.used_s(client), account.held if account else 0

    def used_s(self, client: str) -> float:
        """Seconds that a client used lanes for, each counted half after every `HALF_LIFE_S`."""
        account = self._accounts.get(client)
        return account.used_s * 2.0 ** ((account.at - self._clock()) / HALF_LIFE_S) if account else 0.0

    def has_lane(self, ask: Ask) -> bool:
        """Whether somebody may compute right now."""
        account = self._accounts.get(ask.client)
        if not self._needs_lane(ask, account):
            return True
        return self._busy < self._lanes and (not account or account.lanes < max(1, self._lanes // 2))

    def has_room(self, ask: Ask) -> bool:
        """Whether the bytes are there for everybody; what others hold of the spare ones does not count."""
        if self.held + ask.size <= self.capacity:
            return True
        little = self._held_of_spare(but=ask.client)
        return little <= self._spare and self.held - little + ask.size <= self.capacity

    def has_spare(self, ask: Ask) -> bool:
        """Whether the bytes are there for somebody who holds little."""
        account = self._accounts.get(ask.client)
        own = (account.held if account else 0) + ask.size
        return own <= self._little and own + self._held_of_spare(but=ask.client) <= self._spare

    def next(self, waiting: Sequence[Ask]) -> Ask | None:
        """Who of those that wait gets it now, if anybody does.

        Whoever waits for bytes alone is not passed by others that used more, but for what there is to spare: else a
        large request would wait for ever.

        Args:
            waiting: in the order in which they came.
        """
        blocked = False
        for ask in sorted(waiting, key=lambda ask: self._had(ask.client)):
            if self.has_lane(ask):
                if (not blocked and self.has_room(ask)) or self.has_spare(ask):
                    return ask
                blocked = True
        return None

    def _needs_lane(self, ask: Ask, account: _Account | None) -> bool:
        """Whether it is work that takes long, by itself or beside what else its client has in work."""
        return ask.size >= self._small or (account.held if account else 0) + ask.size > 2 * self._small

    def _held_of_spare(self, but: str) -> int:
        """Bytes of all clients that hold little, but for one."""
        accounts = self._accounts.items()
        return sum(account.held for name, account in accounts if name != but and account.held <= self._little)

    def _forget(self) -> None:
        idle = [name for name, account in self._accounts.items() if not account.lanes and not account.held]
        for name in idle:
            if self.used_s(name) < FORGOTTEN_S:
                del self._accounts[name]
