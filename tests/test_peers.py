"""Peers: what many links share, and that nothing of one that is gone stays."""

import asyncio
import json
import os
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.errors import EdgeError, Refused
from overlay_edge.proto.frame import App, Frame, FrameDecoder, encode
from tests.support.edge import LOCAL, Edge, edge


def settled(running: Edge) -> bool:
    tally = running.node.view.tally
    inflight = running.node.view.counters().inflight_open
    return not (tally.connections or inflight or tally.sessions_active)


async def test_connects_and_disconnects_leave_nothing_behind() -> None:
    async with edge() as running:
        for _ in range(50):
            async with running.client() as client:
                await client.echo(b"x")
        await running.until(lambda: settled(running))
        counters = running.node.view.counters()
        assert counters.sessions_opened == 50
        assert counters.frames["rx", "ctrl"] == 50
        assert counters.frames["rx", "other"] == counters.frames["tx", "other"] == 50


async def test_one_peer_cannot_use_up_what_all_share() -> None:
    transport = replace(LOCAL.transport, max_inflight=3)
    async with edge(replace(LOCAL, transport=transport)) as running:
        async with running.client() as one, running.client() as two:
            assert one.link.session is not None
            for _ in range(3):
                one.link.session.request(App.OBJECTS, b'{"op":"put","size":9}', source=_Never())
            one.link.pump()
            await running.until(lambda: running.node.view.counters().inflight_open == 3)
            with pytest.raises(Refused) as caught:
                await two.echo(b"x")
            assert (caught.value.code, caught.value.token) == (503, "busy")
            assert caught.value.retry_after_ms == 1000
            one.link.abort()
            await running.until(lambda: not running.node.view.counters().inflight_open)
            assert await two.echo(b"x") == b"x"
        await running.until(lambda: settled(running))


async def test_a_peer_that_says_nothing_is_cut_after_the_handshake_timeout() -> None:
    async with edge(replace(LOCAL, handshake_timeout_s=0.05)) as running:
        host, _, port = running.oap.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10):
            await running.until(lambda: running.node.view.tally.connections)
            await running.until(lambda: settled(running))
        assert running.node.view.counters().handshake_failures == {"timeout": 1}


async def test_a_violation_is_counted_once_and_its_peer_is_told() -> None:
    async with edge() as running:
        async with running.client() as client:
            stream = client.link._stream
            assert stream is not None
            stream.write(os.urandom(0) + b"\xff" * 38)
            with pytest.raises(EdgeError, match="flags"):
                await client.echo(b"x")
        await running.until(lambda: settled(running))
        assert running.node.view.counters().rejected == {"bad_request": 1}
        assert '"name":"BadFlags"' in running.log


async def test_what_a_peer_calls_itself_is_only_ever_data_in_the_log() -> None:
    async with edge() as running:
        async with running.client() as client:
            await client.echo(b"a payload that must not be logged")
        await running.until(lambda: settled(running))
        assert "must not be logged" not in running.log
        assert '"event":"session_opened"' in running.log


async def test_a_client_that_knows_only_the_five_published_keys_gets_its_echo() -> None:
    """Another TLS library, the reference's own HELLO bytes, and nothing of ours."""
    vectors = json.loads((Path(__file__).parent / "oap1-vectors.json").read_text())

    def use(port: int) -> list[Frame]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["ron/oap1"])
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10)) as sock:
            sock.sendall(bytes.fromhex(vectors["accept"]["hello_roundtrip"]))
            sock.sendall(encode(Frame(0x19, app=App.ECHO, corr_id=5, payload=b"hello")))
            decoder, found = FrameDecoder(), []
            while len(found) < 2:
                decoder.feed(sock.recv(65536))
                while frame := decoder.next_frame():
                    found.append(frame)
            return found

    async with edge() as running:
        hello, echo = await asyncio.to_thread(use, int(running.oap.rpartition(":")[2]))
        assert (hello.code, hello.tenant, hello.corr_id) == (200, 0xAA, 42)
        assert list(json.loads(hello.payload))[:5] == [
            "max_frame",
            "max_inflight",
            "flags_supported",
            "versions",
            "transports",
        ]
        assert (echo.flags, echo.code, echo.corr_id, echo.payload) == (0x1A, 200, 5, b"hello")


async def test_a_hundred_links_are_served_at_once() -> None:
    async def use(running: Edge) -> None:
        async with running.client(timeout_s=30) as client:
            data = os.urandom(10_000)
            assert await client.echo(data) == data

    async with edge() as running:
        await asyncio.gather(*(use(running) for _ in range(100)))
        await running.until(lambda: settled(running))
        assert running.node.view.counters().sessions_opened == 100


class _Never:
    def read(self, limit: int) -> None:
        return None

    def close(self) -> None:
        pass
