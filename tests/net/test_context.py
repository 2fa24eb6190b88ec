"""Contexts: what is negotiated, and who a dialling node can prove to be."""

import asyncio
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from overlay_edge.config import PqMode
from overlay_edge.errors import IdentityError
from overlay_edge.host.secret import Secret
from overlay_edge.net import context
from overlay_edge.net.context import client_context, server_context
from overlay_edge.net.held import Held
from overlay_edge.net.identity import END_OF_TIME, EPOCH, Identity, make_ephemeral
from overlay_edge.net.stream import node_id
from tests.support.wire import IDENTITY, client, linked, listening, server


@pytest.mark.parametrize("mode", list(PqMode))
@pytest.mark.parametrize("has_aes", [True, False])
def test_the_self_test_passes_for_every_setting(mode: PqMode, has_aes: bool) -> None:
    context.self_test(mode, has_aes=has_aes)


def test_the_self_test_notices_a_group_that_was_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_set_groups", lambda _, groups: None)
    with pytest.raises(IdentityError, match="negotiated X25519MLKEM768"):
        context.self_test(PqMode.CLASSICAL, has_aes=True)


def test_a_group_this_library_does_not_know_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(context.GROUPS, PqMode.HYBRID, b"X25519MLKEM9999")
    with pytest.raises(IdentityError, match="does not know the groups X25519MLKEM9999"):
        server()


# -- who dials --------------------------------------------------------------------------


def asking() -> SSL.Context:
    return server_context(IDENTITY, PqMode.HYBRID, has_aes=True, asks=True)


def showing(identity: Held) -> SSL.Context:
    return client_context(PqMode.HYBRID, has_aes=True, identity=identity)


async def test_who_shows_a_certificate_is_known_by_it_and_nobody_asks_for_a_name() -> None:
    mine = Held(make_ephemeral())
    async with linked(asking(), showing(mine)) as (here, there):
        assert here.info is not None
        assert there.info is not None
        assert here.info.node == node_id(mine.chain[0].public_bytes(Encoding.DER))
        assert here.info.fingerprint == mine.fingerprint
        assert there.info.node == node_id(IDENTITY.chain[0].public_bytes(Encoding.DER))
        assert here.info.group == "X25519MLKEM768"


async def test_who_shows_none_is_let_in_without_an_id() -> None:
    async with linked(asking(), client()) as (here, _):
        assert here.info is not None
        assert here.info.node == b""


async def test_another_library_that_has_no_certificate_is_let_in_as_before() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["ron/oap1"])
    async with listening(asking()) as (here, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        await here.until(lambda r: r.info)
        assert here.info is not None
        assert (here.info.node, here.outcomes) == (b"", ["ok"])
        writer.transport.abort()
        await here.until(lambda r: r.closed)


async def test_a_node_that_does_not_ask_is_shown_nothing() -> None:
    async with linked(server(), showing(Held(make_ephemeral()))) as (here, _):
        assert here.info is not None
        assert here.info.node == b""


async def test_a_key_that_costs_more_to_check_than_to_show_makes_no_node() -> None:
    async with linked(asking(), showing(dear())) as (here, _):
        assert here.info is not None
        assert here.info.node == b""


def dear() -> Held:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(EPOCH)
        .not_valid_after(END_OF_TIME)
        .sign(key, hashes.SHA256())
    )
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = Secret(len(der))
    secret.add(der)
    return Held(Identity((certificate,), secret))
