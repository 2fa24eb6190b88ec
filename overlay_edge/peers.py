"""Peers: every link this node has, what it may use, and what it is told.

accept --full--> turned away
  |
Link --Greeted--> a session that counts --Requested, Body--> Applications
"""

import asyncio
from collections.abc import Callable
from functools import partial

from overlay_edge.applications import Applications
from overlay_edge.bus import Bus, SessionClosed, SessionOpened
from overlay_edge.config import SessionConfig, TimeoutsConfig, TransportConfig
from overlay_edge.errors import Refused
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.link import Link
from overlay_edge.net.stream import StreamInfo
from overlay_edge.net.tls import Context, TlsStream
from overlay_edge.proto.events import (
    Abandoned,
    Answered,
    Body,
    Event,
    Greeted,
    LinkFailed,
    Requested,
)
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role
from overlay_edge.store.cache import ObjectStore
from overlay_edge.tally import Tally, Traffic

BUSY_RETRY_MS = 1000  # guess: a node at its limit has room again when some answers have left
NEXT_EDGE_MS = 1000  # a node that leaves: the peer may look for another at once, but not in a herd


class _TurnedAway(asyncio.Protocol):
    """A connection over the limit: ended before it costs a handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        if isinstance(transport, asyncio.Transport):
            transport.abort()


class Peers:
    """Accepts links, serves them, and ends them.

    Args:
        make_settings: Limits of one session, given what its handshake negotiated.
        timeouts: Waits of a link.
        transport: What all peers together may use.
        store: The node's objects.
        tally: Where everything is counted.
        bus: Told of sessions that open and close.
        journal: Where links are logged.
    """

    def __init__(
        self,
        make_settings: Callable[[str], SessionConfig],
        timeouts: TimeoutsConfig,
        transport: TransportConfig,
        store: ObjectStore,
        tally: Tally,
        bus: Bus,
        journal: Journal,
    ) -> None:
        self._make_settings = make_settings
        self._timeouts = timeouts
        self._transport = transport
        self._store = store
        self._tally = tally
        self._bus = bus
        self._journal = journal
        self._links: dict[Link, Applications | None] = {}
        self._greeted: dict[Link, float] = {}
        self._quiet = asyncio.Event()
        self._gone = asyncio.Event()

    # -- accepting ----------------------------------------------------------------------

    def accept(self, context: Context) -> asyncio.Protocol:
        """Make the protocol of a connection that was just accepted."""
        self._tally.attempts += 1
        if len(self._links) >= self._transport.max_conns:
            self._tally.reject("busy")
            return _TurnedAway()
        settings = self._make_settings("classical")
        link = Link(
            self,
            self._open_session,
            handshake_timeout_s=settings.handshake_timeout_s,
            write_timeout_s=self._timeouts.write_s,
        )
        stream = TlsStream(context, link, self._handshake_done, is_server=True)
        link.attach(stream)
        self._links[link] = None
        self._tally.connections = len(self._links)
        return stream

    def _handshake_done(self, outcome: str) -> None:
        self._tally.handshakes[outcome] += 1

    def _open_session(self, link: Link, info: StreamInfo) -> Session:
        self._tally.pq[info.pq] += 1
        session = Session(
            Role.LISTENER,
            self._make_settings(info.pq),
            now=link.started,
            admit=self._admit,
            on_answered=partial(self._answered, link),
        )
        self._links[link] = Applications(session, self._store)
        return session

    # -- what all peers share -----------------------------------------------------------

    def _admit(self) -> Refused | None:
        if self._tally.inflight >= self._transport.max_inflight:
            return Refused(
                503,
                "busy",
                f"{self._tally.inflight} requests open on this node,"
                f" limit {self._transport.max_inflight}",
                retry_after_ms=BUSY_RETRY_MS,
            )
        self._tally.inflight += 1
        return None

    def _answered(self, link: Link, answer: Answered) -> None:
        applications = self._links.get(link)
        app, op = applications.answered(answer.corr_id) if applications else ("unknown", "unknown")
        if answer.was_admitted:
            self._tally.inflight -= 1
            if answer.code:
                self._tally.observe(app, op, answer.seconds)
            if not self._tally.inflight:
                self._quiet.set()
        if answer.code >= 400:
            self._tally.reject(answer.token)
            self._journal.warning(
                "reject",
                reason=answer.token,
                code=answer.code,
                app=app,
                op=op,
                corr_id=answer.corr_id,
            )

    # -- the links' side ----------------------------------------------------------------

    def link_event(self, link: Link, event: Event) -> None:
        """See :class:`~overlay_edge.link.LinkOwner`."""
        applications = self._links.get(link)
        if applications is None or link.info is None:
            return
        match event:
            case Greeted(hello):
                self._greeted[link] = monotonic()
                self._tally.sessions_opened += 1
                self._tally.sessions_active = len(self._greeted)
                self._bus.publish(SessionOpened(link.info.peer, link.info.pq, "none"))
                self._journal.info(
                    "session_opened", peer_addr=link.info.peer, pq=link.info.pq, ua=hello.ua
                )
            case Requested():
                applications.requested(event, now=monotonic())
            case Body():
                applications.body(event, now=monotonic())
            case Abandoned():
                applications.abandoned(event)
            case LinkFailed() if event.is_ours:
                self._tally.reject(event.token)
                self._journal.warning(
                    "reject",
                    reason=event.token,
                    name=event.name,
                    peer_addr=link.info.peer,
                    message=event.reason,
                )
            case _:
                pass  # a listener has asked for nothing that the others would answer

    def link_closed(self, link: Link, reason: str) -> None:
        """See :class:`~overlay_edge.link.LinkOwner`."""
        applications = self._links.pop(link, None)
        if applications is not None:
            applications.close()
        self._tally.connections = len(self._links)
        self._tally.traffic.add(link)
        started = self._greeted.pop(link, None)
        self._tally.sessions_active = len(self._greeted)
        if started is not None and link.info is not None:
            lasted_ms = int(1000 * (monotonic() - started))
            self._bus.publish(SessionClosed(link.info.peer, reason, lasted_ms))
            self._journal.info(
                "session_closed", peer_addr=link.info.peer, reason=reason, duration_ms=lasted_ms
            )
        else:
            why = _unfinished(link, reason)
            self._tally.greetings_failed[why] += 1
            self._journal.debug("handshake_failed", reason=why, message=reason)
        if not self._links:
            self._gone.set()

    def traffic(self) -> Traffic:
        """All frames and bytes since start."""
        total = Traffic()
        total.merge(self._tally.traffic)
        for link in self._links:
            total.add(link)
        return total

    # -- leaving ------------------------------------------------------------------------

    def leave(self) -> None:
        """Tell every peer that no new requests are taken."""
        for link in list(self._links):
            if link.session is None:
                link.abort("draining")
            else:
                link.session.leave("draining", NEXT_EDGE_MS)
                link.pump()

    async def wait_quiet(self) -> None:
        """Wait until no request is open."""
        while self._tally.inflight:
            self._quiet.clear()
            await self._quiet.wait()

    async def close(self) -> None:
        """End every link, and wait for it."""
        for link in list(self._links):
            link.close("draining")
        while self._links:
            self._gone.clear()
            await self._gone.wait()


def _unfinished(link: Link, reason: str) -> str:
    """Why a connection ended before HELLO was done; a metric label."""
    if "timeout" in reason:
        return "timeout"
    if link.session is not None:
        return "proto"
    return "tls" if reason else "closed"
