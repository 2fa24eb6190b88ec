"""Topics: which are known, who brought each up, and who here wants to hear it."""

from collections.abc import Callable
from itertools import islice

from overlay_edge.proto.gossip_message import MAX_TOPIC_BYTES

LOOKED_AT = 16  # topics that may make room for another
TOPIC_BYTES = 800  # measured: the name, its places in all tables, an empty tree
OURS = b""  # brought up here


class Topics:
    """The table.

    Args:
        most: Topics in all.
        most_per_peer: That one peer may bring up.
        forget: Gives up everything held for a topic, if nothing of it can come; says if it did.
    """

    def __init__(
        self, most: int, most_per_peer: int, *, forget: Callable[[str, float], bool]
    ) -> None:
        self.subscribed: set[str] = set()
        self._most = most
        self._most_per_peer = most_per_peer
        self._forget = forget
        self._known: dict[str, bytes] = {}
        self._brought: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, topic: str) -> bool:
        return topic in self._known

    def admit(self, topic: str, peer: bytes, *, now: float) -> bool:
        """Know a topic from now on; False = there is no room, or the peer has had its share."""
        if topic in self._known:
            if peer == OURS:
                self._move(topic, OURS)
            return True
        if peer != OURS and self._brought.get(peer, 0) >= self._most_per_peer:
            return False
        if len(self._known) >= self._most and not self._make_room(now):
            return False
        self._known[topic] = peer
        self._brought[peer] = self._brought.get(peer, 0) + 1
        return True

    def subscribe(self, topic: str, *, now: float) -> bool:
        """Hear a topic; False = there is no room for it."""
        if not is_topic(topic) or not self.admit(topic, OURS, now=now):
            return False
        self.subscribed.add(topic)
        return True

    def unsubscribe(self, topic: str) -> None:
        """Hear it no longer; it is passed on as before."""
        self.subscribed.discard(topic)

    @property
    def held_bytes(self) -> int:
        """Bytes of all topics."""
        return TOPIC_BYTES * len(self._known)

    def _make_room(self, now: float) -> bool:
        for topic in list(islice(self._known, LOOKED_AT)):
            if topic not in self.subscribed and self._forget(topic, now):
                self._count_out(topic)
                return True
            self._known[topic] = self._known.pop(topic)  # others are looked at next time
        return False

    def _move(self, topic: str, peer: bytes) -> None:
        self._count_out(topic)
        self._known[topic] = peer
        self._brought[peer] = self._brought.get(peer, 0) + 1

    def _count_out(self, topic: str) -> None:
        peer = self._known.pop(topic)
        self._brought[peer] -= 1
        if not self._brought[peer]:
            del self._brought[peer]


def is_topic(topic: str) -> bool:
    """True if it may be a topic's name."""
    return 0 < len(topic.encode()) <= MAX_TOPIC_BYTES
