"""How much one client may ask of a balancer, so that no client can keep the others waiting."""

from dataclasses import dataclass

from deploy.tables import Table

# nginx counts them in 16 bits.
MAX_AT_ONCE = 65_535


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is more is refused with 429. Clients are told apart by API key where keys are asked for, else by address.

    Attributes:
        rate: requests of one client per second; 0 for any number.
        burst: requests above that rate that may come at once.
        concurrency: requests of one client at once, from the end of their head on; 0 for any number.
        connections: the same of one address, whatever keys it brings; 0 for any number.
    """

    rate: int = 0
    burst: int = 100
    concurrency: int = 0
    connections: int = 1024

    @property
    def limited(self) -> bool:
        """True if there is anything that can be refused."""
        return bool(self.rate or self.concurrency or self.connections)


GENEROUS = Allowance()
NO_LIMITS = Allowance(connections=0)


def read_allowance(table: Table) -> Allowance:
    """Reads [limits]."""
    allowance = Allowance(
        rate=table.number("rate", GENEROUS.rate, 0, MAX_AT_ONCE),
        burst=table.number("burst", GENEROUS.burst, 0, MAX_AT_ONCE),
        concurrency=table.number("concurrency", GENEROUS.concurrency, 0, MAX_AT_ONCE),
        connections=table.number("connections", GENEROUS.connections, 0, MAX_AT_ONCE),
    )
    table.close()
    return allowance
