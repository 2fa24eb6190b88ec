"""TLS: what is negotiated, what is refused and by which label, and what is sent at once."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable

import pytest
from OpenSSL import SSL

from overlay_edge.config import PqMode
from overlay_edge.errors import IdentityError
from overlay_edge.net import tls
from overlay_edge.net.context import drain
from overlay_edge.net.held import Held
from overlay_edge.net.identity import (
    Identity,
    make_ephemeral,
)
from tests.support.wire import IDENTITY, Recorder, client, dial, linked, listening, server


def other_stack(port: int, prepare: Callable[[ssl.SSLContext], None]) -> ssl.SSLSocket:
    """Dial with the interpreter's own TLS, which is another build of another library."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    prepare(context)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))


async def test_both_ends_default_to_the_hybrid_key_exchange_and_report_it() -> None:
    async with linked() as (here, there):
        assert here.info is not None
        assert there.info is not None
        assert here.info.group == there.info.group == "X25519MLKEM768"
        assert here.info.pq == there.info.pq == "hybrid"
        assert there.info.fingerprint == IDENTITY.fingerprint
        assert here.info.fingerprint == ""
        assert here.outcomes == there.outcomes == ["ok"]


@pytest.mark.parametrize(
    ("listener", "dialler"),
    [
        (PqMode.CLASSICAL, PqMode.HYBRID),
        (PqMode.HYBRID, PqMode.CLASSICAL),
        (PqMode.CLASSICAL, PqMode.CLASSICAL),
    ],
)
async def test_one_classical_end_makes_the_link_classical_and_says_so(
    listener: PqMode, dialler: PqMode
) -> None:
    async with linked(server(listener), client(dialler)) as (here, there):
        assert here.info is not None
        assert there.info is not None
        assert here.info.group.lower() == there.info.group.lower() == "x25519"
        assert here.info.pq == there.info.pq == "classical"


