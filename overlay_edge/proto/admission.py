"""Admission: who may start a handshake, how many at once, and how fast after a start.

A connection is *half-open* from accept until HELLO is done: it costs memory and work, and
nobody has said who it is. Three bounds, from the outside in:

    rate      callers wait in the backlog; a node that has just started lets them in slowly,
              so that a fleet that comes back at once does not drown it
    address   more than a few half-open connections of one address are turned away
    total     when all places are taken, callers wait in the backlog until one is free, or
              until the oldest of the address with the most has had its time and gives way:
              whoever stalls loses, whoever finishes in time does not notice

Loopback is no address: a Tor onion service forwards everybody from there.
"""

import ipaddress
from dataclasses import dataclass, field

from overlay_edge.config import TransportConfig

RAMP_S = 30.0  # how long a started node lets callers in below its rate
RAMP_START = 0.25  # part of the rate at the very start (guess)
MIN_BURST = 8.0  # callers let in at once, whatever the rate
GIVES_WAY_S = 1.0  # a place that is needed is kept for this long: several slow round trips (guess)
FULL_LOOK_S = 0.01  # how soon a full house is looked at again; a handshake takes about as long


@dataclass(slots=True)
class _Address:
    """Half-open connections of one address, oldest first, and when each began."""

    tickets: dict[int, float] = field(default_factory=dict)


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
        """Seconds until it is worth asking again; 0 = a caller may come in now, and is counted."""
        kept_s = self._kept_s(now)
        if kept_s > 0:
            return min(kept_s, FULL_LOOK_S)
        rate = self.rate_per_s(now=now)
        self._tokens = min(max(MIN_BURST, rate), self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / rate
        self._tokens -= 1.0
        return 0.0

    def _kept_s(self, now: float) -> float:
        """How long all places are still kept by those who have them."""
        if len(self._address_of) < self._config.max_handshakes:
            return 0.0
        _, began = self._next_out()
        return began + GIVES_WAY_S - now

    def _next_out(self) -> tuple[int, float]:
        heaviest = max(self._addresses.values(), key=lambda found: len(found.tickets))
        return next(iter(heaviest.tickets.items()))

    def enter(self, host: str, *, now: float) -> tuple[int | None, int | None]:
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
            out, _ = self._next_out()
            self.leave(out)
        self._next_ticket += 1
        ticket = self._next_ticket
        self._addresses.setdefault(key, _Address()).tickets[ticket] = now
        self._address_of[ticket] = key
        return ticket, out

    def leave(self, ticket: int) -> None:
        """A caller finished HELLO or is gone; twice is once."""
        key = self._address_of.pop(ticket, None)
        if key is None:
            return
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
