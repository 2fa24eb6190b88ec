"""Delivery: what becomes of a message here, whoever brought it.

    arrives --> is it one? --> is there room? --> ledger: new? --> delivered --> passed on
                   |                |               |
                 fault            shed      duplicate: its sender need not push
                                            late: told as a gap before, only passed on

What names an object is delivered, and passed on, when the object is here.
"""

from dataclasses import replace

from overlay_edge.config import GossipConfig
from overlay_edge.proto.antientropy import MAX_ANSWER_BYTES, AntiEntropy
from overlay_edge.proto.broadcast import Broadcast, is_flood
from overlay_edge.proto.effects import (
    Accepted,
    Deliver,
    Dice,
    Gapped,
    Inner,
    Outcome,
    Queued,
    Shed,
)
from overlay_edge.proto.fetching import Fetching
from overlay_edge.proto.gossip_message import (
    MAX_PROVIDERS,
    Contact,
    Digest,
    Gossip,
    Held,
    Ihave,
    Want,
    message_id,
)
from overlay_edge.proto.ledger import Ledger, Verdict
from overlay_edge.proto.publisher import Publisher
from overlay_edge.proto.quota import TokenBucket
from overlay_edge.proto.reputation import FIRST_DELIVERY, PROMISE_KEPT, Fault, Reputation
from overlay_edge.proto.retention import Cache, Seen
from overlay_edge.proto.topics import OURS, Topics, is_topic

STREAMS_PER_TOPIC = 4  # on average; ten thousand publishers of one topic fit, too
GAP_PERIODS = 3  # of anti-entropy: so long a missing message is waited for
TOPICS_FULL_MS = 60_000  # one may be forgotten by then


