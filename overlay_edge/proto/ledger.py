"""Ledger: every message known of ends as delivered or as a gap, and can be counted.

For each publisher and topic the last two epochs are kept, each a :class:`Stream`. What is
missing is waited for ``wait_s``; neighbours are asked meanwhile (``antientropy.py``). Then it
is a gap, told to whoever subscribed. It always holds, for each stream:

    delivered + gapped + missing = top

Nothing is delivered twice, however often it comes, and nothing that was told as a gap is
delivered after it. A node that comes late asks for what its neighbours still keep of a
stream; what is older is a gap from 1 on.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from itertools import islice

from overlay_edge.proto.effects import Gapped, Loss
from overlay_edge.proto.gossip_message import MAX_HOLES, Ranges
from overlay_edge.proto.stream import Stream

MAX_EPOCHS = 2  # of one publisher and topic: the last, and the one before while it is repaired
MAX_ALL_HOLES = 4096  # of all streams: 1.2 MiB; beyond it each stream keeps few
FEW_HOLES = 4
IDLE_S = 900.0  # a stream may be forgotten after so long: three times the oldest cache

Key = tuple[str, bytes]


class Verdict(Enum):
    """What an arriving message is."""

    NEW = "new"
    DUPLICATE = "duplicate"
    LATE = "late"  # it was given up before: others may want it, the subscribers were told
    REFUSED = "refused"  # no room for another stream, or of an epoch long over


@dataclass(frozen=True, slots=True)
class Account:
    """What became of one numbering: ``delivered + gapped + missing = top``.

    Attributes:
        top: The highest number known of.
        missing: Waited for.
        gaps: Ranges given up, the last few of them.
    """

    topic: str
    publisher: bytes
    epoch: int
    top: int
    delivered: int
    gapped: int
    missing: int
    gaps: Ranges


class Ledger:
    """All streams.

    Args:
        max_streams: Publishers times topics times epochs.
        wait_s: How long a missing message is waited for.
    """

    def __init__(self, max_streams: int, wait_s: float) -> None:
        self.streams: dict[Key, list[Stream]] = {}  # each: latest epoch first; oldest change first
        self.wait_s = wait_s
        self._max_streams = max_streams
        self._number = 0
        self._holes = 0
        self._due: list[tuple[float, Key, int]] = []  # one for each stream with holes
        self._topics: dict[str, dict[Key, None]] = {}
        self._turn: dict[Key, None] = {}  # for digests: who waited longest is next
        self._brought: dict[bytes, int] = {}  # streams by the neighbour that first spoke of them

    def __len__(self) -> int:
        return self._number

    def arrived(
        self, key: Key, epoch: int, seq: int, *, peer: bytes, now: float
    ) -> tuple[Verdict, list[Gapped]]:
        """A message came; count it."""
        stream, gaps = self._stream(key, epoch, peer, now)
        if stream is None:
            return Verdict.REFUSED, gaps
        if stream.has(seq):
            return (Verdict.LATE if stream.is_gapped(seq) else Verdict.DUPLICATE), gaps
        before = len(stream.holes)
        gaps += _gapped(key, epoch, stream.arrive(seq, now=now), Loss.BEHIND)
        gaps += self._changed(key, stream, before, now)
        return Verdict.NEW, gaps

    def learned(
        self, key: Key, epoch: int, top: int, *, peer: bytes, now: float
    ) -> tuple[Stream | None, list[Gapped]]:
        """A neighbour knows of messages up to ``top``; None = there is no room for the stream."""
        stream, gaps = self._stream(key, epoch, peer, now)
        if stream is not None and top > stream.top:
            before = len(stream.holes)
            gaps += _gapped(key, epoch, stream.rise(top, now=now), Loss.BEHIND)
            gaps += self._changed(key, stream, before, now)
        return stream, gaps

    def find(self, key: Key, epoch: int) -> Stream | None:
        """The stream, if it is known."""
        return next((one for one in self.streams.get(key, ()) if one.epoch == epoch), None)

    def lacks(self, since: float) -> bool:
        """True if anything has been missing since then, or longer."""
        for _, key, epoch in self._due:  # all streams with holes, and some that had some
            stream = self.find(key, epoch)
            if stream is not None and any(hole.since <= since for hole in stream.holes):
                return True
        return False

    @property
    def has_holes(self) -> bool:
        """True if a message may be missing."""
        return bool(self._due)

    def of_topic(self, topic: str) -> Set[Key]:
        """The streams of a topic."""
        return self._topics.get(topic, {}).keys()

    def unsaid(self) -> Iterator[Key]:
        """All streams for a digest, the longest unsaid first."""
        return iter(self._turn)

    def said(self, number: int) -> None:
        """The first so many of them have been said."""
        for key in list(islice(self._turn, number)):
            del self._turn[key]
            self._turn[key] = None

    def deny(self, key: Key, epoch: int, first: int, last: int, peer: bytes) -> None:
        """A neighbour does not have these."""
        stream = self.find(key, epoch)
        if stream is not None:
            before = len(stream.holes)
            stream.deny(first, last, peer)
            self._holes += len(stream.holes) - before

    def undo(self, key: Key, epoch: int, seq: int) -> list[Gapped]:
        """What arrived was an object's address, and the object could not be had."""
        stream = self.find(key, epoch)
        if stream is None:
            return []
        stream.undo(seq)
        return _gapped(key, epoch, ((seq, seq),), Loss.FETCH)

    def accounts(self) -> Iterator[Account]:
        """Every numbering that is known."""
        for (topic, publisher), streams in self.streams.items():
            for one in streams:
                yield Account(
                    topic,
                    publisher,
                    one.epoch,
                    one.top,
                    one.delivered_total,
                    one.gapped_total,
                    one.missing_total,
                    tuple(one.gaps),
                )

    def deadline(self) -> float:
        """Wake me then."""
        return self._due[0][0] if self._due else float("inf")

    def wake(self, *, now: float) -> list[Gapped]:
        """Give up what has been missing too long."""
        gaps: list[Gapped] = []
        while self._due and self._due[0][0] <= now:
            _, key, epoch = heappop(self._due)
            stream = self.find(key, epoch)
            if stream is None:
                continue
            before = len(stream.holes)
            old = stream.expire(self.wait_s, now=now)
            self._holes += len(stream.holes) - before
            for hole in old:
                loss = Loss.LOST if hole.denied else Loss.UNANSWERED
                gaps += _gapped(key, epoch, ((hole.first, hole.last),), loss)
            stream.is_due = False
            self._plan(key, stream)
        return gaps

    @property
    def held_bytes(self) -> int:
        """Bytes of all streams."""
        return sum(one.held_bytes for streams in self.streams.values() for one in streams)

    @property
    def missing_total(self) -> int:
        """Messages waited for."""
        return sum(one.missing_total for streams in self.streams.values() for one in streams)

    def _changed(self, key: Key, stream: Stream, before: int, now: float) -> list[Gapped]:
        """After something came: ``before`` is how many holes it had; returns what is given up."""
        stream.heard = now
        self.streams[key] = self.streams.pop(key)
        self._holes += len(stream.holes) - before
        before = len(stream.holes)
        given_up = stream.squeeze(MAX_HOLES if self._holes <= MAX_ALL_HOLES else FEW_HOLES)
        self._holes += len(stream.holes) - before
        self._plan(key, stream)
        return _gapped(key, stream.epoch, given_up, Loss.HOLES)

    def _plan(self, key: Key, stream: Stream) -> None:
        if stream.holes and not stream.is_due:
            stream.is_due = True
            oldest = min(hole.since for hole in stream.holes)
            heappush(self._due, (oldest + self.wait_s, key, stream.epoch))

    def _stream(
        self, key: Key, epoch: int, peer: bytes, now: float
    ) -> tuple[Stream | None, list[Gapped]]:
        """The stream, made if there is room, and what had to be given up for it."""
        known = self.streams.get(key, [])
        for stream in known:
            if stream.epoch == epoch:
                return stream, []
        if len(known) >= MAX_EPOCHS and epoch < known[-1].epoch:
            return None, []
        if len(known) < MAX_EPOCHS and self._number >= self._max_streams and not self._forget(now):
            return None, []
        if not known:
            self.streams[key] = known
            self._topics.setdefault(key[0], {})[key] = None
            self._turn[key] = None
        known.append(made := Stream(epoch, heard=now, brought_by=peer))
        known.sort(key=lambda one: -one.epoch)
        self._number += 1
        self._brought[peer] = self._brought.get(peer, 0) + 1
        gaps: list[Gapped] = []
        for stream in known[MAX_EPOCHS:]:
            self._holes -= len(stream.holes)
            for hole in stream.expire(0.0, now=now):
                gaps += _gapped(key, stream.epoch, ((hole.first, hole.last),), Loss.REPLACED)
            self._count_out(stream)
        del known[MAX_EPOCHS:]
        return made, gaps

    def brought(self, peer: bytes) -> int:
        """Streams that are only here because this neighbour spoke of them first."""
        return self._brought.get(peer, 0)

    def forget_topic(self, topic: str, *, now: float) -> bool:
        """Forget all of a topic, if nothing of it can come any more."""
        keys = list(self.of_topic(topic))
        if not all(self._is_idle(key, now) for key in keys):
            return False
        for key in keys:
            self._remove(key)
        return True

    def _forget(self, now: float) -> bool:
        """Make room: the longest unchanged, if nothing of it can come any more."""
        key = next(iter(self.streams), None)
        if key is None or not self._is_idle(key, now):
            return False
        self._remove(key)
        return True

    def _is_idle(self, key: Key, now: float) -> bool:
        return all(not one.holes and now - one.heard >= IDLE_S for one in self.streams[key])

    def _remove(self, key: Key) -> None:
        for stream in self.streams.pop(key):
            self._count_out(stream)
        del self._turn[key]
        del self._topics[key[0]][key]
        if not self._topics[key[0]]:
            del self._topics[key[0]]

    def _count_out(self, stream: Stream) -> None:
        self._number -= 1
        left = self._brought.get(stream.brought_by, 0) - 1
        if left > 0:
            self._brought[stream.brought_by] = left
        else:
            self._brought.pop(stream.brought_by, None)


def _gapped(key: Key, epoch: int, ranges: Ranges, loss: Loss) -> list[Gapped]:
    topic, publisher = key
    return [Gapped(topic, publisher, epoch, *pair, loss.value) for pair in ranges]
