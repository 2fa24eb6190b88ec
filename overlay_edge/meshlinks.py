"""Meshlinks: which link leads to which node of the mesh.

    both dial at once     the link that the lower id dialled stays; the other one lingers
    a node comes again    its new link is the link; the old one is dead, most likely
    dropped by the mesh   what was written leaves, what is asked is answered, then it is closed

A node is who its certificate says: the handshake has proven that the key is there.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from overlay_edge.host.clock import monotonic
from overlay_edge.link import Link
from overlay_edge.proto.frame import App
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import State
from overlay_edge.pulling import Asked

LINGER_S = 1.0  # what is on its way arrives: the slowest round trip there is
MAX_LINGERS = 30  # as long as somebody still pulls an object over it
TWINS_S = 5.0  # younger links may be of two nodes that dialled each other at once
PING_S = 10  # between measurements of a link
MAX_PINGS = 4  # unanswered ones remembered


@dataclass(slots=True, eq=False)
class MeshLink:
    """One link to a node.

    Attributes:
        node: Its id.
        addr: Where it was dialled, or says that it can be.
        is_outbound: We dialled.
        is_current: Messages to the node go here.
        is_congested: It does not keep up.
        pings: When each was sent, by number.
        asked: Objects that are pulled over it, by request.
    """

    link: Link
    node: bytes
    addr: str
    is_outbound: bool
    since: float
    is_current: bool = True
    is_congested: bool = False
    lingers: int = 0
    pings: dict[int, float] = field(default_factory=dict)
    asked: dict[int, Asked] = field(default_factory=dict)

    @property
    def session(self) -> Session | None:
        """Its session, while it can be used."""
        session = self.link.session
        return session if session is not None and session.state is not State.CLOSED else None

    @property
    def is_busy(self) -> bool:
        """Something is still asked or answered over it, or waits to be written."""
        session = self.session
        return session is not None and not session.is_idle


class MeshLinks:
    """All of them.

    Args:
        me: This node's id.

    Attributes:
        shed: Messages thrown away by links that are gone, by rank.
    """

    def __init__(self, me: bytes) -> None:
        self.me = me
        self.shed: Counter[int] = Counter()
        self._loop = asyncio.get_running_loop()
        self._all: dict[Link, MeshLink] = {}
        self._current: dict[bytes, MeshLink] = {}
        self._dirty: set[Link] = set()
        self._is_due = False

    def __iter__(self) -> Iterator[MeshLink]:
        return iter(list(self._current.values()))

    @property
    def count(self) -> int:
        """Links, those that linger included."""
        return len(self._all)

    @property
    def held_bytes(self) -> int:
        """Of messages that wait to be written."""
        return sum(one.session.lane.held_bytes for one in self._all.values() if one.session)

    def of(self, link: Link) -> MeshLink | None:
        """What is known of a link; None = it is no node's."""
        return self._all.get(link)

    def to(self, node: bytes) -> MeshLink | None:
        """The link to a node."""
        return self._current.get(node)

    def add(self, new: MeshLink, unlinked: Callable[[bytes], None]) -> None:
        """A link to a node is up.

        Args:
            new: The link.
            unlinked: Called when the node had a link before that is dead.
        """
        old = self._current.get(new.node)
        self._all[new.link] = new
        if old is None:
            self._current[new.node] = new
        elif old.is_outbound != new.is_outbound and new.since - old.since < TWINS_S:
            # Both ends see the same two links, in any order, and must keep the same one.
            stays = new if self._dialler(new) < self._dialler(old) else old
            goes = old if stays is new else new
            self._current[new.node] = stays
            self._linger(goes)
        else:
            self._linger(old)
            unlinked(new.node)
            self._current[new.node] = new
        self.ping(new)

    def drop(self, node: bytes) -> MeshLink | None:
        """The mesh needs the node's link no longer; returns it, if there was one."""
        found = self._current.pop(node, None)
        if found is not None:
            self._linger(found)
        return found

    def closed(self, link: Link) -> MeshLink | None:
        """A link is gone; returns it, if messages went there."""
        found = self._all.pop(link, None)
        if found is None:
            return None
        for asked in found.asked.values():
            asked.fail("the link is gone")
        found.asked.clear()
        if link.session is not None:
            self.shed += link.session.lane.shed
        if self._current.get(found.node) is not found:
            return None
        del self._current[found.node]
        return found

    def send(self, node: bytes, payload: bytes, rank: int) -> MeshLink | None:
        """Send an event of the mesh; returns the link if it has just fallen behind."""
        found = self._current.get(node)
        session = found.session if found is not None else None
        if found is None or session is None:
            return None
        session.notify(App.GOSSIP, payload, rank)
        self.pump(found.link)
        if session.lane.shed[0]:
            found.link.abort("does not read")
        if not session.lane.is_full or found.is_congested:
            return None
        found.is_congested = True
        return found

    def ping(self, found: MeshLink) -> None:
        """Measure the round trip; the session itself notices a node that is silent."""
        session = found.session
        if session is None:
            return
        found.pings[session.ping()] = monotonic()
        while len(found.pings) > MAX_PINGS:
            del found.pings[next(iter(found.pings))]
        self.pump(found.link)

    def pump(self, link: Link) -> None:
        """Write soon: not now, as whoever calls may be in the middle of reading."""
        self._dirty.add(link)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def drop_messages(self) -> tuple[int, int]:
        """Let go of every message that waits to be written; returns how many, and their bytes."""
        counts = [one.session.lane.drop(1) for one in self._all.values() if one.session]
        return sum(count for count, _ in counts), sum(freed for _, freed in counts)

    def shed_now(self) -> Counter[int]:
        """Messages thrown away because their reader was slow, by rank."""
        total = Counter(self.shed)
        for one in self._all.values():
            if one.session is not None:
                total += one.session.lane.shed
        return total

    def close(self, reason: str) -> None:
        """End all of them."""
        for link in list(self._all):
            link.close(reason)

    def _dialler(self, found: MeshLink) -> bytes:
        return self.me if found.is_outbound else found.node

    def _linger(self, found: MeshLink) -> None:
        found.is_current = False
        self._loop.call_later(LINGER_S, self._end, found)

    def _end(self, found: MeshLink) -> None:
        found.lingers += 1
        if found.is_busy and found.lingers < MAX_LINGERS:
            self._loop.call_later(LINGER_S, self._end, found)
        else:
            found.link.close("not needed")

    def _flush(self) -> None:
        self._is_due = False
        dirty, self._dirty = self._dirty, set()
        for link in dirty:
            link.pump()
