"""Anti-entropy: now and then, compare with a neighbour what was heard, and fetch the rest.

    each period   a -- digest, ask --> b     what a holds of each stream
                  a <-- digest ------- b     of those streams where b has more
    a moment on   a -- want ---------> b     if no push has brought it meanwhile
                  a <-- gossip, gap -- b     what b keeps, and what it does not

A push that was lost leaves a hole, and the last message of a stream does not even leave that:
this finds both. Who knows that it lacks something compares sooner: after a second, then two,
four, and so on. Digests are of one topic each; what does not fit is said next time. An answer
of many messages is cut, and ends with a digest, so that the rest is asked for.
"""

from dataclasses import dataclass

from overlay_edge.proto.effects import Dice, Gapped, Lane, Tell, pick
from overlay_edge.proto.gossip_message import (
    MAX_DIGEST_BYTES,
    Digest,
    Gap,
    Gossip,
    Held,
    Want,
    message_id,
)
from overlay_edge.proto.ledger import Key, Ledger
from overlay_edge.proto.retention import Cache

SPREAD = 0.5
MAX_DIGESTS = 4  # frames of up to 4 KiB in one exchange, if they were full
# Topics in one exchange: each is a frame, however small, and as many may answer. A new neighbour
# may lack something of all; those are as many as find room.
MAX_TOPICS, MAX_TOPICS_UP = 32, 150
HURRY_S = 1.0  # who knows of a hole asks after this
RIPE_S = 0.5  # a younger hole is a message that was overtaken by another
GRACE_S = 0.3  # what is missing may be on its way: asked for only after this
MAX_OFFERS = 512  # streams that neighbours have more of; more wait for the next period
MAX_NUMBERS = 64  # messages of one want
MAX_ANSWER_BYTES = 256 << 10  # of one want
OFFER_BYTES = 430  # measured
# One stream in a digest at most: publisher, and twice epoch, seq and holes of 9 bytes a number.
HELD_BYTES, RANGE_BYTES = 34 + 20, 18
NEVER = float("inf")


@dataclass(slots=True)
class _Offer:
    """A neighbour has more of a stream."""

    held: Held
    at: float