class Delivery:
    """Messages, from wherever to wherever.

    Args:
        me: This node.
        config: Sizes and rates.
        reputation: Told who was useful, and who was not.
        started_ms: Wall clock of the start, milliseconds since 1970.
        rng: Dice.
        now: Monotonic seconds.

    Attributes:
        nodes: Nodes known of, this one included; the owner keeps it right.
        counts: What happened, by name; what was shed as ``shed_<lane>_<reason>``.
    """

    def __init__(
        self,
        me: Contact,
        config: GossipConfig,
        reputation: Reputation,
        *,
        started_ms: int,
        rng: Dice,
        now: float,
    ) -> None:
        self.nodes = 1
        self.counts: dict[str, int] = {}
        self.cache = Cache(config.cache_bytes, config.cache_age_s)
        self.seen = Seen(config.dedup_ids, config.cache_age_s, now=now)
        self.ledger = Ledger(
            STREAMS_PER_TOPIC * config.max_topics, GAP_PERIODS * config.antientropy_s
        )
        self.topics = Topics(
            config.max_topics, config.max_topics_per_peer, forget=self._forget_topic
        )
        self.broadcast = Broadcast(config, self.cache, now=now)
        self.repair = AntiEntropy(self.ledger, self.cache, config.antientropy_s, rng=rng, now=now)
        self.fetching = Fetching()
        self._me = me
        self._config = config
        self._reputation = reputation
        self._publisher = Publisher(started_ms)
        self._rate = TokenBucket(config.rate, 2 * config.rate, now=now)

    # -- our own ------------------------------------------------------------------------------

    def publish(
        self, topic: str, data: bytes, addr: str, size: int, *, ts_ms: int, now: float
    ) -> tuple[Outcome, list[Inner]]:
        """Number a message and send it on its way, or say why not."""
        if not is_topic(topic):
            return self._shed("topic")
        if len(data) > self._config.max_message_bytes:
            return self._shed("too_large")
        if not self._rate.take(now=now):
            return self._shed("rate", 1 + int(1000 * self._rate.wait_s()))
        if not self.topics.admit(topic, OURS, now=now):
            return self._shed("topics", TOPICS_FULL_MS)
        epoch, seq = self._publisher.number(topic)
        key = (topic, self._me.node)
        verdict, gaps = self.ledger.arrived(key, epoch, seq, peer=OURS, now=now)
        if verdict is not Verdict.NEW:  # no room for the stream
            self._publisher.forget(topic)
            return self._shed("topics", TOPICS_FULL_MS)
        providers = (self._me,) if addr and self._me.addr else ()
        id = message_id(self._me.node, epoch, seq)
        message = Gossip(
            id, topic, self._me.node, epoch, seq, ts_ms, 0, data, addr, size, providers
        )
        self._count("published")
        inner = [*self._told(gaps), *self._deliver(message), *self._pass_on(None, message, now)]
        if self.broadcast.able():
            return Accepted(epoch, seq), inner
        return Queued(epoch, seq, "congested" if self.broadcast.neighbours else "alone"), inner

    def fetched(self, addr: str, ok: bool, *, now: float) -> list[Inner]:
        """An object is here, or nobody had it."""
        inner: list[Inner] = []
        for peer, message in self.fetching.end(addr):
            if ok:
                inner += self._deliver(message)
                if self._me.addr:
                    providers = (self._me, *message.providers)[:MAX_PROVIDERS]
                    message = replace(message, providers=providers)
            else:
                inner += self._undo(message)
            inner += self._pass_on(peer, message, now)
        return inner

    # -- of neighbours ------------------------------------------------------------------------

    def gossip(self, peer: bytes, message: Gossip, *, now: float) -> list[Inner]:
        """A message came."""
        if message_id(message.publisher, message.epoch, message.seq) != message.id:
            return self._fault(peer, Fault.INVALID, now)
        if len(message.data) > self._config.max_message_bytes:
            self._count("shed_eager_too_large")  # our limit, not the peer's fault
            return []
        if message.id in self.seen:
            return self._duplicate(peer, message, now)
        if message.publisher == self._me.node and self._publisher.heard(
            message.topic, message.epoch, message.seq
        ):
            self._count("forged")
            return []
        if not self.topics.admit(message.topic, peer, now=now):
            self._count("shed_eager_topics")
            return self._fault(peer, Fault.TOPICS, now)
        key = (message.topic, message.publisher)
        if self._room(peer) <= 0 and self.ledger.find(key, message.epoch) is None:
            self._count("shed_eager_streams")
            return self._fault(peer, Fault.STREAMS, now)
        verdict, gaps = self.ledger.arrived(key, message.epoch, message.seq, peer=peer, now=now)
        if self.ledger.has_holes:
            self.repair.hurry(now=now)
        inner = self._told(gaps)
        match verdict:
            case Verdict.REFUSED:
                self._count("shed_eager_stale")
            case Verdict.DUPLICATE:
                inner += self._duplicate(peer, message, now)
            case Verdict.LATE:
                self._count("late")
                inner += self._pass_on(peer, message, now)
            case Verdict.NEW:
                self._count("received")
                self._reputation.earn(peer, FIRST_DELIVERY, now=now)
                inner += self._take(peer, message, now)
        return inner

    def ihave(self, peer: bytes, message: Ihave, *, now: float) -> list[Inner]:
        """A neighbour has messages."""
        if not self.topics.admit(message.topic, peer, now=now):
            return self._fault(peer, Fault.TOPICS, now)
        self.broadcast.announced(peer, message, self.seen, now=now)
        return []

    def want(self, peer: bytes, want: Want, *, now: float) -> list[Inner]:
        """A neighbour lacks messages."""
        if self.broadcast.is_congested(peer):
            self._count("shed_lazy_congested")
            return []
        inner: list[Inner] = []
        sent_bytes = 0
        for id in want.ids:
            if sent_bytes >= MAX_ANSWER_BYTES:
                break  # the rest is asked of others, or found by comparing
            for tell in self.broadcast.wanted(peer, id, now=now):
                inner.append(tell)
                sent_bytes += len(tell.message.data) if isinstance(tell.message, Gossip) else 0
        for one in self.repair.wanted(peer, want, now=now) if want.ranges else ():
            inner.append(self.broadcast.repair(peer, one) if isinstance(one, Gossip) else one)
        return inner

    def digest(self, peer: bytes, digest: Digest, *, now: float) -> list[Inner]:
        """What a neighbour holds of a topic."""
        if not self.topics.admit(digest.topic, peer, now=now):
            return self._fault(peer, Fault.TOPICS, now)
        new = 0
        streams: dict[bytes, tuple[Held, ...]] = {}
        for publisher, parts in digest.streams.items():
            key = (digest.topic, publisher)
            unknown = sum(self.ledger.find(key, one.epoch) is None for one in parts)
            if self._is_odd(publisher, digest.topic, parts) or new + unknown > self._room(peer):
                self._count("shed_lazy_streams")
            else:
                streams[publisher] = parts
                new += unknown
        if len(streams) < len(digest.streams):
            digest = replace(digest, streams=streams, whole=False)
        tells, gaps = self.repair.digest(peer, digest, now=now)
        if self.ledger.has_holes:
            self.repair.hurry(now=now)
        return [*self._told(gaps), *tells]

    # -- time -------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Wake me then."""
        return min(self.broadcast.deadline(), self.repair.deadline(), self.ledger.deadline())

    def wake(self, *, now: float) -> list[Inner]:
        """It is then."""
        inner: list[Inner] = [*self.broadcast.wake(now=now)]
        inner += self.repair.wake(self.broadcast.able(), now=now)
        inner += self._told(self.ledger.wake(now=now))
        for peer in self.broadcast.missing.take_broken():
            self._reputation.fault(peer, Fault.PROMISE, now=now)
            self.repair.compare(now=now)
        return inner

    @property
    def held_bytes(self) -> int:
        """Bytes of all that is kept of messages and topics."""
        parts = (
            self.cache,
            self.seen,
            self.ledger,
            self.topics,
            self.broadcast,
            self.repair,
            self.fetching,
        )
        return sum(part.held_bytes for part in parts)

    # -- one message ----------------------------------------------------------------------------

    def _take(self, peer: bytes, message: Gossip, now: float) -> list[Inner]:
        """A new message: deliver it and pass it on; an object is pulled before both."""
        if not message.addr or message.topic not in self.topics.subscribed:
            return [*self._deliver(message), *self._pass_on(peer, message, now)]
        fetch = self.fetching.begin(peer, message)
        if fetch is not None:
            self.seen.add(message.id, now=now)
            return [*fetch]
        self._count("shed_eager_fetches")
        return [*self._undo(message), *self._pass_on(peer, message, now)]

    def _pass_on(self, peer: bytes | None, message: Gossip, now: float) -> list[Inner]:
        self.seen.add(message.id, now=now)
        self.cache.add(message, now=now)
        floods = is_flood(message, self.nodes)
        inner = self.broadcast.accepted(peer, message, floods=floods, now=now)
        for one in self.broadcast.missing.take_kept():
            self._reputation.earn(one, PROMISE_KEPT, now=now)
        return [*inner]

    def _duplicate(self, peer: bytes, message: Gossip, now: float) -> list[Inner]:
        self._count("duplicates")
        floods = is_flood(message, self.nodes)
        return [*self.broadcast.duplicate(peer, message, floods=floods, now=now)]

    def _deliver(self, message: Gossip) -> list[Inner]:
        if message.topic not in self.topics.subscribed:
            return []
        self._count("delivered")
        return [
            Deliver(
                message.topic,
                message.publisher,
                message.epoch,
                message.seq,
                message.data,
                message.addr,
                message.size,
                message.hop,
            )
        ]

    def _undo(self, message: Gossip) -> list[Inner]:
        key = (message.topic, message.publisher)
        return self._told(self.ledger.undo(key, message.epoch, message.seq))

    def _told(self, gaps: list[Gapped]) -> list[Inner]:
        told: list[Inner] = []
        for gap in gaps:
            self._count(f"gapped_{gap.reason}", gap.last - gap.first + 1)
            if gap.topic in self.topics.subscribed:
                told.append(gap)
        return told

    # -- rules --------------------------------------------------------------------------------

    def _is_odd(self, publisher: bytes, topic: str, parts: tuple[Held, ...]) -> bool:
        """A stream of a digest that is said to be ours, and is not."""
        if publisher != self._me.node:
            return False
        return any([self._publisher.heard(topic, one.epoch, one.top) for one in parts])

    def _room(self, peer: bytes) -> int:
        """Streams that a peer may still bring up: half of all at most."""
        return STREAMS_PER_TOPIC * self._config.max_topics // 2 - self.ledger.brought(peer)

    def _fault(self, peer: bytes, fault: Fault, now: float) -> list[Inner]:
        self._reputation.fault(peer, fault, now=now)
        return []

    def _forget_topic(self, topic: str, now: float) -> bool:
        if not self.ledger.forget_topic(topic, now=now):
            return False
        self._publisher.forget(topic)
        self.broadcast.forget(topic)
        return True

    def _shed(self, reason: str, retry_after_ms: int = 0) -> tuple[Outcome, list[Inner]]:
        self._count(f"shed_publish_{reason}")
        return Shed(reason, retry_after_ms), []

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount
