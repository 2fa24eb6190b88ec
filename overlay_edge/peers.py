"""Peers: every link this node has, what it may use, and what it is told.

accept --full--> turned away          dial, for the mesh
  |                                      |
Link --Greeted--> a session that counts --Requested, Body--> Applications
                                        --all else---------> the mesh
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import overlay_edge
from overlay_edge.applications import UNKNOWN, Applications
from overlay_edge.bus import Bus, SessionClosed, SessionOpened
from overlay_edge.config.values import split_addr
from overlay_edge.errors import Refused, TransportError
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.host.journal import Journal
from overlay_edge.link import Link
from overlay_edge.net.context import Context
from overlay_edge.net.stream import StreamInfo
from overlay_edge.net.tls import TlsStream
from overlay_edge.peer import Called, Peer, TurnedAway, settle, unfinished
from overlay_edge.proto.admission import address_key
from overlay_edge.proto.authority import Authority, Presented
from overlay_edge.proto.capability import EXPORTER_BYTES, EXPORTER_LABEL, carries
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.events import (
    Abandoned,
    Answered,
    Body,
    Event,
    Greeted,
    LinkFailed,
    Requested,
)
from overlay_edge.proto.frame import Frame
from overlay_edge.proto.pool import Share
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role
from overlay_edge.pubsub import PubSub
from overlay_edge.shared import Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.wiping import revoked
from overlay_edge.tally import Tally, Traffic

if TYPE_CHECKING:
    from overlay_edge.bridge.mqtt_bridge import MqttBridge
    from overlay_edge.bridge.services import Downstream
    from overlay_edge.mesh import MeshPort
    from overlay_edge.proto.audit import AuditLog

UA = f"overlay-edge/{overlay_edge.__version__}"
NEXT_EDGE_MS = 1000  # a node that leaves: the peer may look for another at once, but not in a herd


class Peers:
    """Accepts links, serves them, and ends them.

    Args:
        shared: What all links use together.
        store: The node's objects.
        authority: Who may do what.
        tally: Where everything is counted.
        bus: Told of sessions that open and close.
        journal: Where links are logged.

    Attributes:
        downstream: Asked for what is not here; None = nobody is.
        mesh: This node's part of the mesh; None = it takes no part.
        mqtt: The bridge to a broker; None = there is none.
        audit: Where refusals and the use of capabilities are recorded.
    """

    def __init__(
        self,
        shared: Shared,
        store: ObjectStore,
        authority: Authority,
        tally: Tally,
        bus: Bus,
        journal: Journal,
    ) -> None:
        self.authority, self._shared = authority, shared
        self.store, self.tally, self.bus, self.journal = store, tally, bus, journal
        self.downstream: Downstream | None = None
        self.mesh: MeshPort | None = None
        self.mqtt: MqttBridge | None = None
        self.audit: AuditLog | None = None
        self._peers: dict[Link, Peer] = {}
        self._tickets: dict[int, Link] = {}
        self._quiet, self._left = asyncio.Event(), asyncio.Event()

    # -- accepting ----------------------------------------------------------------------

    async def pace(self) -> None:
        """Return when the next caller may come in."""
        # Time is what is waited for: there is no event.
        while wait_s := self._shared.admission.wait_s(now=monotonic()):  # noqa: ASYNC110
            await asyncio.sleep(wait_s)

    def accept(self, context: Context, host: str) -> asyncio.BaseProtocol:
        """Make the protocol of a connection that was just accepted."""
        self.tally.attempts += 1
        if self._is_full:
            return self._turn_away("busy")
        ticket, stale = self._shared.admission.enter(host)
        if stale is not None:
            self._tickets[stale].abort("gave way")
        if ticket is None:
            return self._turn_away("handshake_ratelimit")
        link = self._link(Peer(address_key(host), ticket))
        stream = TlsStream(context, link, self._handshake_done, is_server=True)
        link.attach(stream)
        self._tickets[ticket] = link
        return stream

    async def dial(self, context: Context, address: str, called: Called) -> None:
        """Connect to another node at ``host:port`` and greet it; it is served like any other.

        Raises:
            TransportError: There is no node, or no room here for one more link.
            Refused: It does not want us.
        """
        if self._is_full:
            raise TransportError("no room for one more connection")
        peer = Peer(address_key(address.rpartition(":")[0].strip("[]")), None, called)
        link = self._link(peer)
        stream = TlsStream(context, link, lambda _: None, is_server=False)
        try:
            async with asyncio.timeout(self._shared.limits.session.handshake_timeout_s):
                host, port = split_addr(address)
                await asyncio.get_running_loop().create_connection(lambda: stream, host, port)
                link.attach(stream)
                await called.done
        except (OSError, ValueError, TimeoutError) as error:
            raise TransportError(f"{address}: {str(error) or 'no answer in time'}") from None
        finally:
            if peer.greeted is None:
                stream.abort()
                self.link_closed(link, "not reached")  # it may never have been a connection

    @property
    def _is_full(self) -> bool:
        return len(self._peers) >= self._shared.limits.transport.max_conns

    def _link(self, peer: Peer) -> Link:
        limits = self._shared.limits
        link = Link(
            self,
            self._open_session,
            handshake_timeout_s=limits.session.handshake_timeout_s,
            write_timeout_s=limits.timeouts.write_s,
            pool=self._shared.pool,
        )
        self._peers[link] = peer
        self.tally.connections = len(self._peers)
        return link

    def _turn_away(self, reason: str) -> asyncio.BaseProtocol:
        self.tally.reject(reason)
        return TurnedAway()

    def turn_out(self, link: Link, refusal: Refused) -> None:
        """End a link of a peer that is not wanted, and count it."""
        self.tally.reject(refusal.token)
        link.refuse(refusal)

    def _handshake_done(self, outcome: str) -> None:
        self.tally.handshakes[outcome] += 1

    def _open_session(self, link: Link, info: StreamInfo) -> Session:
        peer, mesh = self._peers[link], self.mesh
        self.tally.pq[info.pq] += 1
        config = replace(self._shared.limits.session, pq=info.pq)
        if mesh is not None:
            config = replace(config, node=mesh.id.hex(), addr=mesh.addr)
        session = Session(
            Role.DIALLER if peer.called else Role.LISTENER,
            config,
            now=link.started,
            share=link.share,
            admit=partial(self._admit, link),
            on_answered=partial(self._answered, link),
        )
        caps = Presented(self.authority, link.export_key(EXPORTER_LABEL, EXPORTER_BYTES))
        share = Share(self._shared.pool)
        peer.caps = caps
        pubsub = PubSub(session, mesh, self.store, caps, share, link.pump) if mesh else None
        peer.served = Applications(
            session, self.store, share, caps, self.downstream, link.pump, pubsub
        )
        if peer.called is not None:
            session.greet(UA, peer.called.section(link))
        return session

    # -- what all peers share -----------------------------------------------------------

    def _admit(self, link: Link, frame: Frame) -> Refused | None:
        peer = self._peers[link]
        key = peer.key
        rates: tuple[tuple[str, int], ...] = ()
        if peer.caps is not None and link.session is not None:
            try:
                grant = peer.caps.identify(frame.cap or link.session.cap, now=wall())
            except Refused as refusal:
                self._record(Kind.CAP_DENIED, {"name": peer.key or "loopback"}, refusal.token)
                return refusal
            if grant is not None:
                key, rates = grant.account, grant.rates
                if peer.is_first_use(grant.fingerprint):
                    self._record(Kind.CAP_USED, {"cap_id": grant.fingerprint}, "")
        refused = self._shared.admit(key, rates=rates, now=monotonic())
        if refused is None:
            peer.charged[frame.corr_id] = key
        elif refused.token == "quota_exhausted":
            self._record(Kind.QUOTA_REJECT, {"name": key or "loopback"}, refused.token)
        return refused

    def _record(self, kind: Kind, actor: dict[str, str], reason: str) -> None:
        if self.audit is not None:
            self.audit.append(kind, ts_ms=int(1000 * wall()), actor=actor, reason=reason)

    def _answered(self, link: Link, answer: Answered) -> None:
        peer = self._peers.get(link)
        served = peer.served if peer else None
        app, op, moved = served.answered(answer.corr_id) if served else UNKNOWN
        if answer.was_admitted and peer is not None:
            key = peer.charged.pop(answer.corr_id, "")
            self._shared.release(key)
            if key and moved:
                self._shared.quotas.charge(key, moved, now=monotonic())
            if answer.code:
                self.tally.observe(app, op, answer.seconds)
            if not self._shared.inflight:
                self._quiet.set()
        if answer.code >= 400:
            self.tally.reject(answer.token)
            what = {"code": answer.code, "app": app, "op": op, "corr_id": answer.corr_id}
            self.journal.warning("reject", reason=answer.token, **what)

    # -- the links' side ----------------------------------------------------------------

    def link_event(self, link: Link, event: Event) -> None:
        """See :class:`~overlay_edge.link.LinkOwner`."""
        peer = self._peers.get(link)
        if peer is None or peer.served is None or link.info is None:
            return
        match event:
            case Greeted(hello):
                peer.greeted = monotonic()
                self._leave_handshake(peer)
                self.tally.sessions_opened += 1
                self.tally.sessions_active += 1
                self.bus.publish(SessionOpened(link.info.peer, link.info.pq, "none"))
                about = {"peer_addr": link.info.peer, "pq": link.info.pq, "ua": hello.ua}
                self.journal.info("session_opened", **about)
                if peer.called is not None:
                    peer.called.on_greeted(link, hello)
                    settle(peer.called.done)
                elif self.mesh is not None and peer.caps is not None:
                    self.mesh.greeted(link, hello, peer.caps)
            case Requested():
                peer.served.requested(event, now=monotonic())
            case Body():
                peer.served.body(event, now=monotonic())
            case Abandoned():
                peer.served.abandoned(event)
            case LinkFailed() if event.is_ours:
                self.tally.reject(event.token)
                who = {"name": event.name, "peer_addr": link.info.peer}
                self.journal.warning("reject", reason=event.token, message=event.reason, **who)
            case _:
                if isinstance(event, LinkFailed) and peer.called is not None:
                    settle(peer.called.done, Refused(event.code, event.token, event.reason))
                if self.mesh is not None:
                    self.mesh.link_event(link, event)

    def link_closed(self, link: Link, reason: str) -> None:
        """See :class:`~overlay_edge.link.LinkOwner`."""
        peer = self._peers.pop(link, None)
        if peer is None:
            return  # a call that was given up
        if peer.served is not None:
            peer.served.close()
        if self.mesh is not None:
            self.mesh.link_closed(link)
        if peer.called is not None:
            settle(peer.called.done, TransportError(reason or "the node closed the connection"))
        self._leave_handshake(peer)
        self.tally.connections = len(self._peers)
        self.tally.traffic.add(link)
        if peer.greeted is not None and link.info is not None:
            self.tally.sessions_active -= 1
            who, lasted_ms = link.info.peer, int(1000 * (monotonic() - peer.greeted))
            self.bus.publish(SessionClosed(who, reason, lasted_ms))
            about = {"peer_addr": who, "reason": reason, "duration_ms": lasted_ms}
            self.journal.info("session_closed", **about)
        elif peer.ticket is not None:
            why = unfinished(link, reason)
            self.tally.greetings_failed[why] += 1
            self.journal.debug("handshake_failed", reason=why, message=reason)
        self._left.set()

    def _leave_handshake(self, peer: Peer) -> None:
        if peer.ticket is not None:
            self._shared.admission.leave(peer.ticket, is_greeted=peer.greeted is not None)
            self._tickets.pop(peer.ticket, None)

    def traffic(self) -> Traffic:
        """All frames and bytes since start."""
        total = Traffic()
        total.merge(self.tally.traffic)
        for link in self._peers:
            total.add(link)
        return total

    # -- wiping -------------------------------------------------------------------------

    def cut(self, why: Callable[[], Refused]) -> None:
        """Refuse every open request, and drop every frame that is half here; sessions stay."""
        for link, peer in list(self._peers.items()):
            if peer.served is not None:
                peer.served.cut(why, now=monotonic())
                link.drop_input(why())

    def revoke(self, ids: Collection[str]) -> list[Link]:
        """End every session that has presented a capability of one of these revocation ids.

        Returns:
            Their links. What TLS keeps of them is gone when they are: :meth:`wait_left`.
        """
        ended = []
        for link, peer in list(self._peers.items()):
            if peer.caps is None or peer.served is None or link.session is None:
                continue
            was_used = peer.caps.forget(ids)
            if was_used or carries(link.session.cap, ids):
                ended.append(link)
                peer.served.close()
                link.refuse(revoked())
        return ended

    async def wait_left(self, links: Collection[Link]) -> None:
        """Wait until links that were ended are gone; their last words take up to a second."""
        while any(link in self._peers for link in links):
            self._left.clear()
            await self._left.wait()

    def abort(self) -> int:
        """End every link at once, untold; nothing of any is kept.

        Returns:
            How many sessions that were.
        """
        sessions = sum(peer.greeted is not None for peer in self._peers.values())
        if self.mesh is not None:
            self.mesh.end()
            self.mesh.purge(None)
        for link, peer in list(self._peers.items()):
            if peer.served is not None:
                peer.served.close()
            if link.session is not None:
                link.session.close(now=monotonic())
            link.abort("panic")
        return sessions

    # -- leaving ------------------------------------------------------------------------

    def leave(self) -> None:
        """Tell every peer that no new requests are taken."""
        if self.mesh is not None:
            self.mesh.end()
        for link in list(self._peers):
            if link.session is None:
                link.abort("draining")
            else:
                link.session.leave("draining", NEXT_EDGE_MS)
                link.pump()

    @property
    def inflight(self) -> int:
        """Requests open on all links."""
        return self._shared.inflight

    async def wait_quiet(self) -> None:
        """Wait until no request is open."""
        while self.inflight:
            self._quiet.clear()
            await self._quiet.wait()

    async def close(self) -> None:
        """End every link, and wait for it."""
        links = list(self._peers)
        for link in links:
            link.close("draining")
        await self.wait_left(links)
