"""Broker: one MQTT 5 connection to a broker, with aiomqtt, every wait and every queue bounded.

aiomqtt 2.5.1 joins paho to the loop; what it leaves open is closed here:

    a broker that accepts and is silent   aiomqtt gives up and leaves the socket, its reader and a
                                          task behind; here whatever ends, ends with the socket
    connecting                            blocks a thread that no cancellation reaches; here the
                                          socket is connected, TLS included, before paho sees it
    acknowledging                         paho does it when it has read a message, wanted or not;
                                          here who has dealt with it acknowledges
    Receive Maximum                       paho never looks at the broker's; here the sender is told
    credentials                           paho keeps them; here it never gets them
    refusals                              aiomqtt takes any PUBACK for success; here its reason is

Imported late: paho takes long to load.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from overlay_edge.bridge.credentials import show_once
from overlay_edge.bridge.dial import dial
from overlay_edge.bridge.mqtt_message import Heard, Will
from overlay_edge.config.url import Url
from overlay_edge.errors import TransportError
from overlay_edge.host.secret import Secret
from overlay_edge.proto.crossing import SESSION_S

KEEPALIVE_S = 15  # a broker that vanished is noticed after at most twice as long
RECEIVE_MAXIMUM = 16  # messages it may send before we acknowledge: 16 x 128 KiB at most
MAX_PACKET_BYTES = 128 << 10  # longer ones the broker keeps; the mesh takes 64 KiB
MAX_INFLIGHT = 32  # of ours, if the broker allows as many: a round trip for each is too slow
MESSAGE_BYTES = 2 << 10  # of one that waits here, beside topic and payload; measured, rounded
FAILURE = 0x80  # reason codes from here on


class Inbox(asyncio.Queue[aiomqtt.Message]):
    """What the broker sent and nobody took yet.

    The broker sends no more than ``RECEIVE_MAXIMUM`` messages that want an answer; of those that
    want none, what does not fit is counted and gone.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        super().__init__()
        self.shed_total = 0
        self.held_bytes = 0
        self._max_items = max_items
        self._max_bytes = max_bytes

    def put_nowait(self, item: aiomqtt.Message) -> None:
        """Take a message, or count it."""
        is_full = self.qsize() >= self._max_items or self.held_bytes >= self._max_bytes
        if is_full and not item.qos:
            self.shed_total += 1
            return
        super().put_nowait(item)

    def _put(self, item: aiomqtt.Message) -> None:
        self.held_bytes += len(item.payload) + MESSAGE_BYTES
        super()._put(item)

    def _get(self) -> aiomqtt.Message:
        item = super()._get()
        self.held_bytes -= len(item.payload) + MESSAGE_BYTES
        return item


