"""Walks: nodes of both views carried to a random place of the mesh and exchanged there.

    me -- shuffle --> a -- shuffle --> b -- shuffle --> c   keeps ours, answers with its own
    me <-- reply ---- a <-- reply ---- b <-- reply ---- c

The answer comes back the way the walk went, since a link of its own would cost a handshake.
Whoever a walk came by remembers from where for a few seconds.
"""

from overlay_edge.proto.effects import Dice, Lane, Tell, pick, sample
from overlay_edge.proto.gossip_message import Contact, Shuffle, ShuffleReply
from overlay_edge.proto.passive import PassiveView

WALK = 6  # paper: the active random walk length
SHUFFLED_ACTIVE, SHUFFLED_PASSIVE = 3, 4  # paper
MAX_WALKS = 64  # that may still come back
WALK_S = 10.0


class Walks:
    """The shuffles under way.

    Args:
        me: This node; without an address it is not offered to others.
        passive: Where nodes that are heard of are kept.
        rng: Dice.
    """

    def __init__(self, me: Contact, passive: PassiveView, *, rng: Dice) -> None:
        self._me = me
        self._passive = passive
        self._rng = rng
        self._from: dict[int, tuple[bytes, float]] = {}  # oldest first: all kept equally long

    def __len__(self) -> int:
        return len(self._from)

    def begin(self, active: dict[bytes, Contact], *, now: float) -> list[Tell]:
        """Send some of both views on a walk."""
        self._forget(now)
        number = int(self._rng() * (1 << 53))
        if not active or len(self._from) >= MAX_WALKS:
            return []
        self._from[number] = (self._me.node, now + WALK_S)
        reachable = [contact for contact in active.values() if contact.addr]
        peers = sample(reachable, SHUFFLED_ACTIVE, self._rng)
        peers += self._passive.sample(SHUFFLED_PASSIVE)
        if self._me.addr:
            peers.append(self._me)
        to = pick(list(active), self._rng)
        return [Tell(to, Shuffle(number, WALK, tuple(peers)), Lane.CONTROL)]

    def came(
        self, peer: bytes, walk: Shuffle, active: dict[bytes, Contact], *, now: float
    ) -> list[Tell]:
        """A walk comes by: pass it on, or end it."""
        others = [one for one in active if one != peer]
        self._forget(now)
        if walk.ttl > 0 and others and len(self._from) < MAX_WALKS:
            self._from[walk.id] = (peer, now + WALK_S)
            further = Shuffle(walk.id, min(walk.ttl, WALK) - 1, walk.peers)
            return [Tell(pick(others, self._rng), further, Lane.CONTROL)]
        mine = self._passive.sample(len(walk.peers))
        self.learn(walk.peers, active)
        return [Tell(peer, ShuffleReply(walk.id, tuple(mine)), Lane.CONTROL)]

    def came_back(self, reply: ShuffleReply, active: dict[bytes, Contact]) -> list[Tell]:
        """An answer comes by: pass it back, or keep it if the walk was ours."""
        came_from, _ = self._from.pop(reply.id, (b"", 0.0))
        if came_from == self._me.node:
            self.learn(reply.peers, active)
        elif came_from in active:
            return [Tell(came_from, reply, Lane.CONTROL)]
        return []

    def learn(self, contacts: tuple[Contact, ...], active: dict[bytes, Contact]) -> None:
        """Remember nodes that are not neighbours."""
        for contact in contacts:
            if contact.node not in active:
                self._passive.remember(contact)

    def _forget(self, now: float) -> None:
        while self._from:
            number = next(iter(self._from))
            if self._from[number][1] > now:
                return
            del self._from[number]