@pytest.mark.parametrize(
    ("server_aes", "client_aes", "cipher"),
    [
        (True, True, "TLS_AES_128_GCM_SHA256"),
        (False, True, "TLS_CHACHA20_POLY1305_SHA256"),
        (True, False, "TLS_CHACHA20_POLY1305_SHA256"),
        (False, False, "TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
async def test_chacha20_is_used_as_soon_as_one_end_has_no_aes_instructions(
    server_aes: bool, client_aes: bool, cipher: str
) -> None:
    async with linked(server(has_aes=server_aes), client(has_aes=client_aes)) as (here, _):
        assert here.info is not None
        assert here.info.cipher == cipher


@pytest.mark.parametrize("offered", [[], ["h2"], ["h2", "http/1.1"]])
async def test_a_peer_without_our_application_protocol_is_closed_and_counted(
    offered: list[str],
) -> None:
    def dial_other(port: int) -> None:
        with other_stack(port, lambda c: c.set_alpn_protocols(offered) if offered else None) as s:
            s.recv(1)

    async with listening(server()) as (here, port):
        try:
            await asyncio.to_thread(dial_other, port)
        except OSError as refused:  # an alert, or the connection is gone
            assert not isinstance(refused, TimeoutError)
        await here.until(lambda r: r.closed)
        assert here.outcomes == ["alpn"]
        assert here.info is None


async def test_tls_1_2_is_refused_and_counted() -> None:
    def older(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async with listening(server()) as (here, port):
        with pytest.raises(OSError):  # noqa: PT011 - which error is the other library's affair
            await asyncio.to_thread(other_stack, port, older)
        await here.until(lambda r: r.closed)
        assert here.outcomes == ["version"]


async def test_another_librarys_tls_1_3_is_understood_and_its_sessions_cannot_be_resumed() -> None:
    def talk(port: int) -> tuple[bytes, list[bool | None]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["ron/oap1"])
        session, answer, reused = None, b"", []
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", port), timeout=10)
            with context.wrap_socket(plain, session=session) as sock:
                sock.sendall(b"ping")
                answer += sock.recv(100)
                session = sock.session
                reused.append(sock.session_reused)
        return answer, reused

    async with listening(server()) as (here, port):
        here.on_data = lambda data: here.up.write(b"pong")
        assert await asyncio.to_thread(talk, port) == (b"pongpong", [False, False])
        assert bytes(here.received) == b"pingping"


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 300, b"\xff" * 300])
async def test_noise_instead_of_a_handshake_is_closed_and_counted_once(noise: bytes) -> None:
    async with listening(server()) as (here, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(noise)
        async with asyncio.timeout(10):
            while await reader.read(1000):
                pass
        writer.close()
        await here.until(lambda r: r.closed)
        assert here.outcomes == ["tls"] or here.outcomes == ["version"]
        assert here.closed[0].startswith("handshake: ")


async def test_a_caller_that_hangs_up_in_the_handshake_is_counted_as_closed() -> None:
    async with listening(server()) as (here, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await here.until(lambda r: r.closed)
        assert here.outcomes == ["closed"]


def test_one_send_encrypts_a_whole_chunk() -> None:
    """Partial writes are off: four records leave in one call, and one read takes them all."""
    here = SSL.Connection(server(), None)
    there = SSL.Connection(client(), None)
    here.set_accept_state()
    there.set_connect_state()
    for _ in range(4):
        for one, other in ((there, here), (here, there)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            if data := drain(one):
                other.bio_write(data)
    assert here.send(bytes(65_574)) == 65_574


async def test_last_words_reach_a_peer_that_is_still_sending() -> None:
    """Closing with unread bytes in the socket would reset it and lose the refusal."""

    def flood(port: int, stop: threading.Event) -> bytes:
        with other_stack(port, lambda c: c.set_alpn_protocols(["ron/oap1"])) as sock:
            sock.sendall(bytes(1 << 20))
            stop.wait(10)
            return sock.recv(100)

    stop = threading.Event()
    async with listening(server()) as (here, port):

        def refuse(data: bytes) -> None:
            here.on_data = lambda data: None
            here.up.write(b"refused")
            here.up.close()
            stop.set()

        here.on_data = refuse
        assert await asyncio.to_thread(flood, port, stop) == b"refused"
        await here.until(lambda r: r.closed)


async def test_both_ends_export_the_same_secret_and_another_link_another() -> None:
    secrets = []
    for _ in range(2):
        async with linked() as (here, there):
            label = b"EXPORTER-OAP1-cap"
            mine, theirs = (
                end.up.export_key(label, 32)  # type: ignore[attr-defined]
                for end in (here, there)
            )
            assert mine == theirs
            secrets.append(mine)
    assert secrets[0] != secrets[1]


async def test_a_reset_is_reported_once() -> None:
    async with linked() as (here, there):
        there.up.abort()
        await here.until(lambda r: r.closed)
        assert len(here.closed) == 1


async def test_garbage_behind_a_good_handshake_ends_the_stream() -> None:
    async with linked() as (here, there):
        transport = there.up._transport  # type: ignore[attr-defined]
        transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        await here.until(lambda r: r.closed)
        assert here.closed != [""]


async def test_a_certificate_that_is_not_the_keys_is_refused() -> None:
    wrong = Held(Identity(IDENTITY.chain, make_ephemeral().key))
    with pytest.raises(IdentityError, match="TLS identity"):
        server(identity=wrong)


async def test_a_stream_that_never_connected_can_be_closed() -> None:
    async with listening(server()) as (_, port):
        there = await dial(port, client())
        await there.until(lambda r: r.info)
        there.up.close()
        there.up.close()
        there.up.abort()
        await there.until(lambda r: r.closed)
        there.up.write(b"after the end")
        there.up.pause_reading()
        there.up.resume_reading()
        assert not there.up.is_writable


async def test_a_stream_that_is_paused_hands_over_no_more_than_one_read() -> None:
    async with linked() as (here, there):
        here.up.pause_reading()
        there.up.write(bytes(1 << 20))
        await asyncio.sleep(0.05)  # the kernel takes what it can
        here.on_data = lambda _: here.up.pause_reading()
        here.up.resume_reading()
        await here.until(lambda r: r.received)
        await asyncio.sleep(0.05)
        assert len(here.received) <= tls.READ_BYTES


async def test_closing_a_connection_that_was_reset_in_its_handshake_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        owner = Recorder()
        stream = tls.TlsStream(client(), owner, owner.report, is_server=False)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: stream, *listener.getsockname())
        peer, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        stream.close()  # the reset is here, and the loop has not looked
        await owner.until(lambda r: r.closed)