class Broker:
    """An open connection; made by :func:`open_broker`.

    Attributes:
        inflight: Messages with QoS 1 that may wait for their answers.
        has_session: The broker remembers the connection before.
        inbox: What came and nobody took yet.
    """

    def __init__(self, client: aiomqtt.Client, inbox: Inbox, where: str) -> None:
        self.inflight = MAX_INFLIGHT
        self.has_session = False
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._paho = client._client
        self.inbox = inbox
        self._where = where
        self._answers: dict[int, asyncio.Future[ReasonCode]] = {}
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._paho.on_socket_open = self._on_open
        self._paho.on_socket_register_write = self._on_want_write
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_publish = self._on_publish
        self._paho.manual_ack_set(True)

    async def subscribe(
        self, pattern: str, qos: int, *, no_local: bool = True, retained: bool = False
    ) -> None:
        """Hear a filter.

        Args:
            pattern: The filter.
            qos: Asked for.
            no_local: Not what this connection publishes itself.
            retained: Send what is retained now.

        Raises:
            TransportError: The broker refuses, is silent or gone.
        """
        options = SubscribeOptions(
            qos=qos,
            noLocal=no_local,
            retainAsPublished=True,
            retainHandling=0 if retained else 2,  # MQTT 5, section 3.8.3.1
        )
        try:
            codes = await self._client.subscribe(pattern, options=options)
        except aiomqtt.MqttError as error:
            raise self._failed(error) from None
        for code in codes:
            if isinstance(code, ReasonCode) and code.value >= FAILURE:
                raise TransportError(f"broker {self._where}: subscribing to {pattern}: {code}")

    async def publish(
        self,
        topic: str,
        data: bytes,
        *,
        qos: int,
        retain: bool = False,
        expiry_s: int = 0,
        properties: tuple[tuple[str, str], ...] = (),
    ) -> str:
        """Give the broker a message, and wait until it has it. Bound it by a timeout.

        Returns:
            Why it does not want this message; empty = it has it.

        Raises:
            TransportError: It is gone.
        """
        info = self._paho.publish(topic, data, qos, retain, _tagged(properties, expiry_s))
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise TransportError(f"broker {self._where}: {paho.error_string(info.rc)}")
        if info.is_published():
            return ""
        answer = asyncio.get_running_loop().create_future()
        self._answers[info.mid] = answer
        try:
            await self._until_lost(answer)
        finally:
            del self._answers[info.mid]
        code = answer.result()
        return str(code) if code.value >= FAILURE else ""

    async def heard(self) -> AsyncIterator[Heard]:
        """Messages, as they come; acknowledge each.

        Raises:
            TransportError: The broker is gone.
        """
        while True:
            if self.inbox.empty():
                taking = asyncio.ensure_future(self.inbox.get())  # noqa: TID251 - ends below
                try:
                    await self._until_lost(taking)
                finally:
                    taking.cancel()
                message = taking.result()
            else:
                message = self.inbox.get_nowait()
            yield _read(message)

    def acknowledge(self, message: Heard) -> None:
        """The broker need not keep it any longer."""
        if message.qos:
            self._paho.ack(message.mid, message.qos)

    # -- inside -------------------------------------------------------------------------------

    async def connect(self, sock: socket.socket, timeout_s: float, is_fresh: bool) -> None:
        """Greet the broker over a connected socket; called by :func:`open_broker`."""
        self._paho._create_socket = lambda: sock  # type: ignore[method-assign]
        greeting = _properties(PacketTypes.CONNECT)
        greeting.SessionExpiryInterval = int(SESSION_S)
        greeting.ReceiveMaximum = RECEIVE_MAXIMUM
        greeting.MaximumPacketSize = MAX_PACKET_BYTES
        # The name is never used: the socket is there.
        self._paho.connect("broker", 1, KEEPALIVE_S, clean_start=is_fresh, properties=greeting)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait(
                    (self._client._connected, self._gone), return_when=asyncio.FIRST_COMPLETED
                )
        except TimeoutError:
            raise TransportError(
                f"broker {self._where}: no answer within {timeout_s:g} s"
            ) from None
        if not self._client._connected.done():
            raise TransportError(f"broker {self._where}: hung up, expected MQTT 5")
        try:
            self._client._connected.result()
        except aiomqtt.MqttError as error:
            raise self._failed(error) from None

    def close(self, *, is_clean: bool) -> None:
        """End it now; a clean end leaves the will unsaid. Called by :func:`open_broker`."""
        if is_clean:
            with suppress(OSError, ValueError):
                self._paho.disconnect()
                self._paho.loop_write()
        self._paho._sock_close()
        for future in (self._client._connected, self._client._disconnected):
            if not future.done():
                future.set_result(None)  # who still waits is told
            future.exception()  # it was told by other ways

    async def _until_lost(self, future: "asyncio.Future[Any]") -> None:
        lost = self._client._disconnected
        await asyncio.wait((future, lost), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise self._failed(lost.exception())

    def _failed(self, error: BaseException | None) -> TransportError:
        return TransportError(f"broker {self._where}: {error or 'it hung up'}")

    # aiomqtt asks the loop for the next two, and by then the descriptor may be another's.
    def _on_open(self, client: paho.Client, userdata: object, sock: Any) -> None:
        self._loop.add_reader(sock.fileno(), self._read, sock)
        self._client._misc_task = self._loop.create_task(self._client._misc_loop())

    def _on_want_write(self, client: paho.Client, userdata: object, sock: Any) -> None:
        self._loop.add_writer(sock.fileno(), self._tried, self._paho.loop_write)

    def _read(self, sock: Any) -> None:
        self._tried(self._paho.loop_read)
        # What TLS has decrypted already, no descriptor tells of.
        while self._paho.socket() is sock and isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._tried(self._paho.loop_read)

    def _tried(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            lost = self._client._disconnected
            if not lost.done():
                lost.set_exception(error)
            self._paho._sock_close()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.has_session = bool(flags.session_present)
        self.inflight = min(MAX_INFLIGHT, getattr(properties, "ReceiveMaximum", MAX_INFLIGHT))
        self._client._on_connect(client, userdata, flags, code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if not self._gone.done():  # aiomqtt tells nobody who still waits to be let in
            self._gone.set_result(None)
        self._client._on_disconnect(client, userdata, flags, code, properties)

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        answer = self._answers.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(code)


@asynccontextmanager
async def open_broker(
    url: Url,
    context: ssl.SSLContext | None,
    *,
    client_id: str,
    secret: Secret | None,
    will: Will,
    inbox: Inbox,
    timeout_s: float,
    is_fresh: bool,
) -> AsyncIterator[Broker]:
    """Connect to a broker; whatever ends this block, nothing of the connection is left.

    Args:
        url: Where.
        context: TLS, or None.
        client_id: What the broker knows us as: a newer connection ends an older one.
        secret: ``user:password``, or nothing.
        will: Said for us when the connection breaks; not if the block ends without an error.
        inbox: Takes what comes.
        timeout_s: For the connection, and again for the broker's answer.
        is_fresh: Do not go on with what the broker remembers.

    Raises:
        TransportError: It refuses us, is silent, or is no MQTT 5 broker.
        OSError: There is no broker.
    """
    where = f"{url.host}:{url.port}"
    client = aiomqtt.Client(
        url.host,
        url.port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        will=_as_will(will),
        timeout=timeout_s,
        logger=logging.Logger("paho", logging.CRITICAL),  # what it says, our errors tell
        max_inflight_messages=MAX_INFLIGHT,
        queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", lambda maxsize: inbox),
    )
    broker = Broker(client, inbox, where)
    is_clean = False
    try:
        async with asyncio.timeout(timeout_s):
            sock = await dial(url, context)
        show_once(client._client, sock, secret)
        await broker.connect(sock, timeout_s, is_fresh)
        yield broker
        is_clean = True
    finally:
        broker.close(is_clean=is_clean)


def _as_will(will: Will) -> aiomqtt.Will:
    properties = _properties(PacketTypes.WILLMESSAGE)
    properties.MessageExpiryInterval = will.expiry_s
    return aiomqtt.Will(will.topic, will.data, qos=1, retain=True, properties=properties)


def _tagged(tags: tuple[tuple[str, str], ...], expiry_s: int) -> Properties | None:
    if not tags and not expiry_s:
        return None
    properties: Properties = _properties(PacketTypes.PUBLISH)
    if tags:
        properties.UserProperty = list(tags)
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    return properties


def _properties(packet: int) -> Any:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _read(message: aiomqtt.Message) -> Heard:
    tags = dict(getattr(message.properties, "UserProperty", ()))
    return Heard(
        str(message.topic),
        bytes(message.payload),
        message.qos,
        message.mid,
        str(tags.get("oe-id", "")),
        str(tags.get("oe-origin", "")),
    )
