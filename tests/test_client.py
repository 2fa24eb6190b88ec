"""The client: who it talks to, what it believes, and how it fails."""

import asyncio
import datetime
import io
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from overlay_edge.client import connect, normal_pin
from overlay_edge.errors import EdgeError, IntegrityError, PinMismatch, Refused, TransportError
from overlay_edge.net.tls import TlsStream
from overlay_edge.proto.authority import Authority, Presented
from overlay_edge.proto.capability import EXPORTER_BYTES, EXPORTER_LABEL, Capability, Op
from overlay_edge.proto.clock import ClockFloor
from overlay_edge.proto.frame import App, Frame, FrameDecoder, encode, encode_json
from tests.support.edge import LOCAL, Edge, edge
from tests.support.mint import EVERYTHING, NOON, Holder, Site
from tests.support.wire import Recorder, listening, server


@pytest.fixture
async def node() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


async def test_the_pinned_node_is_believed_however_the_pin_was_copied(node: Edge) -> None:
    pin = node.pin.upper()
    spaced = "SHA256:" + ":".join(pin[i : i + 2] for i in range(0, 64, 2)) + " "
    async with connect(node.oap, pin=spaced) as client:
        assert client.info.fingerprint == node.pin == normal_pin(spaced)


async def test_another_node_is_left_before_a_frame_is_sent(node: Edge) -> None:
    with pytest.raises(PinMismatch, match=node.pin) as caught:
        async with connect(node.oap, pin="0" * 64):
            pass
    assert "new identity at every start" in caught.value.hint
    await node.until(lambda: not node.node.view.tally.connections)
    assert node.node.view.counters().sessions_opened == 0


