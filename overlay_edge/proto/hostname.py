"""Host name: how a node comes by a name of its own on the local network, and keeps it.

    PROBING  --nobody answers three times-->  HELD     the name is told
    PROBING  --somebody has it------------->  PROBING  for the next name: overlay-123456-2
    HELD     --somebody else tells it------>  HELD     and tell it again, or PROBING for the next

RFC 6762, sections 8 and 9. When two begin at the same moment, neither has heard the other
before both tell their name. Then the one with the higher address keeps it, which both can work
out for themselves. Our own words come back to us: an address that is ours, or was ours until a
moment ago, is no conflict.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from overlay_edge.proto.beacon import Address

PROBES = 3  # RFC 6762 section 8.1, as are the two below
PROBE_S = 0.25
MANY_CONFLICTS, SLOW_S = 15, 5.0  # who has lost so often may be under attack: do not hurry
CALM_S = 10.0  # conflicts this far apart are not counted together
REMEMBERED_S = 150.0  # an old address of ours is in caches for 120 s, and for a while in packets
MAX_REMEMBERED = 64
MAX_DEFENCES = 3  # told again so often within CALM_S; who does not yield then, never will
LAST_NUMBER = 9999
TIMES, TELL_S = 2, 1.0  # RFC 6762 section 8.3: what is new is told twice
URGED_S = 0.2  # who asks for a name asks three times within a second: each is answered


class Step(Enum):
    """What is to be done now."""

    PROBE = auto()  # ask who has the name
    TELL = auto()  # it is ours: tell it
    HIDE = auto()  # it is not ours any more: do not answer for it


def base_name(machine: str, node: str) -> str:
    """The name to begin with: the machine's own if it is one of ours, else made of the id.

    Args:
        machine: The machine's host name; an image takes ``overlay-`` and the end of its MAC.
        node: The node's id in hex.
    """
    label = machine.partition(".")[0].lower()
    return label if re.fullmatch(r"overlay-[0-9a-f]{6}", label) else f"overlay-{node[:6]}"


@dataclass(slots=True)
class HostName:
    """One name, without ``.local``.

    Attributes:
        base: What it is made of.
        conflicts_total: How often somebody else had it.
    """

    base: str
    conflicts_total: int = 0
    is_held: bool = False
    _number: int = 1
    _probes: int = 0
    _at: float | None = None
    _lost: int = 0
    _lost_at: float = 0.0
    _defences: int = 0
    _ours: dict[Address, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that is tried or held."""
        return self.base if self._number == 1 else f"{self.base}-{self._number}"

    @property
    def is_denied(self) -> bool:
        """Somebody else has had one name after the other: that is no coincidence."""
        return not self.is_held and self._lost >= MANY_CONFLICTS

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`wake`; None = never."""
        return self._at

    def begin(self, addresses: Iterable[Address], *, now: float) -> list[Step]:
        """Ask for the name anew: at the start, and whenever the network is another one."""
        self.have(addresses, now=now)
        return self._probe_anew(now)

    def rename(self, base: str, *, now: float) -> list[Step]:
        """Go by another name from now on."""
        self.base, self._number = base, 1
        return self._probe_anew(now)

    def have(self, addresses: Iterable[Address], *, now: float) -> None:
        """These are this node's addresses."""
        for address, seen in list(self._ours.items()):
            if now - seen > REMEMBERED_S:
                del self._ours[address]
        for address in addresses:
            self._ours.pop(address, None)  # to the end: the first is the oldest
            self._ours[address] = now
        while len(self._ours) > MAX_REMEMBERED:
            del self._ours[next(iter(self._ours))]

    def wake(self, *, now: float) -> list[Step]:
        """It is the deadline."""
        if self._at is None or now < self._at:
            return []
        if self._probes < PROBES:
            self._probes += 1
            self._at = now + PROBE_S
            return [Step.PROBE]
        self._at = None
        self.is_held = True
        return [Step.TELL]

    def heard(self, address: Address, *, now: float) -> list[Step]:
        """Somebody told this address for our name."""
        if address in self._ours:
            return []
        self.conflicts_total += 1
        if now - self._lost_at > CALM_S:
            self._lost = self._defences = 0
        self._lost_at = now
        if self.is_held and self._defences < MAX_DEFENCES and self._outranks(address):
            self._defences += 1
            return [Step.TELL]
        self._lost += 1
        self._number = self._number % LAST_NUMBER + 1
        steps = self._probe_anew(now)
        if self._lost >= MANY_CONFLICTS:
            self._at = now + SLOW_S
        return steps

    def _outranks(self, address: Address) -> bool:
        ours = [one.packed for one in self._ours if one.version == address.version]
        return bool(ours) and max(ours) > address.packed

    def _probe_anew(self, now: float) -> list[Step]:
        steps = [Step.HIDE] if self.is_held else []
        self.is_held = False
        self._probes = 0
        self._at = now
        return steps


def is_probe(packet: bytes, name: str) -> bool:
    """True if somebody is about to take this name, and must be told that it is taken.

    A question for everything there is of it (RFC 6762 section 8.1); the name may end with a
    pointer to where ``local`` was written before.
    """
    is_question = len(packet) > 2 and not packet[2] & 0x80
    label = re.escape(bytes([len(name)]) + name.encode())
    pattern = label + rb"(\x05local\x00|[\xc0-\xff].)\x00\xff"
    return is_question and bool(re.search(pattern, packet, re.DOTALL | re.IGNORECASE))


class Telling:
    """When what this node is called is told, unasked."""

    def __init__(self) -> None:
        self._left = 0
        self._at = 0.0
        self._last = -URGED_S

    @property
    def deadline(self) -> float | None:
        """When it is due; None = never."""
        return self._at if self._left else None

    def begin(self, *, now: float) -> None:
        """Something is new."""
        self._left, self._at = TIMES, now

    def urge(self, *, now: float) -> None:
        """Somebody has to know at once."""
        if now - self._last >= URGED_S:
            self._left, self._at = max(1, self._left), now

    def stop(self) -> None:
        """There is nothing to be told."""
        self._left = 0

    def is_due(self, *, now: float) -> bool:
        """True if it is to be told now: that is done by whoever asks."""
        if not self._left or now < self._at:
            return False
        self._left, self._at, self._last = self._left - 1, now + TELL_S, now
        return True
