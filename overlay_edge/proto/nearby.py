"""Nearby: nodes of the local network, as far as what is told there can be believed.

    heard --> Lookup --> found --> Joined --silent: Ask, twice--> Left

Anybody on the link can tell anything as often as they like. So there is room for a few nodes,
for a few of one address, and for so many questions a second; what does not fit is counted and
not remembered. Who is known keeps its place: a flood cannot push it out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from overlay_edge.proto.beacon import ID_DIGITS, Interface, is_instance, read_txt, where_to_dial
from overlay_edge.proto.quota import TokenBucket

MAX_NODES = 64  # more than a mesh's passive view remembers; one takes about 1 KiB
MAX_LOOKUPS = 32  # under way; each waits up to three seconds for an answer
MAX_OF_ONE_HOST = 4  # else one packet would make us knock at every port of a host
LOOKUPS_PER_S, LOOKUPS_AT_ONCE = 8, 32
AGAIN_S = 1.5  # RFC 6762 section 10.2: what was true before is forgotten a second later
LIFETIME_S = 120.0  # RFC 6762 section 10: what names a host is good for two minutes
BROWSE_S, BROWSE_AT_MOST_S = 1.0, 3600.0  # RFC 6762 section 5.2: each time twice as long
MISSED_S = 60.0  # who was not looked up for want of room is given another chance
NEVER = float("inf")
ASK_AT = (0.8, 0.9)  # of a lifetime; RFC 6762 section 5.2 has two more
REASONS = {  # why something is not believed
    "source": "a packet from elsewhere",
    "flood": "too many packets",
    "size": "a packet longer than an Ethernet frame",
    "name": "no name of a node",
    "rate": "too many nodes at once",
    "full": "no room for one more node",
    "silent": "nobody tells where it is",
    "text": "not the words of a node",
    "address": "none that may be dialled",
    "host": "too many nodes of one machine",
}


class Lookup(NamedTuple):
    """Find out where this node is; then call :meth:`Nearby.found` or :meth:`Nearby.failed`."""

    instance: str


class Ask(NamedTuple):
    """Ask whether this node is still there; whoever answers is heard."""

    instance: str


class Browse(NamedTuple):
    """Ask who is there; these need not answer."""

    known: tuple[str, ...]


class Joined(NamedTuple):
    """A node can be dialled. Its fingerprint is as told, may be empty, and proves nothing."""

    addr: str
    node: str
    fingerprint: str
    has_mesh: bool


class Left(NamedTuple):
    """Nobody says any more that a node is there."""

    addr: str
    node: str


Effect = Lookup | Ask | Browse | Joined | Left


class Sightings(NamedTuple):
    """What discovery has done, for pages and metrics.

    Attributes:
        name: The host name that is held, with ``.local``; empty = none yet.
        nodes: How many others are known.
        announcements: How often this node told of itself.
        conflicts: How often somebody else had its name.
        refused: What was not believed, by reason.
    """

    name: str
    nodes: int
    announcements: int
    conflicts: int
    refused: dict[str, int]


NOTHING_SEEN = Sightings("", 0, 0, 0, {})


@dataclass(slots=True)
class _Node:
    """One that is known."""

    addr: str
    node: str
    fingerprint: str
    has_mesh: bool
    heard: float
    asked: int = 0
    look_at: float = NEVER

    @property
    def told(self) -> tuple[str, str, str, bool]:
        """What it says of itself."""
        return self.addr, self.node, self.fingerprint, self.has_mesh


class Nearby:
    """The nodes that are known.

    Args:
        lifetime_s: How long a node that says nothing is believed to be there.
        now: Monotonic seconds.

    Attributes:
        me: This node's id as it is told; whoever tells it is passed over.
        refused: What was not believed, by reason.
    """

    def __init__(self, lifetime_s: float = LIFETIME_S, *, now: float) -> None:
        self.me = ""
        self.refused: Counter[str] = Counter()
        self._nodes: dict[str, _Node] = {}  # by instance
        self._lifetime_s = lifetime_s
        self._looking: dict[str, str] = {}  # who said so, by instance
        self._browse_at = NEVER
        self._browse_again_s = BROWSE_S
        self._bucket = TokenBucket(LOOKUPS_PER_S, LOOKUPS_AT_ONCE, now=now)

    def __len__(self) -> int:
        return len(self._nodes)

    def browse(self, *, now: float) -> None:
        """Ask who is there, from the beginning: at the start, and in another network."""
        self._browse_at, self._browse_again_s = now, BROWSE_S

    def heard(self, instance: str, source: str, *, now: float) -> list[Effect]:
        """Somebody says that this node is there.

        Args:
            instance: The node.
            source: Whose packet it was in.
            now: Monotonic seconds.
        """
        if not is_instance(instance):
            self.refused["name"] += 1
            return []
        instance = instance.lower()
        if instance[:ID_DIGITS] == self.me or instance in self._looking:
            return []
        known = self._nodes.get(instance)
        if known is not None:
            known.heard, known.asked = now, 0
            known.look_at = min(known.look_at, now + AGAIN_S)  # it may have said something new
            return []
        if len(self._nodes) >= MAX_NODES:
            return self._miss("full", now)
        if sum(one == source for one in self._looking.values()) >= MAX_OF_ONE_HOST:
            return self._miss("host", now)
        if len(self._looking) >= MAX_LOOKUPS or not self._bucket.take(now=now):
            return self._miss("rate", now)
        self._looking[instance] = source
        return [Lookup(instance)]

    def found(
        self,
        instance: str,
        *,
        txt: bytes,
        addresses: Iterable[str],
        port: int | None,
        own: Sequence[Interface],
        me_at: Iterable[str] = (),
        now: float,
    ) -> list[Effect]:
        """It was found out what a node tells of itself.

        Args:
            instance: The name that was looked up.
            txt: Its TXT record.
            addresses: Its addresses, newest first.
            port: Where it listens.
            own: This node's addresses with their networks.
            me_at: Where this node itself is told to be.
            now: Monotonic seconds.
        """
        self._looking.pop(instance, None)
        claim = read_txt(txt)
        if claim is None or claim.node != instance[:ID_DIGITS]:
            return self._refuse(instance, "text")
        addr = where_to_dial(addresses, port, own)
        if addr is None or addr in me_at:
            return self._refuse(instance, "address")
        before = self._nodes.get(instance)
        if before is None and len(self._nodes) >= MAX_NODES:
            return self._refuse(instance, "full")
        host = addr.rpartition(":")[0]
        others = [one for name, one in self._nodes.items() if name != instance]
        if sum(one.addr.rpartition(":")[0] == host for one in others) >= MAX_OF_ONE_HOST:
            return self._refuse(instance, "host")
        told = (addr, *claim)
        is_same = before is not None and told == before.told
        effects = [] if is_same else self._drop(instance)
        is_known = any(one.addr == addr for one in others)
        self._nodes[instance] = _Node(*told, heard=now)
        if not is_same and not is_known:
            effects.append(Joined(*told))
        return effects

    def failed(self, instance: str) -> None:
        """Nobody told where this node is."""
        self._looking.pop(instance, None)
        if instance not in self._nodes:
            self.refused["silent"] += 1

    def gone(self, instance: str) -> list[Effect]:
        """It said goodbye, or somebody did for it."""
        return self._drop(instance.lower())

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of those that are known."""
        return tuple(self._nodes)

    def clear(self) -> list[Effect]:
        """The network is another one: whoever was known is not."""
        self._looking.clear()
        return [effect for instance in list(self._nodes) for effect in self._drop(instance)]

    def deadline(self) -> float | None:
        """When to call :meth:`wake`; None = never."""
        nodes = self._nodes.values()
        times = (min(self._due(node), node.look_at) for node in nodes)
        first = min((self._browse_at, *times))
        return None if first == NEVER else first

    def wake(self, *, now: float) -> list[Effect]:
        """It is the deadline."""
        effects: list[Effect] = []
        if self._browse_at <= now:
            effects.append(Browse(self.instances))
            self._browse_at = now + self._browse_again_s
            self._browse_again_s = min(BROWSE_AT_MOST_S, 2 * self._browse_again_s)
        for instance, node in list(self._nodes.items()):
            if node.look_at <= now:
                effects += self._look_again(instance, node, now)
            if self._due(node) > now:
                continue
            if node.asked < len(ASK_AT):
                node.asked += 1
                effects.append(Ask(instance))
            else:
                effects += self._drop(instance)
        return effects

    def _miss(self, reason: str, now: float) -> list[Effect]:
        self.refused[reason] += 1
        if self._browse_at != NEVER:
            self._browse_at = min(self._browse_at, now + MISSED_S)
        return []

    def _look_again(self, instance: str, node: _Node, now: float) -> list[Effect]:
        if len(self._looking) >= MAX_LOOKUPS or not self._bucket.take(now=now):
            node.look_at = now + AGAIN_S
            return []
        node.look_at = NEVER
        self._looking[instance] = ""
        return [Lookup(instance)]

    def _due(self, node: _Node) -> float:
        """When something is to be done about it."""
        share = ASK_AT[node.asked] if node.asked < len(ASK_AT) else 1.0
        return node.heard + share * self._lifetime_s

    def _refuse(self, instance: str, reason: str) -> list[Effect]:
        self.refused[reason] += 1
        return self._drop(instance)

    def _drop(self, instance: str) -> list[Effect]:
        node = self._nodes.pop(instance, None)
        if node is None or any(one.addr == node.addr for one in self._nodes.values()):
            return []
        return [Left(node.addr, node.node)]


class Door:
    """Lets in so many packets a second, of each source and of all together.

    What is let in is parsed, which can cost a small board a millisecond or two.
    """

    MAX_SOURCES = 256
    PER_SOURCE = (10, 50)  # a second, and at once: a node that starts sends about ten
    ALL = (40, 100)

    def __init__(self, *, now: float) -> None:
        self._all = TokenBucket(*self.ALL, now=now)
        self._sources: dict[str, TokenBucket] = {}  # longest unheard first

    def __len__(self) -> int:
        return len(self._sources)

    def admits(self, source: str, *, now: float) -> bool:
        """Say whether a packet of this address is looked at."""
        bucket = self._sources.pop(source, None) or TokenBucket(*self.PER_SOURCE, now=now)
        self._sources[source] = bucket
        if len(self._sources) > self.MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        return bucket.take(now=now) and self._all.take(now=now)
