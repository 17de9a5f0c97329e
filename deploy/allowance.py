"""How much one client may ask of a balancer, so that no client can keep the others waiting."""

from dataclasses import dataclass

# nginx counts them in 16 bits.
MAX_AT_ONCE = 65_535
# Addresses that may hold all the large bodies they may before nobody else's are taken.
SHARES = 4


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is more is refused with 429. Clients are told apart by API key where keys are asked for, else by address.

    Attributes:
        rate: requests of one client per second; 0 for any number.
        burst: requests above that rate that may come at once.
        concurrency: requests of one client at once, from the end of their head on; 0 for any number.
        connections: the same of one address, whatever keys it brings; 0 for any number.
        large: the same of those whose body nginx keeps on disk; 0 for any number.
    """

    rate: int = 0
    burst: int = 100
    concurrency: int = 0
    connections: int = 256
    large: int = 16

    @property
    def limited(self) -> bool:
        """True if there is anything that can be refused."""
        return bool(self.rate or self.concurrency or self.connections or self.large)

    @property
    def large_in_all(self) -> int:
        """Large ones of all addresses together, so that the disk they take has a bound; 0 for any number."""
        return min(self.large * SHARES, MAX_AT_ONCE)


GENEROUS = Allowance()
NO_LIMITS = Allowance(connections=0, large=0)
