"""Client: dial a node and use it: echo, put, get, head, ping.

async with connect("127.0.0.1:9444", pin="4f2a…") as client:
    addr = await client.put(file, size)
    await client.get(addr, sink.write)
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO

from blake3 import blake3

import overlay_edge
from overlay_edge.config import DEFAULTS, PqMode
from overlay_edge.config.values import split_addr
from overlay_edge.errors import (
    EdgeError,
    IntegrityError,
    PinMismatch,
    Refused,
    TransportError,
)
from overlay_edge.host.board import read_machine
from overlay_edge.host.clock import monotonic
from overlay_edge.link import Link
from overlay_edge.net.context import client_context
from overlay_edge.net.identity import verify_chain
from overlay_edge.net.stream import StreamInfo
from overlay_edge.net.tls import TlsStream
from overlay_edge.proto.capability import (
    EXPORTER_BYTES,
    EXPORTER_LABEL,
    Capability,
    join_section,
)
from overlay_edge.proto.events import Event, Greeted, LinkFailed, PeerLeaving, Ponged, Responded
from overlay_edge.proto.flow import Source
from overlay_edge.proto.frame import CHUNK_BYTES, App, encode_json
from overlay_edge.proto.message import read_refusal
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role, State
from overlay_edge.sources import BytesSource, FileSource, Progress


class _Call:
    """One request that waits for its answer; see :meth:`Client.call`."""

    def __init__(self, sink: Callable[[bytes], object], on_head: Callable[[bytes], object]) -> None:
        self.sink = sink
        self.on_head = on_head
        self.head = b""
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class Client:
    """A greeted link to one node. Made by :func:`connect`."""

    def __init__(self, judge: Callable[[StreamInfo], None], timeout_s: float) -> None:
        self._judge = judge
        self._calls: dict[int, _Call] = {}
        self._pings: dict[int, asyncio.Future[float]] = {}
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self._failure: EdgeError | None = None
        self.hello: dict[str, Any] = {}
        self.link = Link(
            self,
            self._make_session,
            handshake_timeout_s=timeout_s,
            write_timeout_s=DEFAULTS.timeouts.write_s,
        )
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(1)
        self._cap = b""

    def present(
        self, cap: Capability, sign: Callable[[bytes], bytes] | None, stream: TlsStream
    ) -> None:
        """Send a capability with every request from now on, proven for this channel."""
        self._session()  # or it is gone, and nothing can be exported
        proof = sign(stream.export_key(EXPORTER_LABEL, EXPORTER_BYTES)) if sign else b""
        self._cap = join_section(proof, cap.token)

    @property
    def info(self) -> StreamInfo:
        """What TLS negotiated, and the node's fingerprint."""
        if self.link.info is None:
            raise TransportError("not connected")
        return self.link.info

    async def echo(self, payload: bytes) -> bytes:
        """Send bytes and return what comes back."""
        parts: list[bytes] = []
        rest = payload[CHUNK_BYTES:]
        source = BytesSource(rest) if rest else None
        head = await self.call(App.ECHO, payload[:CHUNK_BYTES], parts.append, source)
        return b"".join((head, *parts))

    async def put(
        self,
        file: BinaryIO,
        size: int,
        *,
        addr: str | None = None,
        topic: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Store ``size`` bytes of a file and return their ``b3:`` address.

        Args:
            file: Read from where it stands.
            size: Bytes to send.
            addr: What the bytes should hash to; the node refuses others.
            topic: What they are about: 1 to 128 printable characters to purge them by.
            progress: Told as bytes leave.

        Raises:
            Refused: The node does not take it.
            TransportError: The link failed, or the file was shorter.
        """
        request: dict[str, object] = {"op": "put", "size": size}
        if addr is not None:
            request["addr"] = addr
        if topic is not None:
            request["topic"] = topic
        source = FileSource(file, size, progress) if size else None
        head = await self.call(App.OBJECTS, encode_json(request), _unexpected, source)
        stored = _json(head).get("addr")
        if not isinstance(stored, str):
            raise TransportError("the answer to put has no addr")
        return stored

    async def get(
        self, addr: str, sink: Callable[[bytes], object], *, progress: Progress | None = None
    ) -> int:
        """Fetch an object into ``sink`` and return its size.

        Bytes reach the sink before the last one is verified: keep them aside until this
        returns.

        Raises:
            Refused: The node has no such object.
            IntegrityError: What came does not hash to ``addr``.
            TransportError: The link failed.
        """
        digest, received = blake3(), 0

        def take(data: bytes) -> None:
            nonlocal received
            digest.update(data)
            received += len(data)
            sink(data)
            if progress is not None:
                progress(received)

        request = encode_json({"op": "get", "addr": addr})
        head = _json(await self.call(App.OBJECTS, request, take))
        if head.get("size") != received:
            raise IntegrityError(f"{addr}: {received} bytes came, {head.get('size')} announced")
        if f"b3:{digest.hexdigest()}" != addr:
            raise IntegrityError(f"{addr}: the bytes that came have another digest")
        return received

    async def head(self, addr: str) -> int:
        """Return an object's size.

        Raises:
            Refused: The node has no such object.
        """
        request = encode_json({"op": "head", "addr": addr})
        size = _json(await self.call(App.OBJECTS, request, _unexpected)).get("size")
        if not isinstance(size, int):
            raise TransportError("the answer to head has no size")
        return size

    async def ping(self) -> float:
        """Return the round trip through both control lanes, in seconds."""
        session = self._session()
        number = session.ping()
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pings[number] = future
        started = monotonic()
        self.link.pump()
        try:
            return await future - started
        finally:
            self._pings.pop(number, None)

    # -- the link's side ----------------------------------------------------------------

    def link_event(self, link: Link, event: Event) -> None:
        """See :class:`~overlay_edge.link.LinkOwner`."""
        match event:
            case Greeted(hello):
                self.hello = hello.answer or {}
                self._slots = asyncio.Semaphore(hello.max_inflight)
                _settle(self._greeted, None)
            case Responded():
                self._on_response(event)
            case Ponged(number):
                if number in self._pings:
                    _settle(self._pings[number], monotonic())
            case LinkFailed():
                where = "" if event.is_ours else "the node said: "
                self._failure = self._failure or (
                    Refused(event.code, event.token, where + event.reason)
                    if not event.is_ours
                    else TransportError(event.reason)
                )
            case PeerLeaving(reason):
                self._failure = TransportError(f"the node is leaving: {reason}")
            case _:
                pass  # a node asks nothing of a client

    def link_closed(self, link: Link, reason: str) -> None:
        """See :class:`~overlay_edge.link.LinkOwner`."""
        failure = self._failure or TransportError(reason or "the node closed the connection")
        self._failure = failure
        waiting: list[asyncio.Future[Any]] = [
            self._greeted,
            *(call.done for call in self._calls.values()),
            *self._pings.values(),
        ]
        for future in waiting:
            if not future.done():
                future.set_exception(failure)
                future.exception()  # seen: nobody may be waiting for it
        self._closed.set()

    def _make_session(self, link: Link, info: StreamInfo) -> Session | None:
        try:
            self._judge(info)
        except EdgeError as error:
            self._failure = error
            return None
        session = Session(Role.DIALLER, DEFAULTS.session(info.pq), now=link.started)
        session.greet(f"ronctl/{overlay_edge.__version__}")
        return session

    def _on_response(self, event: Responded) -> None:
        call = self._calls.get(event.corr_id)
        if call is None or call.done.done():
            return
        if event.code >= 400:
            call.done.set_exception(read_refusal(event.code, event.payload))
            return
        try:
            if event.is_first:
                call.head = event.payload
                call.on_head(event.payload)
            else:
                call.sink(event.payload)
                self._session().consumed(event.corr_id, len(event.payload))
        except (OSError, EdgeError) as error:
            call.done.set_exception(error)  # the caller cancels the rest
            return
        if event.is_last:
            call.done.set_result(call.head)

    # -- between ------------------------------------------------------------------------

    def _session(self) -> Session:
        session = self.link.session
        if session is None or session.state is State.CLOSED:
            raise self._failure or TransportError("not connected")
        return session

    async def call(
        self,
        app: App,
        payload: bytes,
        sink: Callable[[bytes], object],
        source: Source | None = None,
        on_head: Callable[[bytes], object] = lambda _: None,
    ) -> bytes:
        """Send a request, and return its answer's head when all of the answer has come.

        Args:
            app: Application.
            payload: The request's head.
            sink: Takes the bytes behind the answer's head, in order.
            source: Bytes behind the request's head.
            on_head: Told of the answer's head as soon as it is here.
        """
        async with self._slots:
            session = self._session()
            if session.state is not State.OPEN:
                raise self._failure or TransportError("the node takes no new requests")
            corr_id = session.request(app, payload, source=source, cap=self._cap)
            call = self._calls[corr_id] = _Call(sink, on_head)
            self.link.pump()
            try:
                return await call.done
            finally:
                del self._calls[corr_id]
                session.cancel(corr_id)
                self.link.pump()

    async def wait_greeted(self) -> None:
        """Wait until HELLO is done, or raise why it cannot be."""
        await self._greeted

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await self._closed.wait()


@contextlib.asynccontextmanager
async def connect(
    address: str,
    *,
    pin: str | None = None,
    ca: tuple[str, bytes] | None = None,
    pq_mode: PqMode = PqMode.HYBRID,
    timeout_s: float = 5.0,
    cap: Capability | None = None,
    sign: Callable[[bytes], bytes] | None = None,
) -> AsyncIterator[Client]:
    """Dial a node, greet it, and hang up at the end.

    Args:
        address: ``host:port``.
        pin: SHA-256 of the node's certificate in hex; colons and case do not matter.
        ca: Trusted authorities instead: where they came from, and PEM. With neither, any
            node is believed: only tests do that.
        pq_mode: Key exchanges offered.
        timeout_s: For connection, TLS and HELLO together.
        cap: Sent with every request.
        sign: Signs with the holder key that ``cap`` names; None = it names none.

    Raises:
        TransportError: Nobody answers, or the link fails.
        PinMismatch: Somebody else answers.
        Refused: The node refuses us.
    """
    host, port = split_addr(address)
    loop = asyncio.get_running_loop()

    def judge(info: StreamInfo) -> None:
        if pin is not None and info.fingerprint != normal_pin(pin):
            raise PinMismatch(
                f"{address} shows {info.fingerprint}, expected {normal_pin(pin)}",
                hint="a node without a configured certificate has a new identity at every start",
            )
        if ca is not None:
            verify_chain(info.chain, ca[1], host, ca=ca[0])

    client = Client(judge, timeout_s)
    context = client_context(pq_mode, has_aes=read_machine().has_aes)
    stream = TlsStream(context, client.link, lambda _: None, is_server=False)
    try:
        async with asyncio.timeout(timeout_s):
            try:
                await loop.create_connection(lambda: stream, host, port)
            except OSError as error:
                raise TransportError(f"{address}: {error.strerror or error}") from None
            client.link.attach(stream)
            await client.wait_greeted()
            if cap is not None:
                client.present(cap, sign, stream)
    except TimeoutError:
        stream.abort()
        raise TransportError(f"{address}: no answer within {timeout_s:g} s") from None
    except BaseException:
        stream.abort()
        raise
    try:
        yield client
    finally:
        client.link.close()
        await client.wait_closed()


def normal_pin(pin: str) -> str:
    """A fingerprint as 64 lower-case hex digits, however it was copied."""
    return pin.strip().lower().removeprefix("sha256:").replace(":", "").replace(" ", "")


def _settle(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _unexpected(_: bytes) -> None:
    raise TransportError("the answer has bytes behind it, expected none")


def _json(payload: bytes) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TransportError("the answer, expected a JSON object")
    return value
