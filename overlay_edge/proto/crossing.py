"""Crossing: what goes over the border between the mesh and a broker, and who carries it.

Several nodes of one mesh may be bridges of one broker. Each hears everything on both sides, and
each message must cross once::

    from the broker    the lead publishes it in the mesh: the bridge with the lowest id
    from the mesh      of a bridge:  that bridge carries it out itself
                       of any other: the lead carries it out

So what a bridge brought in never goes out again: only itself could carry it, and it knows. The
others hold what the lead has not yet said to be done (a *receipt*), for the day it is gone::

    hears --lead, settled--> crosses --done--> receipt to the others
      |                                             |
      +--another leads--> held, until it is told -->+
                           +--becomes the lead, waits for late receipts--> crosses
                           +--never told: what is of the mesh--> crosses; else forgotten

A message that crossed outwards carries tags: who brought it, and its id, by which bridges of
this mesh and of others know it again. Messages of plain clients carry none: two that are equal
are two.
"""

import math
from collections import deque
from dataclasses import dataclass

from blake3 import blake3

from overlay_edge.config.topicmap import TopicMap
from overlay_edge.proto.effects import Deliver
from overlay_edge.proto.retention import ID_BYTES, Seen

KEY_BYTES = 16
TAGGED = 0x80  # a bit of the first byte: the key of a message with an id
MAX_TAG = 160  # characters: 64 of the publisher, two numbers; others may spell theirs longer
MAX_BRIDGES = 64  # on one broker; a broker whose clients are not held apart may name any
MAX_SEEN = 8192  # ids in one of two generations: 8 s at the mesh's rate of 1000 per second
SEEN_BYTES = 2 * MAX_SEEN * ID_BYTES
SEEN_AGE_S = 120.0  # a repair may deliver what is this old
SETTLE_S = 2.0  # receipts of the lead before are on their way, or that one is back; guess
OVERDUE_S = 15.0  # by then the lead has done it, or has not heard of it; guess
ABSENT_S = 3600.0  # a bridge that is away is still believed to be one; its will lives as long
SESSION_S = 300.0  # the broker remembers a bridge that is away; more is its own bound
MAX_RECEIPTS = 1024  # not yet sent: a lead that is cut off has others to worry about
ENTRY_BYTES = 500  # of what is held, beside its data; measured, rounded up


@dataclass(frozen=True, slots=True)
class Into:
    """Publish this in the mesh, then say :meth:`Crossing.published` or :meth:`Crossing.done`."""

    topic: str
    data: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Out:
    """Give this to the broker, then say :meth:`Crossing.done`."""

    topic: str
    data: bytes
    key: bytes
    tag: str
    addr: str = ""
    size: int = 0

    @property
    def cost(self) -> int:
        """Bytes that it holds while it waits."""
        return len(self.data) + ENTRY_BYTES


Item = Into | Out


