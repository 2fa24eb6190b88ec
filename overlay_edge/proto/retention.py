"""Retention: messages kept to repair what others missed, and ids that were seen.

    Cache   whole messages: bounded by bytes and by age, oldest first out
    Seen    ids in two generations: bounded by number; each lives up to ten minutes

What is forgotten here is not delivered twice: the ledger knows every number of a stream. Ids
are only for what comes without a number, an ``ihave``.
"""

from collections.abc import Iterator

from overlay_edge.proto.gossip_message import Gossip

# What one entry holds beside its data: the message's own fields, the dict's place. Measured
# with sys.getsizeof over all parts, rounded up.
ENTRY_BYTES = 560
ID_BYTES = 115  # measured: bytes of 16 and its place in a set
GENERATION_S = 600.0  # guess: longer than any repair takes
GENERATION_AGES = 3  # and this many times as long as messages are kept


class Cache:
    """The last messages.

    Args:
        limit_bytes: Of all messages with what they cost beside their data.
        age_s: How long one is kept.
    """

    def __init__(self, limit_bytes: int, age_s: float) -> None:
        self.held_bytes = 0
        self.evicted_total = 0  # before their age, for want of room
        self._limit_bytes = limit_bytes
        self._age_s = age_s
        self._kept: dict[bytes, tuple[Gossip, float]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, message: Gossip, *, now: float) -> None:
        """Keep a message; the oldest make room."""
        cost = cost_of(message)
        if message.id in self._kept or cost > self._limit_bytes:
            return
        self.purge(now=now)
        while self.held_bytes + cost > self._limit_bytes:
            self.evicted_total += 1
            self._forget_oldest()
        self._kept[message.id] = (message, now)
        self.held_bytes += cost

    def get(self, id: bytes, *, now: float) -> Gossip | None:
        """A message, unless it is too old."""
        found = self._kept.get(id)
        return found[0] if found and now - found[1] < self._age_s else None

    def purge(self, *, now: float) -> None:
        """Forget what is too old."""
        while self._kept and now - next(iter(self._kept.values()))[1] >= self._age_s:
            self._forget_oldest()

    def drop(self, topic: str | None) -> tuple[int, int]:
        """Let go of the messages of a topic, or all; returns how many, and their bytes."""
        gone = [id for id, (one, _) in self._kept.items() if topic in (None, one.topic)]
        freed = 0
        for id in gone:
            message, _ = self._kept.pop(id)
            self.held_bytes -= cost_of(message)
            freed += len(message.data)
        return len(gone), freed

    def __iter__(self) -> Iterator[Gossip]:
        return (message for message, _ in self._kept.values())

    def _forget_oldest(self) -> None:
        message, _ = self._kept.pop(next(iter(self._kept)))
        self.held_bytes -= cost_of(message)


class Seen:
    """Ids of the last messages.

    Args:
        limit: Ids in one of the two generations.
        age_s: How long messages are kept; ids are kept at least three times as long, unless
            there are more of them than fit.
        now: Monotonic seconds.
    """

    def __init__(self, limit: int, age_s: float, *, now: float) -> None:
        self.early_total = 0  # generations ended by their number, not their time
        self._limit = limit
        self._life_s = max(GENERATION_S, GENERATION_AGES * age_s)
        self._began = now
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, id: bytes) -> bool:
        return id in self._young or id in self._old

    def add(self, id: bytes, *, now: float) -> None:
        """Remember an id."""
        is_full = len(self._young) >= self._limit
        if is_full or now - self._began >= self._life_s:
            self.early_total += is_full
            self._old, self._young = self._young, set()
            self._began = now
        self._young.add(id)

    @property
    def held_bytes(self) -> int:
        """Bytes of all ids."""
        return ID_BYTES * len(self)


def cost_of(message: Gossip) -> int:
    """Bytes a kept message holds."""
    return ENTRY_BYTES + len(message.data)
