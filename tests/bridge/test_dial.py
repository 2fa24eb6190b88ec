"""Dial: a socket that is connected, or none at all."""

import asyncio
import os
import ssl
from contextlib import suppress

import pytest

from overlay_edge.bridge.audit import trust
from overlay_edge.bridge.dial import dial
from overlay_edge.config.url import split_url
from overlay_edge.host.amnesia import memfd, memfd_path
from tests.support.identity import identity


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.write(await reader.read(10))
        await writer.drain()
    writer.close()


async def test_a_name_is_tried_address_by_address() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with await dial(split_url(f"mqtt://localhost:{port}"), None) as sock:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"hello")
            assert await loop.sock_recv(sock, 10) == b"hello"


async def test_tls_is_spoken_without_a_thread_and_only_with_whom_we_trust() -> None:
    cert, key = identity()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(memfd_path(memfd("cert", cert)), memfd_path(memfd("key", key)))
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    async with server:
        url = split_url(f"mqtts://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with await dial(url, trust("mqtt.ca", cert)) as sock:
            assert isinstance(sock, ssl.SSLSocket)
            assert sock.version() == "TLSv1.3"
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(url, trust("mqtt.ca", identity()[0]))
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_where_nobody_listens_the_last_reason_is_told() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await dial(split_url("mqtt://localhost:1"), None)
