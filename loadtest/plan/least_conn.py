"""nginx's least_conn: picks the peer with the fewest unanswered requests. Pure."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Peer = TypeVar("Peer", bound=Hashable)


class LeastConn(Generic[Peer]):
    """Picks the instance with the fewest unanswered frames, in turn among equals; each step takes constant time.

    Args:
        instances: all that may be picked.
    """

    def __init__(self, instances: Iterable[Peer]) -> None:
        # In the order in which they came: the first one waited longest for its turn. A plain dict finds its first key
        # ever more slowly the more were deleted before it.
        self._by_count: list[OrderedDict[Peer, None]] = [OrderedDict.fromkeys(instances)]
        self._count = dict.fromkeys(self._by_count[0], 0)
        self._least = 0

    def pick(self) -> Peer | None:
        """The next instance, none if all are down."""
        if not self._count:
            return None
        while not self._by_count[self._least]:
            self._least += 1
        return next(iter(self._by_count[self._least]))

    def note(self, instance: Peer, unanswered: int) -> None:
        """Takes note of how many frames an instance has; a new one joins."""
        before = self._count.get(instance)
        if before is not None:
            del self._by_count[before][instance]
        while len(self._by_count) <= unanswered:
            self._by_count.append(OrderedDict())
        self._by_count[unanswered][instance] = None
        self._count[instance] = unanswered
        self._least = min(self._least, unanswered)

    def remove(self, instance: Peer) -> None:
        """Leaves an instance out: nothing listens there."""
        del self._by_count[self._count.pop(instance)][instance]
