"""Who may have how many of the places in an instance: a lone client all, several their share; decisions alone."""

from collections.abc import Callable

# Whoever asked within so many seconds counts as there, be it between two frames.
THERE_S = 2.0
# More names than that are looked through, so that those who are gone leave nothing behind.
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
