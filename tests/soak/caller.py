"""Caller: a peer that writes frames by hand, over real TLS.

The standard library's TLS, so that it shares nothing with the node but the contract.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

from overlay_edge.config.values import split_addr
from overlay_edge.proto.frame import REQ, Frame, FrameDecoder, encode

HELLO = encode(Frame(REQ, payload=b'{"ua":"soak","features":{}}'))
HELLO_WITHOUT_CREDIT = encode(Frame(REQ, payload=b'{"ua":"soak"}'))
WAIT_S = 10.0


def tls() -> ssl.SSLContext:
    """The dialling side; it believes any node, which only a load on loopback may."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["ron/oap1"])
    return context


TLS = tls()


class Caller:
    """One connection.

    Attributes:
        reader: Bytes from the node.
        writer: Bytes to the node.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = FrameDecoder()

    @classmethod
    async def dial(
        cls, address: str, *, buffer_bytes: int = 0, context: ssl.SSLContext = TLS
    ) -> "Caller":
        """Connect, TLS included, without a word."""
        sock = await plain(address, buffer_bytes=buffer_bytes)
        try:
            async with asyncio.timeout(WAIT_S):
                return cls(
                    *await asyncio.open_connection(sock=sock, ssl=context, server_hostname="x")
                )
        except BaseException:
            sock.close()
            raise

    @classmethod
    async def greeted(
        cls,
        address: str,
        *,
        hello: bytes = HELLO,
        buffer_bytes: int = 0,
        context: ssl.SSLContext = TLS,
    ) -> "Caller":
        """Connect and finish HELLO."""
        caller = await cls.dial(address, buffer_bytes=buffer_bytes, context=context)
        caller.writer.write(hello)
        async for frame in caller.frames():
            if frame.code == 200:
                return caller
            break
        caller.close()
        raise ConnectionError("not greeted")

    async def send(self, *frames: Frame) -> None:
        """Write frames, no faster than they are taken."""
        self.writer.write(b"".join(map(encode, frames)))
        await self.writer.drain()

    async def frames(self) -> AsyncIterator[Frame]:
        """What comes, until the node hangs up."""
        while True:
            while (frame := self._decoder.next_frame()) is not None:
                yield frame
            data = await self.reader.read(1 << 16)
            if not data:
                return
            self._decoder.feed(data)

    def close(self) -> None:
        """Hang up without a farewell."""
        self.writer.transport.abort()


async def plain(address: str, *, buffer_bytes: int = 0) -> socket.socket:
    """A connected socket, no TLS yet."""
    host, port = split_addr(address)
    sock = socket.socket()
    sock.setblocking(False)
    if buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    try:
        async with asyncio.timeout(WAIT_S):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock
