"""Reputation: what each peer may cost, and what it has earned.

    score   starts at 0, falls by faults, rises by first deliveries, halves each minute
    < -10   it may not push: it is told ids at most
    < -50   no longer a neighbour, and not let in again for ten minutes

Rates are counted before anything is done for a message; what is over them is dropped and is a
fault of its own. Every fault has a name, and the last ones are kept for the operator to see.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from overlay_edge.proto.gossip_message import MAX_IDS
from overlay_edge.proto.quota import TokenBucket

HALF_LIFE_S = 60.0
MAX_SCORE = 10.0  # what was earned must not pay for an attack
NO_PUSH = -10.0
GRAYLIST = -50.0
GRAYLIST_S = 600.0
MAX_GRAYLISTED = 1024
MAX_FAULTS = 8  # the last ones of a peer
FIRST_DELIVERY = 0.05  # earned
PROMISE_KEPT = 1.0
IHAVES_PER_S = 1000.0  # ids
GRAFTS_PER_S = 10.0
FLOOD_RATES = 8  # times the rate of messages
CONTROLS_PER_S = 50.0  # join, shuffle and the like: many while a whole mesh starts
DIGESTS_PER_S = 16.0  # full frames; a busy mesh at its shortest period sends about as much
DIGESTS_SAVED_S = 8.0  # a node that comes back lacks something of every topic
REPAIR_BYTES_PER_S = 2 << 20  # asked for with want: 50 bytes that may cost 256 KiB
PEER_BYTES = 3000  # measured: a record with its buckets and faults


class Fault(Enum):
    """What a peer did wrong."""

    INVALID = "invalid"  # not a message, or its id is not its content's
    RATE = "rate"  # more messages than we take: a busy mesh, or a small board among large ones
    FLOOD = "flood"  # several times as many
    IHAVE_RATE = "ihave_rate"
    GRAFT_RATE = "graft_rate"
    CONTROL_RATE = "control_rate"
    DIGEST_RATE = "digest_rate"
    REPAIR_RATE = "repair_rate"
    PROMISE = "promise"  # ihave, and no message when asked
    TOPICS = "topics"  # more of them than one peer may bring up
    STREAMS = "streams"  # more publishers than one peer may bring up


# How much each costs. One alone never matters; at the rate of a flood it takes seconds.
COSTS: dict[Fault, float] = {
    Fault.INVALID: 10.0,
    Fault.RATE: 0.5,
    Fault.FLOOD: 0.1,
    Fault.IHAVE_RATE: 2.0,
    Fault.GRAFT_RATE: 1.0,
    Fault.CONTROL_RATE: 2.0,
    Fault.DIGEST_RATE: 2.0,
    Fault.REPAIR_RATE: 1.0,
    Fault.PROMISE: 1.0,
    Fault.TOPICS: 0.5,
    Fault.STREAMS: 0.5,
}


# These may be another's doing, who is behind the peer: at most one a second counts, which costs
# the right to push, never the link.
PASSED_ON = frozenset({Fault.TOPICS, Fault.STREAMS, Fault.RATE})


@dataclass(slots=True)
class Record:
    """One peer."""

    messages: TokenBucket
    floods: TokenBucket
    ihaves: TokenBucket
    grafts: TokenBucket
    controls: TokenBucket
    digests: TokenBucket
    repairs: TokenBucket
    passed_on: TokenBucket
    at: float
    score: float = 0.0
    rtt_s: float = 0.0
    topics: int = 0
    faults: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=MAX_FAULTS))
    totals: dict[str, int] = field(default_factory=dict)


class Reputation:
    """All peers with a link, and those that are not let in.

    Args:
        rate: Messages per second of one peer.

    Attributes:
        counts: Faults of all peers, by name.
    """

    def __init__(self, rate: int) -> None:
        self.counts: dict[str, int] = {}
        self.records: dict[bytes, Record] = {}
        self._rate = rate
        self._faulted: set[bytes] = set()
        self._graylist: dict[bytes, float] = {}  # until when

    def linked(self, peer: bytes, *, now: float) -> bool:
        """A peer comes; False = it is not let in yet."""
        until = self._graylist.get(peer)
        if until is not None and now < until:
            return False
        self._graylist.pop(peer, None)
        if peer not in self.records:

            def bucket(rate_per_s: float, seconds: float = 2.0) -> TokenBucket:
                return TokenBucket(rate_per_s, max(1.0, seconds * rate_per_s), now=now)

            self.records[peer] = Record(
                bucket(self._rate),
                bucket(FLOOD_RATES * self._rate),
                bucket(IHAVES_PER_S, 1.0 + MAX_IDS / IHAVES_PER_S),
                bucket(GRAFTS_PER_S),
                bucket(CONTROLS_PER_S),
                bucket(DIGESTS_PER_S, DIGESTS_SAVED_S),
                bucket(REPAIR_BYTES_PER_S),
                bucket(1.0, 1.0),
                now,
            )
        return True

    def unlinked(self, peer: bytes) -> None:
        """It went; what is held against it stays only if it is graylisted."""
        self.records.pop(peer, None)
        self._faulted.discard(peer)

    def fault(self, peer: bytes, fault: Fault, *, now: float) -> None:
        """Something was wrong."""
        record = self.records.get(peer)
        self.counts[fault.value] = self.counts.get(fault.value, 0) + 1
        if record is None:
            return
        self._faulted.add(peer)
        if fault in PASSED_ON and not record.passed_on.take(now=now):
            return
        record.score = self._decayed(record, now) - COSTS[fault]
        record.faults.append((fault.value, now))
        record.totals[fault.value] = record.totals.get(fault.value, 0) + 1

    def take_faulted(self) -> set[bytes]:
        """Peers with a fault since this was asked last: they are to be judged."""
        faulted, self._faulted = self._faulted, set()
        return faulted

    def earn(self, peer: bytes, amount: float, *, now: float) -> None:
        """Something was useful."""
        record = self.records.get(peer)
        if record is not None:
            record.score = min(MAX_SCORE, self._decayed(record, now) + amount)

    def score(self, peer: bytes, *, now: float) -> float:
        """What a peer is worth now."""
        record = self.records.get(peer)
        return self._decayed(record, now) if record is not None else 0.0

    def graylist(self, peer: bytes, *, now: float) -> str:
        """Do not let it in for a while; says for what. The one listed longest makes room."""
        if len(self._graylist) >= MAX_GRAYLISTED:
            del self._graylist[next(iter(self._graylist))]
        self._graylist[peer] = now + GRAYLIST_S
        record = self.records.get(peer)
        self.unlinked(peer)
        return record.faults[-1][0] if record and record.faults else "score"

    @property
    def graylisted(self) -> int:
        """Peers that are not let in."""
        return len(self._graylist)

    @property
    def held_bytes(self) -> int:
        """Bytes of all records."""
        return PEER_BYTES * len(self.records) + 120 * len(self._graylist)

    def _decayed(self, record: Record, now: float) -> float:
        passed = now - record.at
        if passed > 0:
            record.score *= 0.5 ** (passed / HALF_LIFE_S)
            record.at = now
        return record.score
