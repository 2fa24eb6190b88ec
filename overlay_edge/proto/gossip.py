"""Gossip: the one machine of the mesh that a node owns.

    membership   who is talked to              delivery      what becomes of a message
    reputation   what a peer may cost          broadcast     who is pushed what
    ledger       every message ends as         missing       what was heard of and has not come
                 delivered or as a gap         antientropy   comparing with neighbours

The doors: ``publish``, ``subscribe``, ``unsubscribe`` from above; ``linked``, ``unlinked``,
``dial_failed``, ``receive``, ``congested``, ``measured``, ``fetched`` from the links; ``wake`` at
``deadline``. Each returns effects, to be carried out in their order.

Every node passes every topic on; a subscription only decides what is delivered here. A mesh of
small boards is one mesh: cut by topics it would be many, each smaller and sooner torn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from overlay_edge.config import GossipConfig
from overlay_edge.errors import PeerViolation
from overlay_edge.proto import gossip_codec
from overlay_edge.proto.delivery import Delivery
from overlay_edge.proto.effects import Dice, Down, Drop, Effect, Inner, Outcome, Send, Tell, Up
from overlay_edge.proto.gossip_message import (
    Contact,
    Digest,
    Gap,
    Gossip,
    Graft,
    Ihave,
    Message,
    Prune,
    Want,
)
from overlay_edge.proto.membership import Membership
from overlay_edge.proto.reputation import GRAYLIST, NO_PUSH, Fault, Record, Reputation

CONTACT_BYTES = 420  # measured: a node in a view
FULL_DIGEST = 80  # streams: as many as 4 KiB hold
DIGEST_COST = 0.125  # of a full one's: each topic has digests of its own, most of them small
GAP_COST = 0.1  # of a digest's: a want of 64 numbers may be answered by as many
WANT_BYTES = 100  # what looking for one message costs, in bytes sent
JUDGE_S = 5.0  # scores recover: who may push again is found out so often


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One neighbour, for people.

    Attributes:
        role: ``eager`` if it is pushed any topic, else ``lazy``.
        faults: The last ones, each with when.
    """

    peer: bytes
    addr: str
    is_outbound: bool
    role: str
    rtt_s: float
    score: float
    faults: tuple[tuple[str, float], ...]


