"""Applications: what the requests of one link do (``oap1.md`` section 5).

    Requested -> echo | objects get, head, put | mailbox | publish, subscribe (``pubsub.py``)
    Body      -> the echo, the upload or the message it belongs to

Bytes of an upload go to the store as they come; bytes of an answer are read from it when the
connection takes them. The only bytes held here are those of an echo.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, assert_never

from overlay_edge.errors import Refused
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.proto import objects
from overlay_edge.proto.authority import Presented
from overlay_edge.proto.capability import Grant, Op
from overlay_edge.proto.events import Abandoned, Body, Requested
from overlay_edge.proto.frame import CHUNK_BYTES, App
from overlay_edge.proto.pool import Share
from overlay_edge.proto.session import Session
from overlay_edge.pubsub import PubSub
from overlay_edge.sources import EchoSource
from overlay_edge.store.cache import ObjectStore, StoredObject, Upload

if TYPE_CHECKING:
    from overlay_edge.bridge.flight import Waiter
    from overlay_edge.bridge.question import Listener
    from overlay_edge.bridge.services import Downstream

MAX_ECHO_BYTES = 1 << 20  # held for one link: one frame of the largest size, sent back in chunks
UNKNOWN = ("unknown", "unknown", 0)  # application, operation, bytes: nobody looked at it
ECHO_RETRY_MS = 1000  # guess: what was held has left by then, or the peer does not read


class ObjectSource:
    """Reads an object as the connection takes it."""

    def __init__(self, found: StoredObject) -> None:
        self._object = found
        self._offset = 0

    def read(self, limit: int) -> tuple[bytes, bool]:
        """See :class:`~overlay_edge.proto.flow.Source`."""
        data = self._object.read(self._offset, limit)
        self._offset += len(data)
        return data, self._offset >= self._object.size

    def close(self) -> None:
        """Nothing is held open."""


class Applications:
    """Serves the requests of one session.

    Args:
        session: Where answers go.
        store: The node's objects.
        share: What echoes draw on.
        caps: What the peer has presented.
        downstream: Asked for what is not here; None = nobody is.
        pump: Called when something can be written that no event of the link set off.
        pubsub: Publishes and subscribes; None = this node is not in the mesh.
    """

    def __init__(
        self,
        session: Session,
        store: ObjectStore,
        share: Share,
        caps: Presented,
        downstream: "Downstream | None" = None,
        pump: Callable[[], None] = lambda: None,
        pubsub: PubSub | None = None,
    ) -> None:
        self._pubsub = pubsub
        self._downstream = downstream
        self._pump = pump
        self._waiting: dict[int, Waiter | Listener] = {}
        self._caps = caps
        self._session = session
        self._store = store
        self._share = share
        self._moved: dict[int, int] = {}
        self._uploads: dict[int, Upload] = {}
        self._echoes: dict[int, EchoSource] = {}
        self._names: dict[int, tuple[str, str]] = {}

    def requested(self, event: Requested, *, now: float) -> None:
        """Serve a new request."""
        self._names[event.corr_id] = UNKNOWN[:2]
        try:
            match event.app:
                case App.ECHO:
                    self._names[event.corr_id] = ("echo", "echo")
                    self._authorize(event, None)
                    self._echo(event)
                case App.OBJECTS:
                    self._objects(event, now)
                case App.MAILBOX:
                    self._names[event.corr_id] = ("mailbox", "mailbox")
                    self._authorize(event, None)
                    self._mail(event)
                case App.GOSSIP:
                    self._names[event.corr_id] = ("gossip", "unknown")
                    if self._pubsub is None:
                        raise Refused(503, "not_ready", "this node takes no part in the mesh")
                    op = self._pubsub.requested(event, now=now)
                    self._names[event.corr_id] = ("gossip", op)
                case _:
                    raise Refused(404, "not_found", f"application {event.app:#06x} is not served")
        except Refused as refusal:
            self._session.refuse(event.corr_id, refusal, now=now)

    def body(self, event: Body, *, now: float) -> None:
        """Take more bytes of an open request."""
        corr_id = event.corr_id
        if (upload := self._uploads.get(corr_id)) is not None:
            try:
                upload.write(event.data)
                if event.is_last:
                    addr = upload.commit(now=now)
                    self._stored(corr_id, addr)
            except Refused as refusal:
                self._forget(corr_id)
                self._session.refuse(corr_id, refusal, now=now)
                return
            self._session.consumed(corr_id, len(event.data))
        elif (echo := self._echoes.get(corr_id)) is not None:
            try:
                self._hold(echo, event.data, event.is_last)
            except Refused as refusal:
                self._forget(corr_id)
                self._session.refuse(corr_id, refusal, now=now)
                return
            self._session.resume(corr_id)
        elif self._pubsub is not None:
            self._pubsub.body(event, now=now)

    def abandoned(self, event: Abandoned) -> None:
        """Throw away what was built up for a request."""
        self._forget(event.corr_id)

    def answered(self, corr_id: int) -> tuple[str, str, int]:
        """A request is over; return its application, operation, and bytes of objects moved."""
        self._forget(corr_id)
        app, op, _ = UNKNOWN
        app, op = self._names.pop(corr_id, (app, op))
        return app, op, self._moved.pop(corr_id, 0)

    def cut(self, why: Callable[[], Refused], *, now: float) -> None:
        """Refuse every open request, and let go of the bytes of all of them."""
        for corr_id in list(self._names):
            self._forget(corr_id)
            self._session.refuse(corr_id, why(), now=now)

    def close(self) -> None:
        """The link is gone."""
        for corr_id in [*self._uploads, *self._echoes, *self._waiting]:
            self._forget(corr_id)
        if self._pubsub is not None:
            self._pubsub.close()
        self._share.close()

    def _forget(self, corr_id: int) -> None:
        if (upload := self._uploads.pop(corr_id, None)) is not None:
            self._moved[corr_id] = upload.written
            upload.abort()
        if (echo := self._echoes.pop(corr_id, None)) is not None:
            self._share.give(echo.held)
            echo.close()
        if (waiting := self._waiting.pop(corr_id, None)) is not None:
            waiting.close()
        if self._pubsub is not None:
            self._pubsub.forget(corr_id)

    def _stored(self, corr_id: int, addr: str) -> None:
        self._session.respond(corr_id, objects.stored(addr))
        if self._downstream is not None:
            self._downstream.stored(addr)

    # -- what is not here ---------------------------------------------------------------

    def _fetch(self, corr_id: int, addr: str) -> None:
        def begin(size: int) -> None:
            self._moved[corr_id] = size
            source = waiter if size else None
            self._session.respond(corr_id, objects.describe(addr, size), source=source)
            self._pump()

        def resume() -> None:
            self._session.resume(corr_id)
            self._pump()

        waiter = self._behind(addr).fetch(
            addr, on_size=begin, on_bytes=resume, on_refused=partial(self._refuse, corr_id)
        )
        self._waiting[corr_id] = waiter

    def _look(self, corr_id: int, addr: str) -> None:
        def answer(size: bytes) -> None:
            self._session.respond(corr_id, objects.describe(addr, int(size)))
            self._pump()

        self._waiting[corr_id] = self._behind(addr).look(
            addr, on_answer=answer, on_refused=partial(self._refuse, corr_id)
        )

    def _mail(self, event: Requested) -> None:
        if self._downstream is None or not self._downstream.has_mailbox:
            raise Refused(503, "not_ready", "no mailbox service is configured")
        if not event.is_whole:
            raise objects.bad_request("a request without bytes, expected START and END at once")

        def answer(text: bytes) -> None:
            self._session.respond(event.corr_id, text)
            self._pump()

        self._waiting[event.corr_id] = self._downstream.mail(
            event.payload, on_answer=answer, on_refused=partial(self._refuse, event.corr_id)
        )

    def _behind(self, addr: str) -> "Downstream":
        if self._downstream is None or not self._downstream.has_storage:
            raise objects.not_found(addr)
        return self._downstream

    def _refuse(self, corr_id: int, refusal: Refused) -> None:
        self._session.refuse(corr_id, refusal, now=monotonic())
        self._pump()

    def _objects(self, event: Requested, now: float) -> None:
        self._names[event.corr_id] = ("objects", "unknown")
        request = objects.read_request(event.payload)
        self._names[event.corr_id] = ("objects", type(request).__name__.lower())
        size = request.size if isinstance(request, objects.Put) else 0
        op = Op(type(request).__name__.lower())
        grant = self._authorize(event, op, request.addr or "", size)
        match request:
            case objects.Get(addr):
                found = self._find(event, addr, now)
                if found is None:
                    self._fetch(event.corr_id, addr)
                    return
                source = ObjectSource(found) if found.size else None
                self._moved[event.corr_id] = found.size
                self._session.respond(
                    event.corr_id, objects.describe(addr, found.size), source=source
                )
            case objects.Head(addr):
                found = self._find(event, addr, now)
                if found is None:
                    self._look(event.corr_id, addr)
                    return
                self._session.respond(event.corr_id, objects.describe(addr, found.size))
            case objects.Put(size, addr, topic):
                depositor = grant.revocation_ids if grant else ()
                upload = self._store.begin(size, addr, depositor=depositor, topic=topic, now=now)
                self._uploads[event.corr_id] = upload
                if event.is_whole:  # an empty object, or a size nobody will send
                    self._stored(event.corr_id, upload.commit(now=now))
            case _:
                assert_never(request)

    def _authorize(
        self, event: Requested, op: Op | None, subject: str = "", size: int = 0
    ) -> Grant | None:
        section = event.cap or self._session.cap
        return self._caps.authorize(section, op, subject, size, now=wall())

    def _find(self, event: Requested, addr: str, now: float) -> StoredObject | None:
        if not event.is_whole:
            raise objects.bad_request("a request without bytes, expected START and END at once")
        return self._store.get(addr, now=now)

    def _echo(self, event: Requested) -> None:
        head, rest = event.payload[:CHUNK_BYTES], event.payload[CHUNK_BYTES:]
        if event.is_whole and not rest:
            self._session.respond(event.corr_id, head)
            return
        corr_id = event.corr_id
        # The head is no bulk: only what came behind it is given back as credit.
        uncounted = len(rest)

        def taken(amount: int) -> None:
            nonlocal uncounted
            skipped = min(uncounted, amount)
            uncounted -= skipped
            self._share.give(amount)
            self._session.consumed(corr_id, amount - skipped)

        echo = EchoSource(taken)
        self._hold(echo, rest, event.is_whole)
        self._echoes[corr_id] = echo
        self._session.respond(corr_id, head, source=echo, bulk_code=200)

    def _hold(self, echo: EchoSource, data: bytes, is_last: bool) -> None:
        held = sum(other.held for other in self._echoes.values())
        if held + len(data) > MAX_ECHO_BYTES or not self._share.take(len(data)):
            raise Refused(
                503,
                "busy",
                f"{held + len(data)} bytes of echoes not read back, limit {MAX_ECHO_BYTES}",
                retry_after_ms=ECHO_RETRY_MS,
            )
        echo.push(data, is_last)
