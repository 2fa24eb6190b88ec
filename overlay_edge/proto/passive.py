"""Passive view: nodes heard of, who was asked in vain, who was lost, and where to begin.

    remembered   to replace a neighbour by; full: a random one makes room
    refused      had no place, or did not answer: not asked again for a while
    lost         were neighbours until their link broke: called again for a while

The last heals a network that was cut in two while both halves were full.
"""

from collections.abc import Sequence

from overlay_edge.proto.effects import Dice, pick, sample
from overlay_edge.proto.gossip_message import NOBODY, Contact

REFUSED_S = 30.0  # who was full is not asked again sooner
MAX_LOST = 16
LOST_S = 20.0  # between calls to neighbours that were lost
LOST_TRIES = 30  # ten minutes
MAX_SEEDS = 256  # of the config, and of what is heard of on a LAN
SPREAD = 0.2
NEVER = float("inf")


class PassiveView:
    """Nodes that are not neighbours.

    Args:
        me: This node's id.
        most: Nodes remembered.
        rng: Dice.
    """

    def __init__(self, me: bytes, most: int, *, rng: Dice) -> None:
        self.nodes: dict[bytes, Contact] = {}
        self.call_at = NEVER
        self._me = me
        self._most = most
        self._rng = rng
        self._refused: dict[bytes, float] = {}  # until when
        self._lost: dict[bytes, tuple[Contact, int]] = {}  # tries left

    def __len__(self) -> int:
        return len(self.nodes)

    def remember(self, contact: Contact) -> None:
        """Keep a node, in place of a random one if the view is full."""
        node = contact.node
        if node in (self._me, NOBODY) or not contact.addr:
            return
        if node not in self.nodes and len(self.nodes) >= self._most:
            del self.nodes[pick(list(self.nodes), self._rng)]
        self.nodes[node] = contact

    def forget(self, node: bytes) -> None:
        """It is a neighbour now, or no good."""
        self.nodes.pop(node, None)

    def sample(self, most: int) -> list[Contact]:
        """Some of them."""
        return sample(list(self.nodes.values()), most, self._rng)

    def refuse(self, node: bytes, *, now: float) -> None:
        """It had no place for us."""
        if len(self._refused) >= self._most:
            del self._refused[next(iter(self._refused))]
        self._refused[node] = now + REFUSED_S

    def able(self, *, now: float) -> list[Contact]:
        """Whom to ask."""
        for node in [node for node, until in self._refused.items() if until <= now]:
            del self._refused[node]
        return [contact for node, contact in self.nodes.items() if node not in self._refused]

    def lost(self, contact: Contact, *, now: float) -> None:
        """A neighbour's link broke."""
        if not contact.addr:
            return
        if len(self._lost) >= MAX_LOST:
            del self._lost[next(iter(self._lost))]
        self._lost[contact.node] = (contact, LOST_TRIES)
        self.call_at = min(self.call_at, now + LOST_S * (1 - self._rng() / 2))

    def found(self, node: bytes) -> bool:
        """Say whether it was lost, and take it for found."""
        return self._lost.pop(node, None) is not None

    def call(self, *, now: float) -> Contact | None:
        """The lost node that is to be called now, if there is one."""
        if not self._lost:
            self.call_at = NEVER
            return None
        self.call_at = now + LOST_S * (1 - SPREAD + 2 * SPREAD * self._rng())
        node = next(iter(self._lost))
        contact, tries = self._lost.pop(node)
        if tries > 1:
            self._lost[node] = (contact, tries - 1)  # behind the others
        return contact


class Seeds:
    """Addresses of the config, to join by.

    Args:
        addrs: As configured.
        own: Where this node is reached itself.
    """

    def __init__(self, addrs: Sequence[str], own: str) -> None:
        self._addrs = [addr for addr in addrs if addr != own]

    def add(self, addr: str) -> None:
        """One more, heard of while running."""
        if addr not in self._addrs and len(self._addrs) < MAX_SEEDS:
            self._addrs.append(addr)

    def remove(self, addr: str) -> None:
        """It is no good any more."""
        self._addrs = [one for one in self._addrs if one != addr]

    def without(self, known: Sequence[Contact]) -> list[Contact]:
        """Those that none of these nodes has."""
        taken = {contact.addr for contact in known}
        return [Contact(NOBODY, addr) for addr in self._addrs if addr not in taken]
