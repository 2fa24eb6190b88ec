"""Membership: which few nodes this one talks to, and which it could (HyParView).

    active    neighbours; each is a link, and both sides agree   config.active, about 5
    passive   nodes heard of, to replace a neighbour by          config.passive, about 30

    new node    join ------> any node -- forward_join, walking --> becomes a neighbour there
    lost one    neighbor --> from passive, at once while hardly any is left, else with patience
    each minute some of both views walk, and some of others' come back (``walk.py``)
    islands     now and then an address of the config that nobody here has is asked to
                introduce us: meshes that do not know of each other grow together

A link to a node is only a neighbour once both have said so: ``join`` and ``neighbor`` are
answered by ``neighbor_reply``. Who says nothing is given up together with the link, so both
sides always end up with the same idea.

Leitao, Pereira, Rodrigues: HyParView, DSN 2007. Walk lengths are the paper's.
"""

from dataclasses import dataclass

from overlay_edge.config import GossipConfig
from overlay_edge.proto.backoff import Backoff
from overlay_edge.proto.effects import Dial, Dice, Down, Drop, Inner, Lane, Tell, Up, pick, sample
from overlay_edge.proto.gossip_message import (
    NOBODY,
    Contact,
    Disconnect,
    ForwardJoin,
    Join,
    Message,
    Neighbor,
    NeighborReply,
    Shuffle,
    ShuffleReply,
)
from overlay_edge.proto.passive import NEVER, SPREAD, PassiveView, Seeds
from overlay_edge.proto.quota import TokenBucket
from overlay_edge.proto.walk import WALK, Walks

PASSIVE_WALK = 3  # paper: a new node is remembered by who has it this near the walk's end
SHUFFLE_S = 60.0  # give or take a fifth
FIRST_SHUFFLE_S = 2.0  # a new node knows few others: it asks soon, then half as often each time
REPLY_S = 5.0  # a neighbour that does not answer in this time is none
DIAL_S = 15.0  # longer than a dial may take: the owner reports failures itself
PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # between tries while some are left
PROBE_SHUFFLES = 16  # a node of a large mesh asks another seed every so many minutes
CURIOUS = 0.5  # of all shuffles: a node of the passive view is asked for a place, too
DIALS_PER_S = 2.0  # half a mesh that is gone is found out in seconds
DIAL_BURSTS = 4  # times a full view, at once
HURRY_S = 0.5  # between looks at what is left while few neighbours are
MIN_OUTBOUND = 2  # an attacker who dials us must not be all we hear


@dataclass(slots=True)
class Neighbour:
    """One of the active view."""

    contact: Contact
    is_outbound: bool
    since: float


@dataclass(slots=True)
class _Link:
    """A link that is not a neighbour: asked and not answered, or of somebody else's use."""

    contact: Contact
    is_outbound: bool
    reply_at: float = NEVER  # we have not asked anything


class Membership:
    """The two views.

    Args:
        me: This node and where it is reached.
        config: Sizes, and addresses to join by.
        rng: Dice.
        now: Monotonic seconds.

    Attributes:
        active: Neighbours by their node id.
        passive: Nodes that are not.
        seeds: Addresses to join by.
    """

    def __init__(self, me: Contact, config: GossipConfig, *, rng: Dice, now: float) -> None:
        self.me = me
        self.active: dict[bytes, Neighbour] = {}
        self.passive = PassiveView(me.node, config.passive, rng=rng)
        self._config = config
        self._rng = rng
        self._walks = Walks(me, self.passive, rng=rng)
        self._links: dict[bytes, _Link] = {}
        self._dialling: dict[Contact, float] = {}  # until when
        self._must: set[Contact] = set()  # of these: who is to take us, room or not
        self.seeds = Seeds(config.peers, me.addr)
        self._backoff = Backoff(PATIENCE_S, is_endless=True)
        self._refill_at = now
        # Who tells us of nodes must not be able to make us dial for ever.
        self._dials = TokenBucket(DIALS_PER_S, DIAL_BURSTS * config.active, now=now)
        self._shuffle_s = FIRST_SHUFFLE_S
        self._shuffle_at = now + FIRST_SHUFFLE_S * (1 + rng())
        self._reply_at = NEVER

    # -- the world spoke ------------------------------------------------------------------

    def linked(self, peer: bytes, *, dialled: Contact | None, now: float) -> list[Inner]:
        """A link is up: ``dialled`` is the contact of our ``Dial``, None = the peer dialled."""
        is_must = dialled in self._must
        if dialled is not None:
            self._dialling.pop(dialled, None)
            if dialled.node != peer:  # whoever is said to be there is not
                self.passive.forget(dialled.node)
            self._must.discard(dialled)
        if peer == self.me.node:
            if dialled is not None:
                self.seeds.remove(dialled.addr)  # our own address
            return [Drop(peer, 200, "this is myself")]
        if peer in self.active:
            return []
        # Both may dial at once; the owner keeps one link, and then it is the one that was there.
        link = self._links.setdefault(peer, _Link(Contact(peer, ""), dialled is not None))
        if dialled is None or link.reply_at != NEVER:
            return []
        link.contact = Contact(peer, dialled.addr)
        link.reply_at = now + REPLY_S
        self._reply_at = min(self._reply_at, link.reply_at)
        is_high = self.passive.found(peer) or self._is_low or is_must
        if dialled.node == NOBODY and (not self.active or not self._is_low):
            return [Tell(peer, Join(self.me.addr, probe=bool(self.active)), Lane.CONTROL)]
        return [Tell(peer, Neighbor(is_high, self.me.addr), Lane.CONTROL)]

    def unlinked(self, peer: bytes, *, now: float) -> list[Inner]:
        """A link is gone."""
        link = self._links.pop(peer, None)
        if link is not None and link.reply_at != NEVER:
            self.passive.refuse(peer, now=now)
            return self._refill(now)
        neighbour = self.active.pop(peer, None)
        if neighbour is None:
            return []
        self.passive.lost(neighbour.contact, now=now)
        self._backoff.succeeded()
        self._refill_at = now
        return [Down(peer), *self._refill(now)]

    def dial_failed(self, contact: Contact, *, now: float) -> list[Inner]:
        """A dial came to nothing."""
        self._dialling.pop(contact, None)
        self._must.discard(contact)
        self.passive.forget(contact.node)
        return self._refill(now)

    def dropped(self, peer: bytes, *, now: float) -> list[Inner]:
        """We closed the link ourselves: the peer is no good, and not to be asked again."""
        self.passive.forget(peer)
        self._links.pop(peer, None)
        if self.active.pop(peer, None) is None:
            return []
        self._refill_at = now
        return [Down(peer), *self._refill(now)]

    def receive(self, peer: bytes, message: Message, *, now: float) -> list[Inner]:
        """A message about membership came; others are not for this room."""
        match message:
            case Join(addr, probe):
                return self._probe(peer, addr, now) if probe else self._join(peer, addr, now)
            case Neighbor(high, addr):
                return self._neighbor(peer, high, addr, now)
            case NeighborReply(ok):
                return self._reply(peer, ok, now)
            case Disconnect(alive):
                return self._disconnect(peer, alive, now)
            case ForwardJoin(contact, ttl) if peer in self.active:
                return self._forward(peer, contact, min(ttl, WALK), now)
            case Shuffle() if peer in self.active:
                return [*self._walks.came(peer, message, self._contacts(), now=now)]
            case ShuffleReply() if peer in self.active:
                return [*self._walks.came_back(message, self._contacts())]
        return []

    # -- time -------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Wake me then."""
        refill_at = self._refill_at if self._missing() > 0 else NEVER
        return min(refill_at, self._shuffle_at, self.passive.call_at, self._reply_at)

    def wake(self, *, now: float) -> list[Inner]:
        """It is then."""
        out: list[Inner] = []
        if now >= self._reply_at:
            out += self._give_up(now)
        if now >= self._shuffle_at:
            out += self._shuffle(now)
        if now >= self.passive.call_at:
            contact = self.passive.call(now=now)
            if contact is not None and contact.node not in self.active and not self._is_busy:
                out += self._dial(contact, now)
        if now >= self._refill_at:
            out += self._refill(now)
        return out

    def hurry(self, *, now: float) -> None:
        """There is somebody new to ask: at once, if this node has few neighbours."""
        if self._is_low:
            self._refill_at = min(self._refill_at, now)

    # -- views ------------------------------------------------------------------------------

    @property
    def known(self) -> int:
        """Nodes known, this one included."""
        return 1 + len(self.active) + len(self.passive)

    @property
    def _is_low(self) -> bool:
        """One more loss could cut this node off."""
        return len(self.active) < (self._config.active + 1) // 2

    @property
    def _is_busy(self) -> bool:
        return len(self._dialling) >= self._config.active

    def _missing(self) -> int:
        lacking = self._config.active - len(self.active) - len(self._dialling)
        if lacking > 0 and self._reply_at != NEVER:
            lacking -= sum(1 for link in self._links.values() if link.reply_at != NEVER)
        return lacking

    def _contacts(self) -> dict[bytes, Contact]:
        return {peer: one.contact for peer, one in self.active.items()}

    def _outbound(self) -> int:
        return sum(1 for one in self.active.values() if one.is_outbound)

    def _admit(self, peer: bytes, addr: str, now: float) -> list[Inner]:
        """Make a peer a neighbour, in place of another if there are enough."""
        link = self._links.pop(peer, None)
        out = self._make_room(now)
        self.active[peer] = Neighbour(Contact(peer, addr), bool(link and link.is_outbound), now)
        self.passive.forget(peer)
        self.passive.found(peer)
        self._backoff.succeeded()
        out.append(Up(peer))
        return out

    def _make_room(self, now: float) -> list[Inner]:
        out: list[Inner] = []
        while len(self.active) >= self._config.active:
            spare = self._outbound() > MIN_OUTBOUND
            able = [peer for peer, one in self.active.items() if spare or not one.is_outbound]
            peer = pick(able or list(self.active), self._rng)
            self.passive.remember(self.active.pop(peer).contact)
            self.passive.refuse(peer, now=now)
            out += [
                Tell(peer, Disconnect(True), Lane.CONTROL),
                Down(peer),
                Drop(peer, 200, "another neighbour took the place"),
            ]
        return out

    # -- what peers ask ------------------------------------------------------------------------

    def _join(self, peer: bytes, addr: str, now: float) -> list[Inner]:
        reply = Tell(peer, NeighborReply(True), Lane.CONTROL)
        if peer in self.active:
            return [reply]
        # The reply goes first: what is sent to a neighbour is only taken from one.
        out = [reply, *self._admit(peer, addr, now)]
        if addr:
            walk = ForwardJoin(Contact(peer, addr), WALK)
            out += [Tell(one, walk, Lane.CONTROL) for one in self.active if one != peer]
        return out

    def _probe(self, peer: bytes, addr: str, now: float) -> list[Inner]:
        """Introduce a node to one of ours, somewhere: here, every node that asks comes by."""
        others = [one for one in self.active if one != peer]
        if not others or peer in self.active:
            return self._join(peer, addr, now)
        out: list[Inner] = [Tell(peer, NeighborReply(False), Lane.CONTROL)]
        if addr:
            walk = ForwardJoin(Contact(peer, addr), WALK)
            out.append(Tell(pick(others, self._rng), walk, Lane.CONTROL))
        return out

    def _neighbor(self, peer: bytes, high: bool, addr: str, now: float) -> list[Inner]:
        reply = Tell(peer, NeighborReply(True), Lane.CONTROL)
        if peer in self.active:
            return [reply]
        if high or len(self.active) < self._config.active:
            return [reply, *self._admit(peer, addr, now)]
        self.passive.remember(Contact(peer, addr))
        return [Tell(peer, NeighborReply(False), Lane.CONTROL)]

    def _reply(self, peer: bytes, ok: bool, now: float) -> list[Inner]:
        link = self._links.get(peer)
        if link is None or link.reply_at == NEVER:
            return []  # answered before, or never asked
        if ok:
            return self._admit(peer, link.contact.addr, now)
        self.passive.refuse(peer, now=now)
        del self._links[peer]
        return [Drop(peer, 200, "no place there"), *self._refill(now)]

    def _disconnect(self, peer: bytes, alive: bool, now: float) -> list[Inner]:
        neighbour = self.active.pop(peer, None)
        if neighbour is None:
            return []
        if alive:
            self.passive.remember(neighbour.contact)
            self.passive.refuse(peer, now=now)
        if self._is_low:
            self._refill_at = now
        else:
            self._later(now)
        return [Down(peer), Drop(peer, 200, "it has others"), *self._refill(now)]

    def _forward(self, peer: bytes, contact: Contact, ttl: int, now: float) -> list[Inner]:
        node = contact.node
        if node in (self.me.node, NOBODY) or not contact.addr:
            return []
        if ttl == PASSIVE_WALK and node not in self.active:
            self.passive.remember(contact)
        others = [one for one in self.active if one not in (peer, node)]
        if ttl > 0 and others:
            return [Tell(pick(others, self._rng), ForwardJoin(contact, ttl - 1), Lane.CONTROL)]
        if node in self.active or node in self._links or self._is_busy:
            return []
        self._must.add(contact)
        return self._dial(contact, now)

    # -- what we do ------------------------------------------------------------------------------

    def _dial(self, contact: Contact, now: float) -> list[Inner]:
        if contact in self._dialling or not self._dials.take(now=now):
            self._must.discard(contact)
            return []
        self._dialling[contact] = now + DIAL_S
        self._reply_at = min(self._reply_at, now + DIAL_S)
        return [Dial(contact)]

    def _later(self, now: float) -> None:
        self._refill_at = now + (self._backoff.failed(dice=self._rng()) or PATIENCE_S[-1])

    def _refill(self, now: float) -> list[Inner]:
        """Look for neighbours: all that lack at once while few are left, else one by one."""
        missing = self._missing()
        if missing <= 0 or (now < self._refill_at and not self._is_low):
            return []
        able = self._able(now)
        if not self._is_low:
            self._later(now)
            missing = 1
        elif able:
            self._refill_at = max(self._refill_at, now + HURRY_S)
        elif now < self._refill_at:
            return []
        else:
            self._later(now)
            # Alone, even who refused us a moment ago is better than nobody.
            seeds = self.seeds.without(list(self._contacts().values()))
            able, missing = seeds or list(self.passive.nodes.values()), 1
        out: list[Inner] = []
        for contact in sample(able, missing, self._rng):
            out += self._dial(contact, now)
        return out

    def _able(self, now: float) -> list[Contact]:
        busy = {contact.node for contact in self._dialling} | self._links.keys()
        return [one for one in self.passive.able(now=now) if one.node not in busy]

    def _give_up(self, now: float) -> list[Inner]:
        """Links that were asked and did not answer, dials that nobody reported on."""
        out: list[Inner] = []
        for peer in [peer for peer, link in self._links.items() if link.reply_at <= now]:
            del self._links[peer]
            self.passive.refuse(peer, now=now)
            out.append(Drop(peer, 408, "no answer to neighbor"))
        for contact in [one for one, until in self._dialling.items() if until <= now]:
            del self._dialling[contact]
            self._must.discard(contact)
        waits = [*self._dialling.values(), *(link.reply_at for link in self._links.values())]
        self._reply_at = min(waits, default=NEVER)
        return out + self._refill(now)

    def _shuffle(self, now: float) -> list[Inner]:
        self._shuffle_at = now + self._shuffle_s * (1 - SPREAD + 2 * SPREAD * self._rng())
        self._shuffle_s = min(SHUFFLE_S, 2 * self._shuffle_s)
        out: list[Inner] = [*self._walks.begin(self._contacts(), now=now)]
        able = self._able(now)
        # Now and then also without need: it shows who is gone, and finds who has nobody left.
        is_curious = self._outbound() < MIN_OUTBOUND or self._rng() < CURIOUS
        if self.active and able and is_curious and not self._is_busy:
            out += self._dial(pick(able, self._rng), now)
        islands = self.seeds.without([*self.passive.nodes.values(), *self._contacts().values()])
        if islands and not self._is_low and self._rng() < 1 / min(PROBE_SHUFFLES, self.known):
            out += self._dial(pick(islands, self._rng), now)
        return out