class AntiEntropy:
    """Comparing and repairing.

    Args:
        ledger: What is known.
        cache: What can be given to others.
        period_s: Between two comparings, give or take a half.
        rng: Dice.
        now: Monotonic seconds.
    """

    def __init__(
        self, ledger: Ledger, cache: Cache, period_s: float, *, rng: Dice, now: float
    ) -> None:
        self.counts: dict[str, int] = {}
        self._ledger = ledger
        self._cache = cache
        self._period_s = period_s
        self._rng = rng
        self._next_at = now + period_s * (0.5 + rng())
        self._hurry_s = HURRY_S
        self._hurry_at = NEVER
        self._offers: dict[tuple[bytes, Key, int], _Offer] = {}  # in the order of their time

    # -- comparing ----------------------------------------------------------------------------

    def up(self, peer: bytes) -> list[Tell]:
        """A new neighbour: compare at once."""
        return self._digests(peer, MAX_TOPICS_UP)

    def down(self, peer: bytes) -> None:
        """A neighbour is gone, and what it offered."""
        for key in [key for key in self._offers if key[0] == peer]:
            del self._offers[key]

    def digest(self, peer: bytes, digest: Digest, *, now: float) -> tuple[list[Tell], list[Gapped]]:
        """What a neighbour holds: note what is missing here, answer if it lacks something."""
        gaps: list[Gapped] = []
        more: dict[bytes, tuple[Held, ...]] = {}
        for publisher, parts in digest.streams.items():
            key = (digest.topic, publisher)
            for held in parts:
                stream, lost = self._ledger.learned(key, held.epoch, held.top, peer=peer, now=now)
                gaps += lost
                if stream is not None and stream.holes and stream.lacks(held):
                    self._offer(peer, key, held, now)
            if self._has_more(key, parts):
                more[publisher] = self._held(key)
        if not digest.ask:
            return [], gaps
        if digest.whole:
            for key in self._ledger.of_topic(digest.topic):
                if key[1] not in digest.streams:
                    more[key[1]] = self._held(key)
        return self._frames(peer, digest.topic, more, ask=False, whole=False), gaps

    def _has_more(self, key: Key, parts: tuple[Held, ...]) -> bool:
        theirs = {held.epoch: held for held in parts}
        for stream in self._ledger.streams.get(key, ()):
            held = theirs.get(stream.epoch)
            if held is None:
                return stream.top > 0
            if stream.top > held.top or any(
                stream.has(first) or stream.has(last) for first, last in held.holes
            ):
                return True
        return False

    def _offer(self, peer: bytes, key: Key, held: Held, now: float) -> None:
        name = (peer, key, held.epoch)
        if name in self._offers:
            self._offers[name].held = held
        elif len(self._offers) < MAX_OFFERS:
            self._offers[name] = _Offer(held, now + GRACE_S)

    # -- repairing ----------------------------------------------------------------------------

    def wanted(self, peer: bytes, want: Want, *, now: float) -> list[Gossip | Tell]:
        """Answer a want of numbers: messages, which the caller sends as repairs, and gaps."""
        key = (want.topic, want.publisher)
        out: list[Gossip | Tell] = []
        lacking: list[tuple[int, int]] = []
        sent_bytes, left = 0, MAX_NUMBERS
        for first, last in want.ranges:
            for seq in range(first, min(last, first + left - 1) + 1):
                message = self._cache.get(message_id(want.publisher, want.epoch, seq), now=now)
                left -= 1
                if message is not None and sent_bytes < MAX_ANSWER_BYTES:
                    out.append(message)
                    sent_bytes += len(message.data)
                elif message is None:
                    if lacking and lacking[-1][1] == seq - 1:
                        lacking[-1] = (lacking[-1][0], seq)
                    else:
                        lacking.append((seq, seq))
            if left <= 0:
                break
        for first, last in lacking:
            gap = Gap(want.topic, want.publisher, want.epoch, first, last)
            out.append(Tell(peer, gap, Lane.LAZY))
        stream = self._ledger.find(key, want.epoch)
        if stream is not None and (left <= 0 or sent_bytes >= MAX_ANSWER_BYTES):
            rest = Digest(want.topic, {want.publisher: (stream.held(),)})
            out.append(Tell(peer, rest, Lane.LAZY))
        return out

    def gap(self, peer: bytes, gap: Gap) -> None:
        """A neighbour does not have what it was asked for."""
        key = (gap.topic, gap.publisher)
        self._ledger.deny(key, gap.epoch, gap.first, gap.last, peer)

    def hurry(self, *, now: float) -> None:
        """Something is missing here: look soon whether it still is."""
        if self._hurry_at == NEVER:
            self._hurry_at = now + self._hurry_s * (0.5 + self._rng())

    def compare(self, *, now: float) -> None:
        """Something was heard of and never came: compare soon."""
        self._next_at = min(self._next_at, now + HURRY_S * self._rng())

    # -- time -------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Wake me then."""
        offer_at = next(iter(self._offers.values())).at if self._offers else NEVER
        return min(self._next_at, self._hurry_at, offer_at)

    def wake(self, neighbours: list[bytes], *, now: float) -> list[Tell]:
        """It is then.

        Args:
            neighbours: Whom to compare with; empty while there is more urgent work.
            now: Monotonic seconds.
        """
        out: list[Tell] = []
        while self._offers:
            name = next(iter(self._offers))
            if self._offers[name].at > now:
                break
            peer, key, epoch = name
            out += self._want(peer, key, epoch, self._offers.pop(name).held)
        if now >= self._hurry_at:
            self._hurry_at = NEVER
            self._hurry_s = min(2 * self._hurry_s, self._period_s)
            if not self._ledger.lacks(now - RIPE_S):
                self._hurry_s = HURRY_S
            elif neighbours:
                out += self._digests(pick(neighbours, self._rng), MAX_TOPICS)
                self.hurry(now=now)
        if now >= self._next_at:
            self._next_at = now + self._period_s * (1 - SPREAD + 2 * SPREAD * self._rng())
            if neighbours:
                out += self._digests(pick(neighbours, self._rng), MAX_TOPICS)
        return out

    def _want(self, peer: bytes, key: Key, epoch: int, held: Held) -> list[Tell]:
        stream = self._ledger.find(key, epoch)
        ranges = stream.wanted(peer, held, MAX_NUMBERS) if stream is not None else ()
        if not ranges:
            return []
        self._count("repairs_asked")
        topic, publisher = key
        return [Tell(peer, Want((), topic, publisher, epoch, ranges), Lane.LAZY)]

    # -- digests ------------------------------------------------------------------------------

    def _held(self, key: Key) -> tuple[Held, ...]:
        return tuple(one.held() for one in self._ledger.streams.get(key, ()))

    def _digests(self, peer: bytes, limit: int) -> list[Tell]:
        """Ask by what is held of so many topics, the longest unsaid first, as far as it fits."""
        topics: dict[str, dict[bytes, tuple[Held, ...]]] = {}
        room = MAX_DIGESTS * MAX_DIGEST_BYTES
        said = 0
        for key in self._ledger.unsaid():
            parts = self._held(key)
            room -= _cost(parts) + (64 if key[0] not in topics else 0)
            if room < 0 or (key[0] not in topics and len(topics) >= limit):
                break
            topics.setdefault(key[0], {})[key[1]] = parts
            said += 1
        self._ledger.said(said)
        out: list[Tell] = []
        for topic, streams in topics.items():
            whole = len(streams) == len(self._ledger.of_topic(topic))
            out += self._frames(peer, topic, streams, ask=True, whole=whole)
        self._count("digests_sent", len(out))
        return out

    def _frames(
        self,
        peer: bytes,
        topic: str,
        streams: dict[bytes, tuple[Held, ...]],
        *,
        ask: bool,
        whole: bool,
    ) -> list[Tell]:
        """Cut into digests of 4 KiB; only one that says all of a topic may say so."""
        frames: list[dict[bytes, tuple[Held, ...]]] = []
        room = 0
        for publisher, parts in streams.items():
            cost = _cost(parts)
            if cost > room:
                if len(frames) >= MAX_DIGESTS:
                    break
                frames.append({})
                room = MAX_DIGEST_BYTES - 256  # topic and keys
            frames[-1][publisher] = parts
            room -= cost
        whole = whole and len(frames) == 1
        return [Tell(peer, Digest(topic, frame, ask, whole), Lane.LAZY) for frame in frames]

    @property
    def held_bytes(self) -> int:
        """Bytes of all offers."""
        return OFFER_BYTES * len(self._offers)

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount


def _cost(parts: tuple[Held, ...]) -> int:
    """Bytes of one publisher in a digest, at most."""
    return sum(HELD_BYTES + RANGE_BYTES * len(held.holes) for held in parts)
