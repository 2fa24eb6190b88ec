"""Mesh: this node among the others; the machine of ``proto/gossip.py`` on real links.

    Peers --events--> MeshPort --calls--> Mesh       links, time and callers tell the machine
    links <--Send---- MeshPort <--effects---+        it answers with effects:
    subscribers <--Deliver, Gapped----------+           carried out here, in their order
    dials, pulls <--Dial, Fetch-------------+           tasks of :meth:`MeshPort.run`

Who a neighbour is was proven by TLS: its id is the hash of the certificate whose key it has.
Nothing here waits, but the tasks; a link that is to be written is written in the next turn of
the loop, as whoever calls may be in the middle of reading another.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from overlay_edge import meshview
from overlay_edge.bus import Bus
from overlay_edge.certificate import Shown
from overlay_edge.config import GossipConfig
from overlay_edge.dialling import Dialling
from overlay_edge.errors import EdgeError, Refused, TransportError
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.host.journal import Journal
from overlay_edge.link import Link
from overlay_edge.meshguard import MeshGuard
from overlay_edge.meshlinks import MeshLink, MeshLinks
from overlay_edge.net.context import Context
from overlay_edge.peer import Called
from overlay_edge.proto.authority import Presented
from overlay_edge.proto.effects import (
    Deliver,
    Dial,
    Dice,
    Drop,
    Effect,
    Fetch,
    Gapped,
    Outcome,
    Send,
)
from overlay_edge.proto.events import CaughtUp, Event, Notified, PeerLeaving, Ponged, Responded
from overlay_edge.proto.frame import App
from overlay_edge.proto.gossip import Mesh
from overlay_edge.proto.gossip_message import NOBODY, Contact
from overlay_edge.proto.hello import Hello
from overlay_edge.proto.reputation import FLOOD_RATES, GRAYLIST_S
from overlay_edge.pulling import Puller
from overlay_edge.store.cache import ObjectStore
from overlay_edge.subscriptions import Subscription, Subscriptions

MAX_DIALS = 8  # at one time; the machine paces them, too
RETRY_MS = 5000
SENT_AWAY = 429  # a link is not only no longer needed: the peer did wrong
Connect = Callable[[Context, str, Called], Awaitable[None]]


class MeshPort:
    """This node's part of the mesh.

    Args:
        config: Sizes, rates and addresses.
        shown: The certificate: who this node is.
        addr: Where others dial it; empty = nobody does.
        guard: Who is let in.
        store: Where pulled objects are put.
        connect: Dials and greets a node; its events come to :meth:`link_event`.
        turn_out: Ends a link, and tells the peer why.
        bus: Told how much comes and goes.
        journal: Told who comes and goes.
        dice: 0 to 1.

    Attributes:
        id: This node's 32 bytes; stable while the certificate is.
        machine: Decides everything.
    """

    def __init__(
        self,
        config: GossipConfig,
        shown: Shown,
        *,
        addr: str,
        guard: MeshGuard,
        store: ObjectStore,
        connect: Connect,
        turn_out: Callable[[Link, Refused], None],
        bus: Bus,
        journal: Journal,
        dice: Dice,
    ) -> None:
        self.addr = addr
        self._config = config
        self._shown = shown
        self.guard = guard
        self._connect, self._turn_out = connect, turn_out
        self._journal = journal
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._armed = 0.0
        self._todo: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._dials = asyncio.Semaphore(MAX_DIALS)
        self._puller = Puller(store, guard, journal)
        self._dialling = Dialling(dice)
        self._subscriptions = Subscriptions(lambda topic: self.machine.unsubscribe(topic))
        self._added: dict[str, set[str]] = {}
        self._is_over = False
        self._summary = meshview.Summary(bus)
        self._begin()

    def _begin(self) -> None:
        self.id = self._shown.node
        self.links = MeshLinks(self.id)
        self.machine = Mesh(
            Contact(self.id, self.addr),
            self._config,
            started_ms=int(1000 * wall()),
            rng=self._dice,
            now=monotonic(),
        )
        for topic in self._subscriptions.topics:
            self.machine.subscribe(topic, now=monotonic())
        for addr in self._added:
            self._learn(addr)

    # -- what others rely on ------------------------------------------------------------

    def publish(self, topic: str, data: bytes = b"", *, addr: str = "", size: int = 0) -> Outcome:
        """Publish ``data`` of up to :attr:`max_message_bytes`, or an object that is here.

        Args:
            topic: 1 to 128 bytes.
            data: The message.
            addr: ``b3:`` address of the object instead.
            size: Its bytes.
        """
        outcome, effects = self.machine.publish(
            topic, data, addr=addr, size=size, ts_ms=int(1000 * wall()), now=monotonic()
        )
        self._carry(effects)
        return outcome

    def subscribe(self, topic: str) -> Subscription:
        """Hear a topic from now on; close the subscription when done.

        Raises:
            Refused: There is no room for another subscription or topic.
        """
        subscription = self._subscriptions.add(topic)
        if not self.machine.subscribe(topic, now=monotonic()):
            subscription.close()
            raise Refused(503, "busy", "no room for another topic", retry_after_ms=RETRY_MS)
        return subscription

    def add_peer(self, addr: str, origin: str) -> None:
        """A node may be dialled there: ``origin`` says who says so.

        Args:
            addr: ``host:port``.
            origin: Such as ``lan``; the address is forgotten when no origin is left.
        """
        if addr != self.addr and addr not in self._config.peers:
            self._added.setdefault(addr, set()).add(origin)
            self._learn(addr)

    def remove_peer(self, addr: str, origin: str) -> None:
        """It may not any more; a link that is up stays."""
        origins = self._added.get(addr, set())
        origins.discard(origin)
        if not origins and self._added.pop(addr, None) is not None:
            self.machine.members.seeds.remove(addr)

    def _learn(self, addr: str) -> None:
        self.machine.members.seeds.add(addr)
        self.machine.members.hurry(now=monotonic())
        self._arm()

    @property
    def max_message_bytes(self) -> int:
        """What is longer is put as an object, and its address is published."""
        return self._config.max_message_bytes

    def peers(self) -> list[dict[str, Any]]:
        """The neighbours, for people."""
        return meshview.peers(self.machine, self.links, now=monotonic())

    def ledger(self) -> list[dict[str, Any]]:
        """What became of every message known of: by topic, publisher and epoch."""
        return meshview.ledger(self.machine)

    def stats(self) -> dict[str, int]:
        """Counters since the start, and sizes now."""
        return meshview.stats(self.machine, self.links, self._subscriptions)

    def purge(self, topic: str | None) -> dict[str, int]:
        """Let go of the messages of a topic, or all: those kept, those that wait anywhere.

        What waits for a link names its topic only inside: all of that goes, and what others
        miss of it they get from others. That messages were here is still known, by number.

        Returns:
            How many ``messages``, and their ``bytes``.
        """
        kept, freed = self.machine.purge(topic)
        for count, held in (self._subscriptions.purge(topic), self.links.drop_messages()):
            kept, freed = kept + count, freed + held
        return {"messages": kept, "bytes": freed}

    def show(self, shown: Shown) -> None:
        """Take another certificate; with another key this is another node, and begins anew."""
        self._shown = shown
        if shown.node != self.id:
            self.links.close("new identity")
            self._begin()

    def end(self) -> None:
        """The node leaves: end every subscription, dial nobody any more."""
        self._is_over = True
        self.guard.forget()
        self._subscriptions.close()

    # -- the links' side ----------------------------------------------------------------

    def greeted(self, link: Link, hello: Hello, caps: Presented) -> None:
        """A link that was dialled to us is greeted; it may be a node's."""
        if link.info is None or not _is_node(hello):
            return
        try:
            if link.info.node == self.id:
                raise Refused(400, "bad_request", "this is your own address")
            self.guard.admit(link, hello, caps)
        except Refused as refusal:
            self._journal.warning(
                "mesh_refused", peer_addr=link.info.peer, reason=refusal.token, msg=str(refusal)
            )
            self._turn_out(link, refusal)
            return
        self._linked(link, hello, None)

    def link_event(self, link: Link, event: Event) -> None:
        """A link says something that is not about requests of the peer's."""
        found = self.links.of(link)
        if found is None:
            return
        match event:
            case Notified(App.GOSSIP, payload):
                self._summary.came(len(payload))
                self._carry(self.machine.receive(found.node, payload, now=monotonic()))
            case Responded() if (asked := found.asked.get(event.corr_id)) is not None:
                asked.took(link, event)
            case Ponged(number) if (sent := found.pings.pop(number, None)) is not None:
                self.machine.measured(found.node, monotonic() - sent)
            case CaughtUp():
                found.is_congested = False
                self.machine.congested(found.node, False, now=monotonic())
                self._arm()
            case PeerLeaving(_, retry_after_ms) if found.addr:
                self._dialling.hold(found.addr, retry_after_ms / 1000, now=monotonic())
            case _:
                pass

    def link_closed(self, link: Link) -> None:
        """A link is gone."""
        known = self.links.of(link)
        if known is not None and known.is_outbound and known.is_current:
            lived_s = monotonic() - known.since
            self._dialling.failed(known.addr, lived_s=lived_s, now=monotonic())
        found = self.links.closed(link)
        if found is not None:
            self._unlinked(found.node)

    def _linked(self, link: Link, hello: Hello, dialled: Contact | None) -> None:
        if link.info is None or link.session is None or self._is_over:
            return
        now, node = monotonic(), link.info.node
        addr = dialled.addr if dialled is not None else hello.addr
        # Wider than what the machine holds against a peer: it must get to see a flood.
        rate = (FLOOD_RATES + 2) * self._config.rate
        link.session.patience.expect_gossip(rate, now=now)
        new = MeshLink(link, node, addr, dialled is not None, now)
        self.links.add(new, self._unlinked)
        self._carry(self.machine.linked(node, dialled=dialled, now=now))

    def _unlinked(self, node: bytes) -> None:
        self._carry(self.machine.unlinked(node, now=monotonic()))

    # -- effects ------------------------------------------------------------------------

    def _carry(self, effects: list[Effect]) -> None:
        todo = deque(effects)
        while todo:
            match todo.popleft():
                case Send(peer, payload, lane):
                    self._summary.went(len(payload))
                    behind = self.links.send(peer, payload, lane)
                    if behind is not None:
                        self.machine.congested(peer, True, now=monotonic())
                case Deliver() | Gapped() as event:
                    self._subscriptions.offer(event)
                case Drop(peer, code, reason):
                    self._drop(peer, code, reason)
                    todo += self.machine.unlinked(peer, now=monotonic())
                case Dial(contact):
                    self._start(partial(self._dial, contact))
                case Fetch() as fetch:
                    self._start(partial(self._pull, fetch))
        self._arm()

    def _drop(self, peer: bytes, code: int, reason: str) -> None:
        found = self.links.drop(peer)
        if code != SENT_AWAY or found is None:
            return
        self._journal.warning("mesh_sent_away", peer=peer.hex()[:16], reason=reason)
        wait_ms = int(1000 * GRAYLIST_S)
        self._turn_out(found.link, Refused(code, "quota_exhausted", reason, retry_after_ms=wait_ms))

    def _start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._is_over:
            self._todo.append(task)
            self._changed.set()

    def _arm(self) -> None:
        if self.machine.deadline() < self._armed:
            self._changed.set()

    # -- tasks --------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep time, dial and pull, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(meshview.beat(self._summary, lambda: self.links))
            while True:
                self._changed.clear()
                while self._todo:
                    tasks.create_task(self._todo.popleft()())
                self._armed = self.machine.deadline()
                try:
                    async with asyncio.timeout_at(self._armed):
                        await self._changed.wait()
                except TimeoutError:
                    self._carry(self.machine.wake(now=max(monotonic(), self._armed)))

    async def _dial(self, contact: Contact) -> None:
        addr = contact.addr
        is_linked = False
        awaited: list[tuple[Link, Hello]] = []

        def greeted(link: Link, hello: Hello) -> None:
            nonlocal is_linked
            node = link.info.node if link.info is not None else b""
            if not _is_node(hello) or hello.node != node.hex():
                link.close("not a node of the mesh")
            elif node == self.id:
                is_linked = True
                self.machine.linked(node, dialled=contact, now=monotonic())
                link.close("this is myself")
            elif self.guard.expect(link):
                awaited.append((link, hello))
            else:
                is_linked = True
                self._linked(link, hello, contact)

        try:
            if addr == self.addr:
                raise TransportError("this is myself")
            await asyncio.sleep(self._dialling.wait_s(addr, now=monotonic()))
            async with self._dials:
                called = Called(self.guard.section, greeted)
                await self._connect(self._shown.dialling, addr, called)
                for link, hello in awaited:
                    await self.guard.wait(link)
                    is_linked = True
                    self._linked(link, hello, contact)
        except EdgeError as error:
            self._journal.debug("mesh_dial", peer_addr=addr, reason=str(error))
            self._dialling.failed(addr, now=monotonic())
        finally:
            if not is_linked:
                for link, _ in awaited:
                    link.close("not let in")
                self._carry(self.machine.dial_failed(contact, now=monotonic()))

    async def _pull(self, fetch: Fetch) -> None:
        is_here = False
        try:
            is_here = await self._puller.pull(fetch, self.links)
        finally:
            self._carry(self.machine.fetched(fetch.addr, is_here, now=monotonic()))


def _is_node(hello: Hello) -> bool:
    """It says that it is one: an id in hex, and that it knows gossip."""
    return hello.has_gossip and len(hello.node) == 2 * len(NOBODY)