class Mesh:
    """This node's part of the mesh.

    Args:
        me: Its id, and where it is dialled.
        config: Sizes and rates.
        started_ms: Wall clock of the start, milliseconds since 1970; it names the epoch.
        rng: Dice.
        now: Monotonic seconds.
    """

    def __init__(
        self, me: Contact, config: GossipConfig, *, started_ms: int, rng: Dice, now: float
    ) -> None:
        self.me = me
        self.counts: dict[str, int] = {}
        self.members = Membership(me, config, rng=rng, now=now)
        self.reputation = Reputation(config.rate)
        self.delivery = Delivery(
            me, config, self.reputation, started_ms=started_ms, rng=rng, now=now
        )
        self._judge_at = now + JUDGE_S
        self._encoded: tuple[Message | None, bytes] = (None, b"")

    # -- from above -------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        data: bytes = b"",
        *,
        addr: str = "",
        size: int = 0,
        ts_ms: int,
        now: float,
    ) -> tuple[Outcome, list[Effect]]:
        """Publish a message, or the address of an object that this node has.

        Args:
            topic: Where.
            data: The message, up to ``max_message``.
            addr: ``b3:`` address of the object instead.
            size: Its bytes.
            ts_ms: Wall clock, for people.
            now: Monotonic seconds.

        Returns:
            What became of it, and what to do.
        """
        outcome, inner = self.delivery.publish(topic, data, addr, size, ts_ms=ts_ms, now=now)
        return outcome, self._carry(inner, now)

    def subscribe(self, topic: str, *, now: float) -> bool:
        """Deliver a topic from now on; False = no room for another topic."""
        return self.delivery.topics.subscribe(topic, now=now)

    def unsubscribe(self, topic: str) -> None:
        """Deliver it no longer; it is still passed on."""
        self.delivery.topics.unsubscribe(topic)

    def purge(self, topic: str | None) -> tuple[int, int]:
        """Let go of the messages kept of a topic, or all; their numbers stay known.

        Returns:
            How many, and their bytes.
        """
        self._encoded = (None, b"")
        return self.delivery.cache.drop(topic)

    def fetched(self, addr: str, ok: bool, *, now: float) -> list[Effect]:
        """A ``Fetch`` is over: the object is here, or nobody had it."""
        return self._carry(self.delivery.fetched(addr, ok, now=now), now)

    # -- from the links -----------------------------------------------------------------------

    def linked(self, peer: bytes, *, dialled: Contact | None, now: float) -> list[Effect]:
        """A link to a node is up; ``dialled``: of our ``Dial``, None = it dialled us."""
        if not self.reputation.linked(peer, now=now):
            self._count("graylist_refused")
            gone = self.members.dial_failed(dialled, now=now) if dialled is not None else []
            return self._carry([*gone, Drop(peer, 429, "graylisted")], now)
        return self._carry(self.members.linked(peer, dialled=dialled, now=now), now)

    def unlinked(self, peer: bytes, *, now: float) -> list[Effect]:
        """A link is gone, whoever closed it."""
        inner = self.members.unlinked(peer, now=now)
        self.reputation.unlinked(peer)
        return self._carry(inner, now)

    def dial_failed(self, contact: Contact, *, now: float) -> list[Effect]:
        """A ``Dial`` came to nothing."""
        return self._carry(self.members.dial_failed(contact, now=now), now)

    def congested(self, peer: bytes, is_congested: bool, *, now: float) -> None:
        """A neighbour's outbox is full, or has room again."""
        self.delivery.broadcast.congested(peer, is_congested, now=now)

    def measured(self, peer: bytes, rtt_s: float) -> None:
        """The round trip of a link."""
        if peer in self.reputation.records:
            self.reputation.records[peer].rtt_s = rtt_s
        self.delivery.broadcast.measured(peer, rtt_s)

    def receive(self, peer: bytes, payload: bytes, *, now: float) -> list[Effect]:
        """An event of the gossip application came."""
        record = self.reputation.records.get(peer)
        if record is None:
            return []  # dropped, and this was on its way
        try:
            message = gossip_codec.decode(payload)
        except PeerViolation:
            return self._carry(self._fault(peer, Fault.INVALID, now), now)
        if message is not None:
            return self._carry(self._handle(peer, record, message, now), now)
        self._count("unknown_kind")
        if not record.controls.take(now=now):
            return self._carry(self._fault(peer, Fault.CONTROL_RATE, now), now)
        return []

    # -- time -------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Wake me then."""
        return min(self.members.deadline(), self.delivery.deadline(), self._judge_at)

    def wake(self, *, now: float) -> list[Effect]:
        """It is then."""
        inner = [*self.members.wake(now=now), *self.delivery.wake(now=now)]
        effects = self._carry(inner, now)
        if now >= self._judge_at:
            self._judge_at = now + JUDGE_S
            self.delivery.cache.purge(now=now)
            for peer in list(self.members.active):
                effects += self._judge(peer, now)
        return effects

    # -- figures ------------------------------------------------------------------------------

    def peers(self, *, now: float) -> list[PeerRow]:
        """The neighbours."""
        rows = []
        for peer, one in self.members.active.items():
            record = self.reputation.records.get(peer)
            rows.append(
                PeerRow(
                    peer,
                    one.contact.addr,
                    one.is_outbound,
                    self.delivery.broadcast.role(peer),
                    record.rtt_s if record else 0.0,
                    self.reputation.score(peer, now=now),
                    tuple(record.faults) if record else (),
                )
            )
        return rows

    def stats(self) -> dict[str, int]:
        """Counters since the start, and sizes now."""
        own = self.delivery
        return {
            **self.counts,
            **own.counts,
            **own.broadcast.counts,
            **own.repair.counts,
            **{f"fault_{name}": count for name, count in self.reputation.counts.items()},
            "active": len(self.members.active),
            "passive": len(self.members.passive),
            "topics": len(own.topics),
            "streams": len(own.ledger),
            "cached": len(own.cache),
            "cache_evicted": own.cache.evicted_total,
            "seen": len(own.seen),
            "missing_ids": len(own.broadcast.missing),
            "missing_messages": own.ledger.missing_total,
            "fetching": len(own.fetching),
            "graylisted": self.reputation.graylisted,
            "held_bytes": self.held_bytes,
        }

    @property
    def held_bytes(self) -> int:
        """Bytes of everything held, each kind at its measured cost."""
        contacts = len(self.members.active) + len(self.members.passive)
        views = CONTACT_BYTES * contacts + self.reputation.held_bytes
        return views + self.delivery.held_bytes

    # -- messages ---------------------------------------------------------------------------

    def _handle(self, peer: bytes, record: Record, message: Message, now: float) -> Sequence[Inner]:
        """What a message costs is counted first; then whoever it is for takes it."""
        own = self.delivery
        match message:
            case Gossip() | Prune():
                cost, bucket, fault = 1.0, record.messages, Fault.RATE
            case Ihave():
                cost, bucket, fault = len(message.ids), record.ihaves, Fault.IHAVE_RATE
            case Graft():
                cost, bucket, fault = 1.0, record.grafts, Fault.GRAFT_RATE
            case Want():
                # In debt for earlier ones, or not: what this one costs is known afterwards.
                cost, bucket, fault = 0.0, record.repairs, Fault.REPAIR_RATE
            case Digest():
                cost = DIGEST_COST + len(message.streams) / FULL_DIGEST
                bucket, fault = record.digests, Fault.DIGEST_RATE
            case Gap():
                cost, bucket, fault = GAP_COST, record.digests, Fault.DIGEST_RATE
            case _:
                if record.controls.take(now=now):
                    return self.members.receive(peer, message, now=now)
                return self._fault(peer, Fault.CONTROL_RATE, now)
        if fault is Fault.RATE and not record.floods.take(now=now):
            return self._fault(peer, Fault.FLOOD, now)
        if not bucket.take(cost, now=now):
            return self._fault(peer, fault, now)
        if peer not in self.members.active:
            self._count("strangers")  # it was sent away, and this was on its way
            return []
        match message:
            case Gossip():
                return own.gossip(peer, message, now=now)
            case Ihave():
                return own.ihave(peer, message, now=now)
            case Graft():
                return own.broadcast.grafted(peer, message, now=now)
            case Prune():
                own.broadcast.pruned(peer, message)
            case Want():
                return self._want(peer, record, message, now)
            case Digest():
                return own.digest(peer, message, now=now)
            case Gap():
                own.repair.gap(peer, message)
        return []

    def _want(self, peer: bytes, record: Record, want: Want, now: float) -> list[Inner]:
        inner = self.delivery.want(peer, want, now=now)
        sent = [one.message for one in inner if isinstance(one, Tell)]
        cost = sum(len(one.data) for one in sent if isinstance(one, Gossip))
        record.repairs.spend(cost + WANT_BYTES * (len(want.ids) + len(sent)), now=now)
        return inner

    # -- effects ------------------------------------------------------------------------------

    def _carry(self, inner: Sequence[Inner], now: float) -> list[Effect]:
        """Turn what the rooms want into effects, and judge who did wrong meanwhile."""
        self.delivery.nodes = self.members.known
        effects = self._translate(inner, now)
        for peer in self.reputation.take_faulted():
            effects += self._judge(peer, now)
        return effects

    def _translate(self, inner: Sequence[Inner], now: float) -> list[Effect]:
        """Tell the rooms who came and went; the rest goes out."""
        effects: list[Effect] = []
        for one in inner:
            match one:
                case Tell(peer, message, lane):
                    effects.append(Send(peer, self._encode(message), lane))
                case Up(peer):
                    self.delivery.broadcast.up(peer, now=now)
                    if peer in self.reputation.records:
                        rtt_s = self.reputation.records[peer].rtt_s
                        self.delivery.broadcast.measured(peer, rtt_s)
                    effects += self._translate(self.delivery.repair.up(peer), now)
                case Down(peer):
                    self.delivery.repair.down(peer)
                    effects += self._translate(self.delivery.broadcast.down(peer, now=now), now)
                case _:
                    effects.append(one)
        return effects

    def _encode(self, message: Message) -> bytes:
        """The same message goes to several neighbours: it is printed once."""
        if self._encoded[0] is not message:
            self._encoded = (message, gossip_codec.encode(message))
        return self._encoded[1]

    def _fault(self, peer: bytes, fault: Fault, now: float) -> list[Inner]:
        self.reputation.fault(peer, fault, now=now)
        return []

    def _judge(self, peer: bytes, now: float) -> list[Effect]:
        score = self.reputation.score(peer, now=now)
        if score >= GRAYLIST:
            trust = self.delivery.broadcast.trust(peer, score >= NO_PUSH)
            return self._translate(trust, now)
        self._count("graylisted_total")
        why = self.reputation.graylist(peer, now=now)
        gone = self.members.dropped(peer, now=now)
        return self._translate([*gone, Drop(peer, 429, f"graylisted: {why}")], now)

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount
