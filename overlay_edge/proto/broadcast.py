"""Broadcast: who is pushed a message, who is only told its id, and how a lost push is found.

Each topic has a tree inside the mesh (Plumtree). It is shared by all publishers of the topic: a
tree for each of them would flood once for each, and take a table for each.

    eager   gets messages           all neighbours at first; a duplicate makes its sender lazy
    lazy    gets ids (ihave)        one that has what no push brought in time becomes eager

    a -- gossip --> b      b has it already:  b -- prune --> a    a tells b ids from now on
    a -- ihave ---> b      b waits 120 ms:    b -- graft --> a    a pushes to b from now on

A node with few others around and something short to say floods: twice as fast, and cheap.

Leitao, Pereira, Rodrigues: Epidemic Broadcast Trees, SRDS 2007. The waits are from field
figures of wireless links, where the 40 to 80 ms that others use is within the jitter.
"""

from dataclasses import dataclass, field, replace

from overlay_edge.config import GossipConfig
from overlay_edge.proto.effects import Lane, Tell
from overlay_edge.proto.gossip_message import (
    MAX_HOP,
    MAX_IDS,
    Gossip,
    Graft,
    Ihave,
    Prune,
    Want,
)
from overlay_edge.proto.missing import Missing
from overlay_edge.proto.quota import TokenBucket
from overlay_edge.proto.retention import Cache, Seen

FLOOD_NODES = 8  # so few nodes, this one included ...
FLOOD_BYTES = 1 << 10  # ... and so short a message
IHAVE_S = 0.01  # ids are collected this long
PRUNE_S = 0.2  # a second prune before the first can have worked says nothing
OPTIMISE_HOPS = 4  # an ihave that is so much nearer than the push takes its place; notes: 7
MIN_FANOUT = 2  # a sender may ask for less than we would, but not for a dead end
MAX_QUEUED_IDS = 1024  # for one neighbour that does not keep up
MAX_GRAFTS_PER_S = 8.0  # of one neighbour: it takes 10; what is more is asked for with want
QUEUED_ID_BYTES = 125  # measured: an id and its place in a list
NEVER = float("inf")


@dataclass(slots=True)
class _Neighbour:
    """What is known of one neighbour here."""

    rtt_s: float
    grafts: TokenBucket
    is_congested: bool = False
    may_push: bool = True  # its score allows that it pushes to us
    queue: list[tuple[str, bytes, int]] = field(default_factory=list)  # topic, id, hop


@dataclass(slots=True)
class _Tree:
    """One topic: who is lazy; every other neighbour is eager."""

    lazy: set[bytes] = field(default_factory=set)
    parent: bytes | None = None
    best: bytes | None = None  # who last was first to tell of something
    pruned: dict[bytes, float] = field(default_factory=dict)


