"""Fetching: objects whose address was published, until the node has pulled them.

The bytes never ride the tree: who wants the object pulls it with credit, from who announced it
or from who that one had it from. A node that pulled it is the next provider, so the load
spreads along the tree.
"""

from overlay_edge.proto.effects import Fetch
from overlay_edge.proto.gossip_message import Gossip

MAX_FETCHES = 64  # objects at one time; one more is a gap
MAX_WAITING = 8  # messages that name the same object
FETCH_BYTES = 1600  # measured: a message without data and its place


class Fetching:
    """Objects that are being pulled."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[bytes | None, Gossip]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, peer: bytes | None, message: Gossip) -> list[Fetch] | None:
        """Pull what a message names; None = there is no room for another one."""
        waiting = self._waiting.get(message.addr)
        if waiting is not None:
            if len(waiting) >= MAX_WAITING:
                return None
            waiting.append((peer, message))
            return []
        if len(self._waiting) >= MAX_FETCHES:
            return None
        self._waiting[message.addr] = [(peer, message)]
        return [Fetch(message.addr, message.size, message.topic, message.providers)]

    def end(self, addr: str) -> list[tuple[bytes | None, Gossip]]:
        """It is over: the messages that waited, each with who brought it."""
        return self._waiting.pop(addr, [])

    @property
    def held_bytes(self) -> int:
        """Bytes of all that wait."""
        return FETCH_BYTES * sum(map(len, self._waiting.values()))