class Crossing:
    """One bridge's part.

    Args:
        me: This node's id.
        topics: What is mapped to what.
        max_items: Messages held at most.
        max_bytes: What they may hold.
        now: Monotonic seconds.

    Attributes:
        counts: What became of messages that did not cross, by reason.
        held_bytes: What is held now.
    """

    def __init__(
        self, me: bytes, topics: TopicMap, *, max_items: int, max_bytes: int, now: float
    ) -> None:
        self.counts: dict[str, int] = {}
        self.held_bytes = 0
        self._me = me
        self.topics = topics
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._seen = Seen(MAX_SEEN, SEEN_AGE_S, now=now)
        self._bridges: dict[bytes, float] = {}  # others; until when they are believed in
        self._is_linked = False
        self._settled_at = now
        self._was_lead = False
        self._held: dict[int, tuple[Item, int, float]] = {}  # oldest first
        self._places: dict[bytes, deque[int]] = {}
        self._mine: dict[int, None] = {}
        self._next = 0
        self._receipts: deque[bytes] = deque(maxlen=MAX_RECEIPTS)

    def __len__(self) -> int:
        return len(self._held)

    # -- who leads ------------------------------------------------------------------------

    @property
    def is_lead(self) -> bool:
        """This bridge carries what is nobody else's."""
        online = (node for node, until in self._bridges.items() if until == math.inf)
        return self._is_linked and all(self._me < node for node in online)

    def is_settled(self, *, now: float) -> bool:
        """What comes now need not wait for what others have to say."""
        return not self.is_lead or now >= self._settled_at

    @property
    def has_company(self) -> bool:
        """There are other bridges on this broker now."""
        return math.inf in self._bridges.values()

    def lost(self, *, now: float) -> None:
        """The broker is gone: until it says that this bridge is back, nobody here leads."""
        self._is_linked = False
        self._turn(now)

    def standing(self, node: bytes, state: str, *, now: float) -> None:
        """The broker tells of a bridge, perhaps of this one: in the order of its messages.

        Args:
            node: Its id.
            state: ``online``, ``offline`` (it may come back) or anything else: it is none.
            now: Monotonic seconds.
        """
        if node == self._me:
            self._is_linked = self._is_linked or state == "online"
        elif state in ("online", "offline") and self._has_room(node, now):
            self._bridges[node] = math.inf if state == "online" else now + ABSENT_S
        else:
            self._bridges.pop(node, None)
        self._turn(now)

    def _turn(self, now: float) -> None:
        if self.is_lead and not self._was_lead:
            self._settled_at = now + SETTLE_S if self._bridges else now
        self._was_lead = self.is_lead

    # -- messages ---------------------------------------------------------------------------

    def heard(self, topic: str, data: bytes, *, tag: str, origin: str, now: float) -> Into | None:
        """A message of the broker.

        Args:
            topic: The broker's.
            data: Its payload.
            tag: Its ``oe-id``, or empty.
            origin: Its ``oe-origin``, or empty.
            now: Monotonic seconds.

        Returns:
            What to publish now; None = it is held, known, or not mapped.
        """
        target = self.topics.inward(topic)
        if target is None or not target.isprintable():
            self._count("unmapped")
            return None
        if len(tag) > MAX_TAG:
            self._count("tag")
            return None
        key = tag_key(tag) if tag else plain_key(topic, data)
        if tag and self._is_ours(origin, now):
            self._forget(key)  # it crossed outwards: as good as a receipt
            self._seen.add(key, now=now)
            self._count("echo")
            return None
        if tag and key in self._seen:
            self._count("duplicate")
            return None
        into = Into(target, data, key)
        if self._may_cross(now):
            return into
        if tag:
            self._seen.add(key, now=now)
        self._hold(into, len(data), now)
        return None

    def delivered(self, message: Deliver, *, now: float) -> Out | None:
        """A message of the mesh; what is returned goes to the broker now."""
        target = self.topics.outward(message.topic)
        if target is None:
            return None
        tag = tag_of(message.publisher, message.epoch, message.seq)
        key = tag_key(tag)
        if key in self._seen:
            self._count("known")
            return None
        is_mine = message.publisher == self._me
        if not is_mine and self._is_bridge(message.publisher, now):
            self._count("of_bridge")
            return None
        self._seen.add(key, now=now)
        out = Out(target, message.data, key, tag, message.addr, message.size)
        if self._may_cross(now) or (is_mine and self._is_linked and not self._held):
            return out
        self._hold(out, len(message.data), now, is_mine=is_mine)
        return None

    def published(self, into: Into, epoch: int, seq: int, *, now: float) -> None:
        """The mesh has taken a message of the broker, under this number of this node."""
        self._seen.add(tag_key(tag_of(self._me, epoch, seq)), now=now)
        self.done(into, now=now)

    def done(self, item: Item, *, now: float) -> None:
        """A message crossed, or will never: the other bridges need not hold it."""
        self._remember(item.key, now)
        # A bridge that is away is told when it comes back, as long as the broker keeps it for it.
        if any(until > now + ABSENT_S - SESSION_S for until in self._bridges.values()):
            self._receipts.append(item.key)

    def due(self, *, now: float) -> list[Item]:
        """What was held and is to cross now, oldest first."""
        if not self._held:
            return []
        if self.is_lead:
            if not self.is_settled(now=now):
                return []
            items = [item for item, _, _ in self._held.values()]
            self._held.clear()
            self._places.clear()
            self._mine.clear()
            self.held_bytes = 0
            return items
        if not self._is_linked:
            return []
        return [*self._take_overdue(now), *map(self._release, list(self._mine))]

    def deadline(self) -> float | None:
        """When :meth:`due` may have something, unless something happens before."""
        if not self._held or not self._is_linked:
            return None
        if self.is_lead:
            return self._settled_at
        return next(iter(self._held.values()))[2] + OVERDUE_S

    def purge(self, topic: str | None) -> int:
        """Let go of what is held of a topic of the mesh, or all; returns how many messages."""
        target = None if topic is None else self.topics.outward(topic)
        gone = [
            place
            for place, (item, _, _) in self._held.items()
            if topic is None or item.topic == (topic if isinstance(item, Into) else target)
        ]
        for place in gone:
            self._release(place)
        return len(gone)

    # -- receipts -----------------------------------------------------------------------------

    def take_receipts(self, most: int) -> bytes:
        """Keys of what was done, one behind the other, for the other bridges."""
        count = min(most, len(self._receipts))
        return b"".join(self._receipts.popleft() for _ in range(count))

    def receipts(self, keys: bytes, *, now: float) -> None:
        """Another bridge says what it has done."""
        for at in range(0, len(keys) - KEY_BYTES + 1, KEY_BYTES):
            key = keys[at : at + KEY_BYTES]
            self._forget(key)
            self._remember(key, now)

    # -- inside -------------------------------------------------------------------------------

    def _may_cross(self, now: float) -> bool:
        return self.is_lead and self.is_settled(now=now) and not self._held

    def _is_bridge(self, node: bytes, now: float) -> bool:
        return self._bridges.get(node, 0.0) > now

    def _has_room(self, node: bytes, now: float) -> bool:
        if node in self._bridges:
            return True
        for gone in [one for one, until in self._bridges.items() if until <= now]:
            del self._bridges[gone]
        return len(self._bridges) < MAX_BRIDGES

    def _is_ours(self, origin: str, now: float) -> bool:
        try:
            node = bytes.fromhex(origin)
        except ValueError:
            return False
        return node == self._me or self._is_bridge(node, now)

    def _hold(self, item: Item, size: int, now: float, *, is_mine: bool = False) -> None:
        cost = size + ENTRY_BYTES
        if cost > self._max_bytes:
            self._count("backlog")
            return
        self._held[self._next] = (item, cost, now)
        self._places.setdefault(item.key, deque()).append(self._next)
        if is_mine:
            self._mine[self._next] = None
        self._next += 1
        self.held_bytes += cost
        while len(self._held) > self._max_items or self.held_bytes > self._max_bytes:
            is_spare = self._is_linked and not self.is_lead
            self._count("spare" if is_spare else "backlog")
            self._release(next(iter(self._held)))

    def _forget(self, key: bytes) -> None:
        """One message with that key is done; of several equal ones, the oldest."""
        if places := self._places.get(key):
            self._release(places[0])

    def _release(self, place: int) -> Item:
        item, cost, _ = self._held.pop(place)
        self._mine.pop(place, None)
        self.held_bytes -= cost
        places = self._places[item.key]
        places.remove(place)
        if not places:
            del self._places[item.key]
        return item

    def _take_overdue(self, now: float) -> list[Item]:
        """What the lead has not done: what is of the mesh, it may never have heard."""
        overdue: list[Item] = []
        while self._held:
            place, (item, _, at) = next(iter(self._held.items()))
            if now - at < OVERDUE_S:
                break
            self._release(place)
            if isinstance(item, Out):
                overdue.append(item)
            else:
                self._count("spare")
        return overdue

    def _remember(self, key: bytes, now: float) -> None:
        if key[0] & TAGGED:
            self._seen.add(key, now=now)

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1


def tag_of(publisher: bytes, epoch: int, seq: int) -> str:
    """The ``oe-id`` of a message of the mesh."""
    return f"{publisher.hex()}.{epoch}.{seq}"


def tag_key(tag: str) -> bytes:
    """What stands for a message with an ``oe-id``."""
    key = blake3(b"id\0" + tag.encode("utf-8", "replace")).digest(length=KEY_BYTES)
    return bytes([key[0] | TAGGED]) + key[1:]


def plain_key(topic: str, data: bytes) -> bytes:
    """What stands for a message without one, until its receipt comes."""
    name = topic.encode("utf-8", "replace")
    key = blake3(b"plain\0" + name + b"\0" + data).digest(length=KEY_BYTES)
    return bytes([key[0] & ~TAGGED]) + key[1:]