def authority(tmp_path: Path) -> tuple[bytes, Path, Path]:
    """A certificate authority, and a node's certificate and key on disk."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def certificate(
        name: x509.Name, public: ec.EllipticCurvePublicKey, is_ca: bool
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
        )
        if is_ca:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True).add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public), critical=False
            )
        else:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(
                    [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("board")]
                ),
                critical=False,
            ).add_extension(
                x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
            )
        return builder.sign(ca_key, hashes.SHA256())

    ca = certificate(ca_name, ca_key.public_key(), True)
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "board")])
    leaf = certificate(leaf_name, key.public_key(), False)
    cert_path, key_path = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_path.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ca.public_bytes(serialization.Encoding.PEM), cert_path, key_path


async def test_a_configured_certificate_is_believed_through_its_authority_only(
    tmp_path: Path, ram_path: Path
) -> None:
    ca, cert, key = authority(ram_path)
    other, _, _ = authority(tmp_path)
    config = replace(LOCAL, tls=replace(LOCAL.tls, cert=str(cert), key=str(key)))
    async with edge(config) as node:
        async with connect(node.oap, ca=("ca.pem", ca)) as client:
            assert await client.echo(b"trusted") == b"trusted"
        with pytest.raises(TransportError, match="not trusted"):
            async with connect(node.oap, ca=("other.pem", other)):
                pass


async def test_nobody_there_is_one_clear_line() -> None:
    async with listening(server()) as (_, port):
        pass
    with pytest.raises(TransportError, match=rf"127.0.0.1:{port}: .*"):
        async with connect(f"127.0.0.1:{port}"):
            pass


async def test_somebody_who_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # callers wait in its backlog
        port = silent.getsockname()[1]
        with pytest.raises(TransportError, match=r"no answer within 0\.05 s|handshake timeout"):
            async with connect(f"127.0.0.1:{port}", timeout_s=0.05):
                pass


async def test_many_requests_share_one_link(node: Edge) -> None:
    async with node.client() as client:
        payloads = [os.urandom(n * 9000) for n in range(100)]
        assert await asyncio.gather(*map(client.echo, payloads)) == payloads
        assert await client.ping() > 0


async def test_a_refusal_is_an_error_and_the_link_stays(node: Edge) -> None:
    async with node.client() as client:
        with pytest.raises(Refused) as caught:
            await client.get("b3:" + "0" * 64, lambda data: None)
        assert (caught.value.code, caught.value.token) == (404, "not_found")
        with pytest.raises(Refused, match="limit"):
            await client.put(_Endless(), 1 << 40)
        assert await client.echo(b"on") == b"on"


async def test_a_file_that_is_shorter_than_announced_leaves_nothing_and_says_so(
    node: Edge,
) -> None:
    async with node.client() as client:
        with pytest.raises(EdgeError, match=r"3 bytes came, 10 announced|ended after 3"):
            await client.put(io.BytesIO(b"abc"), 10)
        assert await client.echo(b"on") == b"on"
    assert node.node.view.counters().store_bytes == 0


async def test_a_sink_that_fails_ends_the_fetch_and_not_the_link(node: Edge) -> None:
    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with node.client() as client:
        addr = await client.put(io.BytesIO(bytes(4 << 20)), 4 << 20)
        with pytest.raises(OSError, match="No space"):
            await client.get(addr, full)
        assert await client.echo(b"on") == b"on"


async def test_progress_is_told_both_ways(node: Edge) -> None:
    up: list[int] = []
    down: list[int] = []
    async with node.client() as client:
        addr = await client.put(io.BytesIO(bytes(200_000)), 200_000, progress=up.append)
        await client.get(addr, lambda data: None, progress=down.append)
    for told in (up, down):
        assert told == sorted(told)
        assert told[-1] == 200_000


async def test_a_cancelled_call_leaves_a_usable_link(node: Edge) -> None:
    async with node.client() as client:
        addr = await client.put(io.BytesIO(bytes(8 << 20)), 8 << 20)
        fetch = asyncio.create_task(client.get(addr, lambda data: fetch.cancel()))
        with pytest.raises(asyncio.CancelledError):
            await fetch
        assert await client.echo(b"on") == b"on"


async def test_a_link_that_is_lost_fails_everything_that_waits(node: Edge) -> None:
    async with node.client() as client:
        waiting = asyncio.create_task(client.put(_Stuck(), 1 << 20))
        await node.until(lambda: node.node.view.counters().inflight_open)
        client.link.abort()
        with pytest.raises(TransportError):
            await waiting
        with pytest.raises(TransportError):
            await client.echo(b"gone")
        with pytest.raises(TransportError):
            await client.ping()


class _Endless(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(min(size, 1 << 16))


class _Stuck(io.RawIOBase):
    """One byte a read: never done in time."""

    def read(self, size: int = -1) -> bytes:
        return b"x"


def lying(here: Recorder, answers: list[bytes]) -> None:
    """A node that greets, then answers whatever is asked with what it was given."""
    hello = encode_json({"max_frame": 1 << 20, "max_inflight": 4, "versions": [1]})
    script = [encode(Frame(2, 200, payload=hello)), b"".join(answers)]

    def answer(data: bytes) -> None:
        if script:
            here.up.write(script.pop(0))

    here.on_data = answer


def response(payload: bytes, *, code: int = 206, flags: int = 2) -> bytes:
    return encode(Frame(flags, code, App.OBJECTS, corr_id=1, payload=payload))


ADDR = "b3:" + "0" * 64
DESCRIBED = encode_json({"addr": ADDR, "size": 4, "chunk": 65536})


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([response(DESCRIBED, code=200, flags=10), response(b"four", flags=18)], IntegrityError),
        ([response(DESCRIBED, code=200, flags=10), response(b"fo", flags=18)], IntegrityError),
        ([response(b"[]", code=200, flags=26)], TransportError),
        ([response(b"{}", code=200, flags=26)], IntegrityError),
        ([response(b"not json", code=500, flags=18)], Refused),
        ([b"\xff" * 40], TransportError),
    ],
    ids=["wrong bytes", "too short", "no object", "no size", "bare refusal", "noise"],
)
async def test_a_node_that_lies_is_not_believed(
    answers: list[bytes], error: type[EdgeError]
) -> None:
    async with listening(server()) as (here, port):
        lying(here, answers)
        async with connect(f"127.0.0.1:{port}") as client:
            with pytest.raises(error):
                await client.get(ADDR, lambda data: None)


async def seen(cap: bytes, sign: Callable[[bytes], bytes] | None) -> tuple[list[bytes], bytes]:
    """The `cap` sections of a client's frames, HELLO and two requests, and the channel."""
    async with listening(server()) as (here, port):
        lying(here, [b""])
        async with connect(f"127.0.0.1:{port}", cap=Capability(cap), sign=sign) as client:
            assert isinstance(here.stream, TlsStream)
            channel = here.stream.export_key(EXPORTER_LABEL, EXPORTER_BYTES)
            asked = [asyncio.ensure_future(client.head(ADDR)) for _ in range(2)]
            decoder, found = FrameDecoder(), []
            await here.until(lambda r: r.received.count(ADDR.encode()) == 2)
            decoder.feed(bytes(here.received))
        for future in asked:
            with pytest.raises(TransportError):
                await future
    while frame := decoder.next_frame():
        found.append(frame.cap)
    return found, channel


async def test_a_capability_is_on_every_request_and_not_on_hello() -> None:
    assert (await seen(b"token", None))[0] == [b"", b"token", b"token"]


async def test_a_holder_proves_its_key_on_this_very_channel() -> None:
    site, holder = Site(), Holder()
    token = site.mint(replace(EVERYTHING, holder=holder.public))
    authority = Authority(site.config(), ClockFloor())
    sections, channel = await seen(token, holder.sign)
    assert Presented(authority, channel).authorize(sections[1], Op.PUT, now=NOON)
    with pytest.raises(Refused):
        Presented(authority, bytes(32)).authorize(sections[1], Op.PUT, now=NOON)


async def test_a_node_that_is_gone_is_told_nothing() -> None:
    def too_late(_: bytes) -> bytes:
        raise AssertionError("asked to sign for a channel that is gone")

    async with listening(server()) as (here, port):
        lying(here, [b""])
        async with connect(f"127.0.0.1:{port}") as client:
            stream = client.link._stream
            assert isinstance(stream, TlsStream)
        with pytest.raises(TransportError):
            client.present(Capability(b"token"), too_late, stream)
