"""A few nodes of the mesh, their payloads carried by hand: lost, doubled, late at will."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from overlay_edge.config import GossipConfig
from overlay_edge.proto.effects import (
    Accepted,
    Deliver,
    Dial,
    Dice,
    Drop,
    Effect,
    Fetch,
    Gapped,
    Outcome,
    Queued,
    Send,
)
from overlay_edge.proto.gossip import Mesh
from overlay_edge.proto.gossip_message import Contact

TOPIC = "t"
STARTED_MS = 1_700_000_000_000
CONFIG = GossipConfig(enabled=True, antientropy_s=10.0)


def dice(seed: int) -> Dice:
    return Random(seed).random  # noqa: S311


def node_id(index: int) -> bytes:
    return bytes([index + 1]) * 32


@dataclass
class Wire:
    """A payload on its way."""

    sender: int
    to: int
    payload: bytes


@dataclass
class Swarm:
    """The nodes, the time and what is on its way."""

    size: int
    config: GossipConfig = CONFIG
    seed: int = 1
    now: float = 1000.0
    meshes: list[Mesh] = field(default_factory=list)
    links: set[frozenset[int]] = field(default_factory=set)
    wires: list[Wire] = field(default_factory=list)
    told: list[list[Deliver | Gapped]] = field(default_factory=list)
    fetches: list[tuple[int, Fetch]] = field(default_factory=list)
    drops: list[tuple[int, int, str]] = field(default_factory=list)
    published: set[tuple[bytes, int, int]] = field(default_factory=set)
    on_send: Callable[[int, Send], None] = lambda _node, _send: None

    def __post_init__(self) -> None:
        for index in range(self.size):
            self.told.append([])
            self.meshes.append(self.make(index))
        for index in range(self.size):
            self.carry(index, self.meshes[index].wake(now=self.now))

    def make(self, index: int, started_ms: int = 0) -> Mesh:
        mesh = Mesh(
            Contact(node_id(index), f"n{index}:1"),
            replace(self.config, peers=("n0:1", "n1:1")),
            started_ms=started_ms or STARTED_MS + int(1000 * self.now),
            rng=dice(self.seed * 1000 + index),
            now=self.now,
        )
        mesh.subscribe(TOPIC, now=self.now)
        return mesh

    def restart(self, index: int, started_ms: int = 0) -> None:
        """A node loses all it knew."""
        for other in range(self.size):
            self.unlink(index, other)
        self.told[index] = []
        self.meshes[index] = self.make(index, started_ms)
        self.carry(index, self.meshes[index].wake(now=self.now))

    def carry(self, index: int, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peer, payload):
                    self.on_send(index, effect)
                    to = peer[0] - 1
                    if frozenset((index, to)) in self.links:
                        self.wires.append(Wire(index, to, payload))
                case Deliver() | Gapped():
                    self.told[index].append(effect)
                case Dial(contact):
                    self.link(index, int(contact.addr[1:-2]), contact)
                case Drop(peer, _, reason):
                    self.drops.append((index, peer[0] - 1, reason))
                    self.flush(index, peer[0] - 1)
                    self.unlink(index, peer[0] - 1)
                case Fetch():
                    self.fetches.append((index, effect))

    def link(self, index: int, to: int, contact: Contact | None = None) -> None:
        contact = contact or Contact(node_id(to), f"n{to}:1")
        pair = frozenset((index, to))
        if to >= len(self.meshes):
            self.carry(index, self.meshes[index].dial_failed(contact, now=self.now))
            return
        if pair not in self.links and index != to:
            self.links.add(pair)
            self.carry(to, self.meshes[to].linked(node_id(index), dialled=None, now=self.now))
            if pair not in self.links:  # it was not let in
                self.carry(index, self.meshes[index].dial_failed(contact, now=self.now))
                return
        self.carry(index, self.meshes[index].linked(node_id(to), dialled=contact, now=self.now))

    def unlink(self, index: int, to: int) -> None:
        pair = frozenset((index, to))
        if pair not in self.links:
            return
        self.links.discard(pair)
        self.wires = [one for one in self.wires if frozenset((one.sender, one.to)) != pair]
        for here, there in ((index, to), (to, index)):
            effects = self.meshes[here].unlinked(node_id(there), now=self.now)
            self.carry(here, effects)

    def flush(self, index: int, to: int) -> None:
        """What was sent before a link is closed arrives."""
        last = [one for one in self.wires if (one.sender, one.to) == (index, to)]
        self.wires = [one for one in self.wires if (one.sender, one.to) != (index, to)]
        for wire in last:
            self.receive(wire)

    def receive(self, wire: Wire) -> None:
        mesh = self.meshes[wire.to]
        self.carry(wire.to, mesh.receive(node_id(wire.sender), wire.payload, now=self.now))

    def step(self, at: int = 0) -> None:
        """The payload at this place arrives."""
        if self.wires:
            self.receive(self.wires.pop(at % len(self.wires)))

    def wake(self) -> None:
        for index, mesh in enumerate(self.meshes):
            if mesh.deadline() <= self.now:
                self.carry(index, mesh.wake(now=self.now))

    def run(self, seconds: float) -> None:
        """Everything arrives, in order, while time passes."""
        end = self.now + seconds
        while True:
            while self.wires:
                self.step()
            due = min(mesh.deadline() for mesh in self.meshes)
            if due > end:
                break
            self.now = max(self.now, due)
            self.wake()
        self.now = end

    def publish(self, index: int, data: bytes = b"x" * 2000, topic: str = TOPIC) -> Outcome:
        outcome, effects = self.meshes[index].publish(topic, data, ts_ms=0, now=self.now)
        if isinstance(outcome, Accepted | Queued):
            self.published.add((node_id(index), outcome.epoch, outcome.seq))
        self.carry(index, effects)
        return outcome

    def delivered(self, index: int) -> list[tuple[bytes, int, int]]:
        return [
            (one.publisher, one.epoch, one.seq)
            for one in self.told[index]
            if isinstance(one, Deliver)
        ]

    def gapped(self, index: int) -> list[tuple[bytes, int, int]]:
        return [
            (one.publisher, one.epoch, seq)
            for one in self.told[index]
            if isinstance(one, Gapped)
            for seq in range(one.first, one.last + 1)
        ]


def started(size: int, **changes: object) -> Swarm:
    """A swarm that has come together."""
    swarm = Swarm(size, **changes)  # type: ignore[arg-type]
    swarm.run(8.0)
    return swarm
