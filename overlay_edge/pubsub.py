"""Pubsub: what the requests of one link to the gossip application do (``oap1.md`` section 7).

    publish     short: held here until it is whole     long: an object, whose address is published
    subscribe   records are made when the connection takes them; what waits is the subscription's

Only the bytes of short messages are held here, and they draw on what all links share.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overlay_edge.errors import Refused
from overlay_edge.host.clock import wall
from overlay_edge.proto import pubsub
from overlay_edge.proto.authority import Presented
from overlay_edge.proto.capability import Grant, Op
from overlay_edge.proto.events import Body, Requested
from overlay_edge.proto.frame import encode_json
from overlay_edge.proto.pool import Share
from overlay_edge.proto.session import Session
from overlay_edge.store.cache import ObjectStore, Upload
from overlay_edge.subscriptions import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from overlay_edge.mesh import MeshPort

GATHER_BYTES = 16 << 10  # records are gathered up to this before they are sent
MAX_HELD_BYTES = 512 << 10  # of short messages that one link has begun


@dataclass(slots=True)
class _Message:
    """A message on its way in."""

    topic: str
    size: int
    data: bytearray = field(default_factory=bytearray)
    upload: Upload | None = None


class RecordSource:
    """Reads a subscription as the connection takes it."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._data = bytearray()

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        """See :class:`~overlay_edge.proto.flow.Source`."""
        while len(self._data) < min(limit, GATHER_BYTES):
            event = self._subscription.take()
            if event is None:
                break
            self._data += pubsub.encode_record(event)
        is_last = self._subscription.is_closed and not len(self._subscription)
        if not self._data and not is_last:
            return None
        piece = bytes(self._data[:limit])
        del self._data[:limit]
        return piece, is_last and not self._data

    def close(self) -> None:
        """Nobody hears it any more."""
        self._subscription.discard()
        self._data.clear()


class PubSub:
    """Serves the gossip requests of one session.

    Args:
        session: Where answers go.
        mesh: This node's part of the mesh.
        store: Where long messages are put.
        caps: What the peer has presented.
        share: What short messages draw on.
        pump: Called when something can be written that no event of the link set off.
    """

    def __init__(
        self,
        session: Session,
        mesh: "MeshPort",
        store: ObjectStore,
        caps: Presented,
        share: Share,
        pump: "Callable[[], None]",
    ) -> None:
        self._session = session
        self._mesh = mesh
        self._store = store
        self._caps = caps
        self._share = share
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._messages: dict[int, _Message] = {}
        self._subscriptions: dict[int, Subscription] = {}

    def requested(self, event: Requested, *, now: float) -> str:
        """Serve a new request; returns its operation.

        Raises:
            Refused: It is not served.
        """
        request = pubsub.read_request(event.payload)
        section = event.cap or self._session.cap
        match request:
            case pubsub.Publish(topic, size):
                grant = self._caps.authorize(section, Op.PUBLISH, topic, size, now=wall())
                self._begin(event, topic, size, grant, now)
                return "publish"
            case pubsub.Subscribe(topic):
                self._caps.authorize(section, Op.SUBSCRIBE, topic, now=wall())
                self._subscribe(event, topic)
                return "subscribe"
            case pubsub.Join():
                self._mesh.guard.joined(self._session, section, self._caps)
                self._session.respond(event.corr_id, encode_json({}))
                return "join"

    def body(self, event: Body, *, now: float) -> bool:
        """Take more bytes; False = they are of no request of ours."""
        message = self._messages.get(event.corr_id)
        if message is None:
            return False
        try:
            self._add(message, event.data)
            if event.is_last:
                self._publish(event.corr_id, message, now)
        except Refused as refusal:
            self.forget(event.corr_id)
            self._session.refuse(event.corr_id, refusal, now=now)
            return True
        self._session.consumed(event.corr_id, len(event.data))
        return True

    def forget(self, corr_id: int) -> None:
        """A request is over."""
        if (message := self._messages.pop(corr_id, None)) is not None:
            if message.upload is not None:
                message.upload.abort()
            else:
                self._share.give(message.size)
        if (subscription := self._subscriptions.pop(corr_id, None)) is not None:
            subscription.discard()

    def close(self) -> None:
        """The link is gone."""
        for corr_id in [*self._messages, *self._subscriptions]:
            self.forget(corr_id)

    # -- publish ------------------------------------------------------------------------

    def _begin(
        self, event: Requested, topic: str, size: int, grant: Grant | None, now: float
    ) -> None:
        message = _Message(topic, size)
        if size > self._mesh.max_message_bytes:
            depositor = grant.revocation_ids if grant else ()
            message.upload = self._store.begin(
                size, None, depositor=depositor, topic=topic, now=now
            )
        else:
            held = sum(one.size for one in self._messages.values() if one.upload is None)
            if held + size > MAX_HELD_BYTES or not self._share.take(size):
                raise Refused(
                    503,
                    "busy",
                    f"{held} bytes of messages are on their way, limit {MAX_HELD_BYTES}",
                    retry_after_ms=pubsub.BUSY_RETRY_MS,
                )
        self._messages[event.corr_id] = message
        if event.is_whole:
            try:
                self._publish(event.corr_id, message, now)
            except Refused:
                self.forget(event.corr_id)
                raise

    def _add(self, message: _Message, data: bytes) -> None:
        if message.upload is not None:
            message.upload.write(data)
        elif len(message.data) + len(data) > message.size:
            raise Refused(400, "bad_size", f"more than the {message.size} bytes announced")
        else:
            message.data += data

    def _publish(self, corr_id: int, message: _Message, now: float) -> None:
        addr = ""
        if message.upload is not None:
            addr = message.upload.commit(now=now)
            outcome = self._mesh.publish(message.topic, addr=addr, size=message.size)
        elif len(message.data) != message.size:
            came = len(message.data)
            raise Refused(400, "bad_size", f"{came} bytes came, {message.size} announced")
        else:
            outcome = self._mesh.publish(message.topic, bytes(message.data))
        self._session.respond(corr_id, pubsub.answer(self._mesh.id, outcome, addr))

    # -- subscribe ----------------------------------------------------------------------

    def _subscribe(self, event: Requested, topic: str) -> None:
        if not event.is_whole:
            raise Refused(400, "bad_request", "a request without bytes, expected START and END")
        corr_id = event.corr_id
        subscription = self._mesh.subscribe(topic)
        self._subscriptions[corr_id] = subscription
        is_due = False

        def resume() -> None:
            nonlocal is_due
            is_due = False
            self._session.resume(corr_id)
            self._pump()

        def ready() -> None:  # never at once: whoever told us is in the middle of something
            nonlocal is_due
            if not is_due:
                is_due = True
                self._loop.call_soon(resume)

        subscription.on_ready = ready
        self._session.respond(
            corr_id, encode_json({"topic": topic}), source=RecordSource(subscription)
        )
