"""Admission: who may start a handshake, how many at once, and how fast after a start.

A connection is *half-open* from accept until HELLO is done: it costs memory and work, and
nobody has said who it is. Three bounds, from the outside in:

    rate      callers wait in the backlog; a node that has just started lets them in slowly,
              and only while there are places, so that a fleet that comes back at once does not
              drown it, and nobody's handshake is begun in vain
    address   more than a few half-open connections of one address are turned away
    total     when all places are taken, the oldest of the address with the most gives way:
              whoever stalls loses, whoever finishes in time does not notice

Loopback is no address: a Tor onion service forwards everybody from there.
"""

import ipaddress
from dataclasses import dataclass, field

from overlay_edge.config import TransportConfig

RAMP_S = 30.0  # how long a started node lets callers in below its rate
RAMP_START = 0.25  # part of the rate at the very start (guess)
MIN_BURST = 8.0  # callers let in at once, whatever the rate
PLACE_WAIT_S = 0.02  # a handshake takes a few milliseconds
FAILURES = 3  # callers that may fail before nobody waits for the others
FAILED_PART = 0.1  # and this part of those who finish
STALLED_S = 1.5  # who is half-open for so long is not slow but stalling: nobody waits for it


@dataclass(slots=True)
class _Address:
    """Half-open connections of one address, oldest first."""

    tickets: dict[int, None] = field(default_factory=dict)


class Admission:
    """Counts half-open connections and paces new ones.

    Args:
        config: Rate and places.
        now: Monotonic seconds; the ramp starts here.
    """

    def __init__(self, config: TransportConfig, *, now: float) -> None:
        self._config = config
        self._started = now
        self._at = now
        self._tokens = max(MIN_BURST, RAMP_START * config.accept_rate)
        self._entered: dict[int, float] = {}  # by ticket, oldest first
        self._failed = 0
        self._finished = 0
        self._next_ticket = 0
        self._addresses: dict[str, _Address] = {}
        self._address_of: dict[int, str] = {}

    @property
    def half_open(self) -> int:
        """Connections that have not finished HELLO."""
        return len(self._address_of)

    def configure(self, config: TransportConfig) -> None:
        """Take other limits; those who are in stay in."""
        self._config = config

    def rate_per_s(self, *, now: float) -> float:
        """Callers let in per second now."""
        part = min(1.0, RAMP_START + (1 - RAMP_START) * (now - self._started) / RAMP_S)
        return part * self._config.accept_rate

    def wait_s(self, *, now: float) -> float:
        """Seconds until the next caller may come in; 0 = now, and it is counted."""
        if self._waits_for_place(now):
            return PLACE_WAIT_S
        rate = self.rate_per_s(now=now)
        self._tokens = min(max(MIN_BURST, rate), self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / rate
        self._tokens -= 1.0
        return 0.0

    def _waits_for_place(self, now: float) -> bool:
        """True while a node that has just started is busy with others who finish.

        Once there are some who do not, callers would wait for nothing: the oldest give way.
        """
        if now - self._started >= RAMP_S or self.half_open < self._config.max_handshakes:
            return False
        if now - next(iter(self._entered.values()), now) >= STALLED_S:
            self._failed += 1
        return self._failed <= FAILURES + self._finished * FAILED_PART

    def enter(self, host: str) -> tuple[int | None, int | None]:
        """A caller was accepted.

        Returns:
            Its ticket, or None to turn it away; and the ticket of one that must give way.
        """
        key = address_key(host)
        address = self._addresses.get(key)
        if key and address and len(address.tickets) >= self._config.half_open_per_addr:
            return None, None
        out = None
        if len(self._address_of) >= self._config.max_handshakes:
            heaviest = max(self._addresses.values(), key=lambda found: len(found.tickets))
            out = next(iter(heaviest.tickets))
            self.leave(out, is_greeted=False)
        self._next_ticket += 1
        ticket = self._next_ticket
        self._addresses.setdefault(key, _Address()).tickets[ticket] = None
        self._address_of[ticket] = key
        self._entered[ticket] = self._at
        return ticket, out

    def leave(self, ticket: int, *, is_greeted: bool = True) -> None:
        """A caller finished HELLO or is gone without it; twice is once."""
        key = self._address_of.pop(ticket, None)
        self._entered.pop(ticket, None)
        if key is None:
            return
        self._finished += is_greeted
        self._failed += not is_greeted
        tickets = self._addresses[key].tickets
        del tickets[ticket]
        if not tickets:
            del self._addresses[key]


def address_key(host: str) -> str:
    """What counts as one address: an IPv4 host, an IPv6 /64; empty for loopback."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif not address.is_loopback:
            return str(ipaddress.ip_network((address, 64), strict=False))
    return "" if address.is_loopback else str(address)
