"""Real sockets on loopback with real TLS, and an owner that writes down what it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from overlay_edge.config import PqMode
from overlay_edge.net.context import Context, client_context, server_context
from overlay_edge.net.held import Held
from overlay_edge.net.identity import make_ephemeral
from overlay_edge.net.stream import Stream, StreamInfo
from overlay_edge.net.tls import TlsStream

IDENTITY = Held(make_ephemeral())
WAIT_S = 10.0  # nothing here takes long; a hang must end


class Recorder:
    """A stream's owner."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.info: StreamInfo | None = None
        self.received = bytearray()
        self.closed: list[str] = []
        self.writable = 0
        self.outcomes: list[str] = []
        self.on_data: Callable[[bytes], None] = lambda data: None
        self._changed = asyncio.Condition()
        self._tick = asyncio.Event()

    def stream_opened(self, stream: Stream, info: StreamInfo) -> None:
        self.stream, self.info = stream, info
        self._tick.set()

    def stream_received(self, data: bytes) -> None:
        self.received += data
        self.on_data(data)
        self._tick.set()

    def stream_writable(self) -> None:
        self.writable += 1
        self._tick.set()

    def stream_closed(self, reason: str) -> None:
        self.closed.append(reason)
        self._tick.set()

    def report(self, outcome: str) -> None:
        self.outcomes.append(outcome)
        self._tick.set()

    async def until(self, condition: Callable[["Recorder"], object]) -> "Recorder":
        """Wait for a condition, looked at each time something was told."""
        async with asyncio.timeout(WAIT_S):
            while not condition(self):
                self._tick.clear()
                await self._tick.wait()
        return self

    @property
    def up(self) -> Stream:
        assert self.stream is not None
        return self.stream


def server(
    pq_mode: PqMode = PqMode.HYBRID, *, has_aes: bool = True, identity: Held = IDENTITY
) -> Context:
    return server_context(identity, pq_mode, has_aes=has_aes)


def client(pq_mode: PqMode = PqMode.HYBRID, *, has_aes: bool = True) -> Context:
    return client_context(pq_mode, has_aes=has_aes)


@contextlib.asynccontextmanager
async def listening(context: Context) -> AsyncIterator[tuple[Recorder, int]]:
    """A TLS listener for one peer, and its port."""
    recorder = Recorder()
    loop = asyncio.get_running_loop()
    streams: list[TlsStream] = []

    def accept() -> TlsStream:
        streams.append(TlsStream(context, recorder, recorder.report, is_server=True))
        return streams[-1]

    listener = await loop.create_server(accept, "127.0.0.1", 0)
    try:
        yield recorder, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for stream in streams:
            stream.abort()
        await listener.wait_closed()


async def dial(port: int, context: Context) -> Recorder:
    recorder = Recorder()
    stream = TlsStream(context, recorder, recorder.report, is_server=False)
    await asyncio.get_running_loop().create_connection(lambda: stream, "127.0.0.1", port)
    return recorder


@contextlib.asynccontextmanager
async def linked(
    server_side: Context | None = None, client_side: Context | None = None
) -> AsyncIterator[tuple[Recorder, Recorder]]:
    """Two ends of one connection: the listener's owner and the dialler's."""
    async with listening(server_side or server()) as (here, port):
        there = await dial(port, client_side or client())
        try:
            await there.until(lambda r: r.info or r.closed)
            await here.until(lambda r: r.info or r.closed)
            yield here, there
        finally:
            if there.stream is not None:
                there.stream.abort()
            await there.until(lambda r: r.closed)
