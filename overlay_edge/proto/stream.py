"""Stream: which numbers of one publisher's epoch of one topic are here, and which are missing.

    1 2 3 4 5 6 7 8 9          top 9
    x x . x x . . x x          holes 3..3 and 6..7; what is no hole is delivered or gapped

Holes are few (:data:`MAX_HOLES`) and each is waited for only so long; then it is a gap, for
ever. So every number that is known of ends as delivered or gapped, and nothing grows.
"""

from dataclasses import dataclass, field

from overlay_edge.proto.gossip_message import MAX_HOLES, Held, Ranges

MAX_BEHIND = 1024  # numbers of one hole: more would not be in anybody's cache
MAX_GAPS = 8  # ranges of given up numbers that are remembered
MAX_DENIED = 8  # neighbours that are known not to have what is missing
STREAM_BYTES = 920  # measured: an empty stream and its places in the ledger
HOLE_BYTES = 300  # measured, with neighbours that do not have it
GAP_BYTES = 130  # measured


@dataclass(slots=True)
class Hole:
    """Missing numbers.

    Attributes:
        since: When it was first known that they exist.
        denied: Neighbours that do not have them.
    """

    first: int
    last: int
    since: float
    denied: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Stream:
    """The numbers of one epoch.

    Attributes:
        top: The highest number known of.
        delivered_total: Numbers that arrived.
        gapped_total: Numbers given up.
        gaps: Which were given up; the oldest are only counted.
        heard: When something of it last came.
        brought_by: The neighbour that first spoke of it.
        is_due: Somebody will look at its holes.
    """

    epoch: int
    top: int = 0
    delivered_total: int = 0
    gapped_total: int = 0
    holes: list[Hole] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    heard: float = 0.0
    brought_by: bytes = b""
    is_due: bool = False

    def has(self, seq: int) -> bool:
        """True if the number is no longer waited for."""
        return seq <= self.top and self._at(seq) is None

    def is_gapped(self, seq: int) -> bool:
        """True if the number was given up, as far as that is remembered."""
        return any(first <= seq <= last for first, last in self.gaps)

    def rise(self, top: int, *, now: float) -> Ranges:
        """Learn that numbers up to ``top`` exist; returns those given up for that."""
        if top <= self.top:
            return ()
        first, self.top = self.top + 1, top
        given_up: list[tuple[int, int]] = []
        if top - first >= MAX_BEHIND:
            given_up.append((first, top - MAX_BEHIND))
            first = top - MAX_BEHIND + 1
        before = self.holes[-1] if self.holes else None
        if before is not None and before.last == first - 1 and before.since == now:
            before.last = top
        else:
            self.holes.append(Hole(first, top, now))
        for pair in given_up:
            self._give_up(*pair)
        return tuple(given_up)

    def arrive(self, seq: int, *, now: float) -> Ranges:
        """A number arrived that is not here yet; returns what was given up for it."""
        given_up: Ranges = ()
        if seq > self.top:
            given_up = self.rise(seq - 1, now=now)
            self.top = seq
        else:
            at = self._at(seq)
            if at is not None:
                self._cut(at, seq, seq)
        self.delivered_total += 1
        return given_up

    def undo(self, seq: int) -> None:
        """What arrived was of no use: it is given up instead."""
        self.delivered_total -= 1
        self._give_up(seq, seq)

    def squeeze(self, most: int = MAX_HOLES) -> Ranges:
        """Give up the oldest of too many holes; returns them."""
        given_up = []
        while len(self.holes) > most:
            hole = self.holes.pop(0)
            given_up.append((hole.first, hole.last))
            self._give_up(hole.first, hole.last)
        return tuple(given_up)

    def expire(self, wait_s: float, *, now: float) -> list[Hole]:
        """Give up what has been missing for ``wait_s`` or longer; returns it."""
        old = [hole for hole in self.holes if hole.since + wait_s <= now]
        self.holes = [hole for hole in self.holes if hole.since + wait_s > now]
        for hole in old:
            self._give_up(hole.first, hole.last)
        return old

    def deny(self, first: int, last: int, peer: bytes) -> None:
        """A neighbour does not have these."""
        out: list[Hole] = []
        for hole in self.holes:
            start, end = max(first, hole.first), min(last, hole.last)
            if start > end or peer in hole.denied or len(self.holes) + len(out) > 4 * MAX_HOLES:
                out.append(hole)
                continue
            if hole.first < start:
                out.append(Hole(hole.first, start - 1, hole.since, hole.denied))
            out.append(Hole(start, end, hole.since, (*hole.denied, peer)[-MAX_DENIED:]))
            if end < hole.last:
                out.append(Hole(end + 1, hole.last, hole.since, hole.denied))
        if len(out) <= MAX_HOLES:
            self.holes = out

    def wanted(self, peer: bytes, offer: Held, most: int) -> Ranges:
        """What is missing here and offered there: up to ``most`` numbers."""
        found: list[tuple[int, int]] = []
        left = most
        for hole in self.holes:
            if peer in hole.denied:
                continue
            for first, last in _without(hole.first, min(hole.last, offer.top), offer.holes):
                last = min(last, first + left - 1)
                found.append((first, last))
                left -= last - first + 1
                if left <= 0 or len(found) >= MAX_HOLES:
                    return tuple(found)
        return tuple(found)

    def held(self) -> Held:
        """What a digest says of it."""
        return Held(self.epoch, self.top, tuple((hole.first, hole.last) for hole in self.holes))

    def lacks(self, other: Held) -> bool:
        """True if a neighbour has anything that is missing here."""
        return other.top > self.top or any(
            hole.first <= other.top
            and next(iter(_without(hole.first, min(hole.last, other.top), other.holes)), None)
            for hole in self.holes
        )

    @property
    def missing_total(self) -> int:
        """Numbers waited for."""
        return sum(hole.last - hole.first + 1 for hole in self.holes)

    @property
    def held_bytes(self) -> int:
        """Bytes of all of it."""
        return STREAM_BYTES + HOLE_BYTES * len(self.holes) + GAP_BYTES * len(self.gaps)

    def _at(self, seq: int) -> int | None:
        for at in range(len(self.holes) - 1, -1, -1):  # the newest is asked for most
            hole = self.holes[at]
            if seq > hole.last:
                return None
            if seq >= hole.first:
                return at
        return None

    def _cut(self, at: int, first: int, last: int) -> None:
        hole = self.holes[at]
        rest = []
        if hole.first < first:
            rest.append(Hole(hole.first, first - 1, hole.since, hole.denied))
        if last < hole.last:
            rest.append(Hole(last + 1, hole.last, hole.since, hole.denied))
        self.holes[at : at + 1] = rest

    def _give_up(self, first: int, last: int) -> None:
        self.gapped_total += last - first + 1
        if self.gaps and self.gaps[-1][1] == first - 1:
            self.gaps[-1] = (self.gaps[-1][0], last)
        else:
            self.gaps.append((first, last))
            del self.gaps[:-MAX_GAPS]


def _without(first: int, last: int, holes: Ranges) -> list[tuple[int, int]]:
    """A range less some others, which are in order."""
    out = []
    for low, high in holes:
        if high < first:
            continue
        if low > last:
            break
        if low > first:
            out.append((first, low - 1))
        first = high + 1
    if first <= last:
        out.append((first, last))
    return out
