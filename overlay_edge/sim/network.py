"""Network: links, crashes and cuts, around the machines that real nodes run.

Nothing waits here. Whatever is to happen stands in one heap with its time; the first is taken
and its time is now. The dice have a seed, so the same run can be had again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from heapq import heappop, heappush
from random import Random

from overlay_edge.config import GossipConfig
from overlay_edge.proto.effects import (
    Deliver,
    Dial,
    Drop,
    Effect,
    Fetch,
    Gapped,
    Lane,
    Outcome,
    Send,
)
from overlay_edge.proto.frame import HEADER_BYTES
from overlay_edge.proto.gossip import Mesh
from overlay_edge.proto.gossip_message import Contact

STARTED_MS = 1_700_000_000_000  # any time will do, but the same in each run
HANDSHAKE_TRIPS = 4  # TCP, TLS and HELLO
DIAL_FAILS_S = 1.0  # nobody there
PORT = 9444


@dataclass(frozen=True, slots=True)
class Weather:
    """What links are like.

    Attributes:
        latency_s: Least and most of a link, one way.
        jitter: Part of a link's latency that varies from payload to payload.
        drop: Share of payloads that never get out of their queue.
        notice_s: How long until a broken link is noticed, at most.
    """

    latency_s: tuple[float, float] = (0.010, 0.050)
    jitter: float = 0.1
    drop: float = 0.0
    notice_s: float = 1.0


@dataclass(slots=True)
class Link:
    """A connection between two boards; each direction keeps its order."""

    latency_s: float
    arrives: list[float] = field(default_factory=lambda: [0.0, 0.0])
    is_open: bool = True


@dataclass(slots=True)
class Board:
    """One node."""

    index: int
    contact: Contact
    mesh: Mesh
    links: dict[bytes, Link] = field(default_factory=dict)
    wake_at: float = float("inf")
    is_alive: bool = True
    side: int = 0
    sent_bytes: int = 0
    sent_control: int = 0
    sent_total: int = 0
    most_held_bytes: int = 0


Watcher = Callable[[Board, Deliver | Gapped], None]


class Network:
    """All boards, and the time.

    Args:
        config: What each board has, but for the addresses to join by.
        weather: What links are like.
        seed: Of the dice.
        watch: Told what is delivered to whom, and what is not.
    """

    def __init__(
        self, config: GossipConfig, weather: Weather, *, seed: int, watch: Watcher
    ) -> None:
        self.now = 0.0
        self.boards: list[Board] = []
        self.events_total = 0
        self.dropped_total = 0
        self._config = config
        self._weather = weather
        self._rng = Random(seed)
        self._watch = watch
        self._by_addr: dict[str, Board] = {}
        self._by_node: dict[bytes, Board] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._number = 0

    # -- boards -----------------------------------------------------------------------------

    def add(self, *, peers: tuple[str, ...], topics: tuple[str, ...]) -> Board:
        """One more board, which joins by these addresses."""
        index = len(self.boards)
        node = sha256(b"board %d" % index).digest()
        board = Board(index, Contact(node, f"board-{index}:{PORT}"), self._mesh(index, node, peers))
        for topic in topics:
            board.mesh.subscribe(topic, now=self.now)
        self.boards.append(board)
        self._by_addr[board.contact.addr] = self._by_node[node] = board
        self._plan(board)
        return board

    def _mesh(self, index: int, node: bytes, peers: tuple[str, ...]) -> Mesh:
        return Mesh(
            Contact(node, f"board-{index}:{PORT}"),
            replace(self._config, peers=peers),
            started_ms=STARTED_MS + int(1000 * self.now),
            rng=Random(self._rng.random()).random,
            now=self.now,
        )

    def crash(self, board: Board) -> None:
        """Pull the plug; the others notice after a while."""
        board.is_alive = False
        for peer in list(board.links):
            self._cut(board, self._by_node[peer])

    def restart(self, board: Board, *, peers: tuple[str, ...], topics: tuple[str, ...]) -> None:
        """Plug it in again: it has forgotten everything."""
        board.mesh = self._mesh(board.index, board.contact.node, peers)
        board.is_alive, board.wake_at = True, float("inf")
        board.links.clear()
        for topic in topics:
            board.mesh.subscribe(topic, now=self.now)
        self._plan(board)

    def part(self, sides: Callable[[Board], int]) -> None:
        """Cut the network: boards of different sides do not reach each other."""
        for board in self.boards:
            board.side = sides(board)
        for board in self.boards:
            for peer in list(board.links):
                other = self._by_node[peer]
                if other.side != board.side:
                    self._cut(board, other)

    def publish(self, board: Board, topic: str, data: bytes) -> Outcome:
        """Let a board publish; what it was told."""
        outcome, effects = board.mesh.publish(
            topic, data, ts_ms=STARTED_MS + int(1000 * self.now), now=self.now
        )
        self._carry(board, effects)
        return outcome

    # -- time -------------------------------------------------------------------------------

    def at(self, at: float, action: Callable[..., None], *args: object) -> None:
        """Do something then."""
        self._number += 1
        heappush(self._heap, (at, self._number, action, args))

    def run(self, until: float) -> None:
        """Let everything happen that is due up to a time."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action, args = heappop(heap)
            self.events_total += 1
            action(*args)
        self.now = until

    # -- links ------------------------------------------------------------------------------

    def _dial(self, board: Board, contact: Contact) -> None:
        low, high = self._weather.latency_s
        latency_s = low + (high - low) * self._rng.random()
        other = self._by_addr.get(contact.addr)
        if other is None or not other.is_alive or other.side != board.side:
            self.at(self.now + DIAL_FAILS_S, self._dial_failed, board, contact, board.mesh)
        else:
            at = self.now + HANDSHAKE_TRIPS * latency_s
            self.at(at, self._linked, board, other, contact, latency_s, board.mesh)

    def _dial_failed(self, board: Board, contact: Contact, mesh: Mesh) -> None:
        if board.is_alive and board.mesh is mesh:
            self._carry(board, mesh.dial_failed(contact, now=self.now))

    def _linked(
        self, board: Board, other: Board, contact: Contact, latency_s: float, mesh: Mesh
    ) -> None:
        if not board.is_alive or board.mesh is not mesh:
            return
        if not other.is_alive or other.side != board.side:
            self._dial_failed(board, contact, mesh)
            return
        here, there = board.contact.node, other.contact.node
        if here == there or there in board.links:
            # To itself, or one too many: the older link stays.
            self._carry(board, mesh.linked(there, dialled=contact, now=self.now))
            return
        board.links[there] = other.links[here] = Link(latency_s)
        for one, peer in ((board, there), (other, here)):
            one.mesh.measured(peer, 2 * latency_s)
        self._carry(other, other.mesh.linked(here, dialled=None, now=self.now))
        if there in board.links:
            self._carry(board, mesh.linked(there, dialled=contact, now=self.now))

    def _cut(self, board: Board, other: Board) -> None:
        """Break a link without a word."""
        link = board.links.pop(other.contact.node, None)
        if link is None:
            return
        other.links.pop(board.contact.node, None)
        link.is_open = False
        for one, peer in ((board, other), (other, board)):
            wait_s = self._weather.notice_s * self._rng.random()
            self.at(self.now + wait_s, self._unlinked, one, peer.contact.node, one.mesh)

    def _close(self, board: Board, peer: bytes) -> None:
        """Close a link in order: what was sent before arrives before."""
        link = board.links.pop(peer, None)
        if link is None:
            return
        other = self._by_node[peer]
        way = board.contact.node < peer
        at = max(self.now + link.latency_s, link.arrives[way])
        self.at(at, self._closed, other, board.contact.node, link)
        self._carry(board, board.mesh.unlinked(peer, now=self.now))

    def _closed(self, board: Board, peer: bytes, link: Link) -> None:
        link.is_open = False
        if board.links.get(peer) is link:
            del board.links[peer]
            self._unlinked(board, peer, board.mesh)

    def _unlinked(self, board: Board, peer: bytes, mesh: Mesh) -> None:
        if board.is_alive and board.mesh is mesh and peer not in board.links:
            self._carry(board, mesh.unlinked(peer, now=self.now))

    def _send(self, board: Board, effect: Send) -> None:
        link = board.links.get(effect.peer)
        if link is None:
            return
        board.sent_bytes += len(effect.payload) + HEADER_BYTES
        board.sent_total += 1
        board.sent_control += effect.lane is not Lane.EAGER
        random = self._rng.random
        if self._weather.drop and random() < self._weather.drop:
            self.dropped_total += 1
            return
        way = board.contact.node < effect.peer
        jitter = 1.0 + self._weather.jitter * (random() - 0.5)
        at = max(self.now + link.latency_s * jitter, link.arrives[way])
        link.arrives[way] = at
        self.at(at, self._receive, self._by_node[effect.peer], board.contact.node, link, effect)

    def _receive(self, board: Board, peer: bytes, link: Link, effect: Send) -> None:
        if board.is_alive and board.links.get(peer) is link:
            self._carry(board, board.mesh.receive(peer, effect.payload, now=self.now))

    # -- effects ------------------------------------------------------------------------------

    def _carry(self, board: Board, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(board, effect)
                case Deliver() | Gapped():
                    self._watch(board, effect)
                case Dial(contact):
                    self._dial(board, contact)
                case Drop(peer):
                    self._close(board, peer)
                case Fetch(addr):
                    at = self.now + 10 * self._weather.latency_s[1]
                    self.at(at, self._fetched, board, addr, board.mesh)
        self._plan(board)

    def _fetched(self, board: Board, addr: str, mesh: Mesh) -> None:
        if board.is_alive and board.mesh is mesh:
            self._carry(board, mesh.fetched(addr, True, now=self.now))

    def _plan(self, board: Board) -> None:
        at = board.mesh.deadline()
        if at < board.wake_at:
            board.wake_at = at
            self.at(max(at, self.now), self._wake, board, at)

    def _wake(self, board: Board, at: float) -> None:
        if board.is_alive and board.wake_at == at:
            board.wake_at = float("inf")
            self._carry(board, board.mesh.wake(now=self.now))