class Broadcast:
    """Trees, and ids without their messages.

    Args:
        config: Fan-out and rate.
        cache: Where messages are kept.
        now: Monotonic seconds.

    Attributes:
        counts: What was done, by name; what was shed as ``shed_<lane>_<reason>``.
        missing: Ids whose messages have not come.
    """

    def __init__(self, config: GossipConfig, cache: Cache, *, now: float) -> None:
        self.counts: dict[str, int] = {}
        self.missing = Missing()
        self._config = config
        self._cache = cache
        self._neighbours: dict[bytes, _Neighbour] = {}
        self._trees: dict[str, _Tree] = {}  # bounded by the topics of the owner
        self._flush_at = NEVER
        rate = config.rate * config.relay_fanout
        self._pushes = TokenBucket(rate, 2 * rate, now=now)

    # -- neighbours -------------------------------------------------------------------------

    def up(self, peer: bytes, *, now: float) -> None:
        """A neighbour more: eager for every topic until a duplicate says otherwise."""
        grafts = TokenBucket(MAX_GRAFTS_PER_S, MAX_GRAFTS_PER_S, now=now)
        self._neighbours.setdefault(peer, _Neighbour(0.0, grafts))

    def down(self, peer: bytes, *, now: float) -> list[Tell]:
        """A neighbour less: where it was the parent, the best lazy one takes over at once."""
        if self._neighbours.pop(peer, None) is None:
            return []
        out: list[Tell] = []
        for topic, tree in self._trees.items():
            tree.lazy.discard(peer)
            tree.pruned.pop(peer, None)
            if tree.best == peer:
                tree.best = None
            if tree.parent == peer:
                tree.parent = None
                out += self._promote(topic, tree, now)
        self.missing.gone(peer, now=now)
        return out

    def measured(self, peer: bytes, rtt_s: float) -> None:
        """The round trip of a link, as its owner measured it."""
        if peer in self._neighbours:
            self._neighbours[peer].rtt_s = max(0.0, min(rtt_s, 5.0))

    def congested(self, peer: bytes, is_congested: bool, *, now: float) -> None:
        """A link takes no more bulk, or takes it again: until then it is only told ids."""
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.is_congested = is_congested
            if neighbour.queue:
                self._flush_at = min(self._flush_at, now + IHAVE_S)

    def trust(self, peer: bytes, may_push: bool) -> list[Tell]:
        """Whether a neighbour may push to us; one that may not is made lazy everywhere."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None or neighbour.may_push == may_push:
            return []
        neighbour.may_push = may_push
        if may_push:
            return []
        out: list[Tell] = []
        for topic, tree in self._trees.items():
            if tree.parent == peer:
                tree.parent = None
            if peer not in tree.lazy:
                tree.lazy.add(peer)
                out.append(Tell(peer, Prune(topic), Lane.CONTROL))
        return out

    # -- messages ---------------------------------------------------------------------------

    def accepted(
        self, peer: bytes | None, message: Gossip, *, floods: bool, now: float
    ) -> list[Tell]:
        """A message that is new here; ``peer`` brought it, None = it is our own."""
        tree = self._trees.setdefault(message.topic, _Tree())
        out: list[Tell] = []
        if peer is not None:
            out += self._settle(peer, message, tree, now)
        hop = min(message.hop + 1, MAX_HOP)
        others = [one for one in self._neighbours if one != peer]
        eager = self._eager(tree, message, others, floods, now)
        if peer is None and others and not eager and tree.lazy.issuperset(others):
            # A source that nobody listens to: everybody is eager again.
            tree.lazy.clear()
            eager = self._eager(tree, message, others, floods, now)
        further = replace(message, hop=hop, fanout=0, is_repair=False)
        out += [Tell(one, further, Lane.EAGER) for one in eager]
        for one in others:
            if one not in eager:
                self._tell_id(one, message.topic, message.id, hop, now)
        return out

    def duplicate(self, peer: bytes, message: Gossip, *, floods: bool, now: float) -> list[Tell]:
        """A message that is here already: its sender need not push."""
        tree = self._trees.get(message.topic)
        if message.is_repair or floods or tree is None or peer not in self._neighbours:
            return []
        tree.lazy.add(peer)
        if tree.parent == peer:
            tree.parent = None
        if now - tree.pruned.get(peer, -NEVER) < PRUNE_S:
            return []
        tree.pruned[peer] = now
        return [Tell(peer, Prune(message.topic), Lane.CONTROL)]

    def announced(self, peer: bytes, message: Ihave, seen: Seen, *, now: float) -> None:
        """A neighbour has messages; those not in ``seen`` are asked for if no push brings them."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return
        tree = self._trees.setdefault(message.topic, _Tree())
        hops = message.hops if len(message.hops) == len(message.ids) else (0,) * len(message.ids)
        for id, hop in zip(message.ids, hops, strict=True):
            if id not in seen and self.missing.announced(
                peer, message.topic, id, hop, neighbour.rtt_s, now=now
            ):
                tree.best = peer

    def grafted(self, peer: bytes, message: Graft, *, now: float) -> list[Tell]:
        """A neighbour wants to be pushed the topic, and perhaps one message now."""
        tree = self._trees.get(message.topic)
        if tree is None or peer not in self._neighbours:
            return []
        tree.lazy.discard(peer)
        if message.id is None:
            return []
        return self._answer(peer, message.id, False, now)

    def pruned(self, peer: bytes, message: Prune) -> None:
        """A neighbour wants ids instead of messages."""
        tree = self._trees.get(message.topic)
        if tree is not None and peer in self._neighbours:
            tree.lazy.add(peer)
            if tree.parent == peer:
                tree.parent = None

    def wanted(self, peer: bytes, id: bytes, *, now: float) -> list[Tell]:
        """A neighbour asks for a message by its id."""
        return self._answer(peer, id, True, now)

    def repair(self, peer: bytes, message: Gossip) -> Tell:
        """A kept message as the answer to somebody who asked for it."""
        again = replace(message, hop=min(message.hop + 1, MAX_HOP), fanout=0, is_repair=True)
        return Tell(peer, again, Lane.LAZY)

    def forget(self, topic: str) -> None:
        """The owner no longer knows the topic."""
        self._trees.pop(topic, None)

    # -- time -------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Wake me then."""
        return min(self._flush_at, self.missing.deadline())

    def wake(self, *, now: float) -> list[Tell]:
        """It is then."""
        out = self._ask(now)
        if now >= self._flush_at:
            out += self._flush()
        return out

    @property
    def neighbours(self) -> int:
        """How many there are."""
        return len(self._neighbours)

    def able(self) -> list[bytes]:
        """Neighbours that keep up."""
        return [peer for peer, one in self._neighbours.items() if not one.is_congested]

    def is_congested(self, peer: bytes) -> bool:
        """True if a neighbour does not keep up."""
        return peer in self._neighbours and self._neighbours[peer].is_congested

    # -- figures ------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """Bytes of queued and missing ids."""
        queued = sum(len(one.queue) for one in self._neighbours.values())
        return QUEUED_ID_BYTES * queued + self.missing.held_bytes

    def roles(self, topic: str) -> dict[bytes, str]:
        """``parent``, ``eager`` or ``lazy`` for each neighbour."""
        tree = self._trees.get(topic, _Tree())
        return {
            peer: "parent" if peer == tree.parent else "lazy" if peer in tree.lazy else "eager"
            for peer in self._neighbours
        }

    def role(self, peer: bytes) -> str:
        """``eager`` if any topic is pushed to a neighbour, else ``lazy``."""
        is_lazy = self._trees and all(peer in tree.lazy for tree in self._trees.values())
        return "lazy" if is_lazy else "eager"

    # -- trees --------------------------------------------------------------------------------

    def _settle(self, peer: bytes, message: Gossip, tree: _Tree, now: float) -> list[Tell]:
        """Who brought it is the parent, unless somebody much nearer had it too."""
        entry = self.missing.arrived(message.id, peer)
        neighbour = self._neighbours.get(peer)
        if message.is_repair or neighbour is None or not neighbour.may_push:
            return []
        tree.lazy.discard(peer)
        tree.parent = peer
        if entry is None or not entry.sources:
            return []
        source = min(entry.sources, key=lambda one: entry.sources[one][0])
        hop = entry.sources[source][0]
        if source == peer or message.hop - hop < OPTIMISE_HOPS or not self._may_graft(source, now):
            return []
        tree.lazy.discard(source)
        tree.lazy.add(peer)
        tree.parent = source
        self._count("optimised")
        return [
            Tell(source, Graft(message.topic), Lane.CONTROL),
            Tell(peer, Prune(message.topic), Lane.CONTROL),
        ]

    def _eager(
        self, tree: _Tree, message: Gossip, others: list[bytes], floods: bool, now: float
    ) -> list[bytes]:
        """To whom it is pushed."""
        if message.hop >= MAX_HOP or message.is_repair:
            return []  # what was asked for is known to those around, most likely
        able = [
            one
            for one in others
            if (floods or one not in tree.lazy) and not self._neighbours[one].is_congested
        ]
        fanout = self._config.relay_fanout
        if message.fanout:
            fanout = max(MIN_FANOUT, min(message.fanout, fanout))
        able = able[:fanout]
        if able and not self._pushes.take(len(able), now=now):
            self._count("shed_eager_rate")
            return []
        return able

    def _promote(self, topic: str, tree: _Tree, now: float) -> list[Tell]:
        """Make the best lazy neighbour eager."""
        able = [one for one in tree.lazy if one in self._neighbours]
        if not able or len(able) < len(self._neighbours):
            return []  # there is another eager one
        best = tree.best
        if best not in able:
            best = min(able, key=lambda one: self._neighbours[one].rtt_s)
        if not self._may_graft(best, now):
            return []
        tree.lazy.discard(best)
        return [Tell(best, Graft(topic), Lane.CONTROL)]

    def _may_graft(self, peer: bytes, now: float) -> bool:
        neighbour = self._neighbours.get(peer)
        return neighbour is not None and neighbour.may_push and neighbour.grafts.take(now=now)

    # -- ids --------------------------------------------------------------------------------

    def _tell_id(self, peer: bytes, topic: str, id: bytes, hop: int, now: float) -> None:
        neighbour = self._neighbours[peer]
        if len(neighbour.queue) >= MAX_QUEUED_IDS:
            self._count("shed_lazy_queue")
            neighbour.queue.pop(0)
        neighbour.queue.append((topic, id, hop))
        if not neighbour.is_congested:
            self._flush_at = min(self._flush_at, now + IHAVE_S)

    def _flush(self) -> list[Tell]:
        out: list[Tell] = []
        self._flush_at = NEVER
        for peer, neighbour in self._neighbours.items():
            if neighbour.is_congested or not neighbour.queue:
                continue
            by_topic: dict[str, list[tuple[bytes, int]]] = {}
            for topic, id, hop in neighbour.queue:
                by_topic.setdefault(topic, []).append((id, hop))
            neighbour.queue.clear()
            for topic, told in by_topic.items():
                for at in range(0, len(told), MAX_IDS):
                    ids, hops = zip(*told[at : at + MAX_IDS], strict=True)
                    out.append(Tell(peer, Ihave(topic, ids, hops), Lane.LAZY))
        return out

    def _answer(self, peer: bytes, id: bytes, is_repair: bool, now: float) -> list[Tell]:
        message = self._cache.get(id, now=now)
        neighbour = self._neighbours.get(peer)
        if message is None or neighbour is None:
            return []
        if neighbour.is_congested:
            self._count("shed_lazy_congested" if is_repair else "shed_eager_congested")
            return []
        if is_repair:
            return [self.repair(peer, message)]
        again = replace(message, hop=min(message.hop + 1, MAX_HOP), fanout=0, is_repair=False)
        return [Tell(peer, again, Lane.EAGER)]

    def _ask(self, now: float) -> list[Tell]:
        """Ask for what no push has brought: one graft for each neighbour, the rest by want."""
        out: list[Tell] = []
        wants: dict[bytes, list[bytes]] = {}
        for ask in self.missing.due(now=now):
            tree = self._trees.setdefault(ask.topic, _Tree())
            # Once grafted it is no longer lazy: what else it has is asked for together.
            if ask.peer in tree.lazy and self._may_graft(ask.peer, now):
                tree.lazy.discard(ask.peer)
                self._count("grafts")
                out.append(Tell(ask.peer, Graft(ask.topic, ask.id), Lane.CONTROL))
            else:
                wants.setdefault(ask.peer, []).append(ask.id)
        for peer, ids in wants.items():
            for at in range(0, len(ids), MAX_IDS):
                self._count("wants")
                out.append(Tell(peer, Want(tuple(ids[at : at + MAX_IDS])), Lane.LAZY))
        return out

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


def is_flood(message: Gossip, nodes: int) -> bool:
    """True if a message is short and the mesh small: everybody is pushed it."""
    return nodes <= FLOOD_NODES and len(message.data) <= FLOOD_BYTES
