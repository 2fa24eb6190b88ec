"""A held identity: OpenSSL has the key, and nobody else."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from overlay_edge.errors import IdentityError
from overlay_edge.net.held import Held
from overlay_edge.net.identity import (
    END_OF_TIME,
    EPOCH,
    Identity,
    make_ephemeral,
    read_identity,
)
from tests.support.sealed import sealed
from tests.support.wire import IDENTITY, client, dial, listening, server


def test_a_key_that_is_held_is_closed_and_shown_by_nobody() -> None:
    identity = make_ephemeral()
    form = identity.key.reveal()
    held = Held(identity)
    assert not any(form)
    assert repr(held) == f"<held identity {identity.fingerprint[:8]}>"


def test_a_form_that_openssl_cannot_read_is_refused_and_closed() -> None:
    for noise in (b"noise", b"-----BEGIN PRIVATE KEY-----\nnoise"):
        secret = sealed(noise)
        with pytest.raises(IdentityError, match="cannot read the private key"):
            Held(Identity(IDENTITY.chain, secret))
        assert len(secret) == 0


@pytest.mark.parametrize("kind", [ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey])
async def test_a_key_from_a_pem_file_serves(kind: type) -> None:
    is_ed = kind is ed25519.Ed25519PrivateKey
    key = ed25519.Ed25519PrivateKey.generate() if is_ed else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    leaf = x509.CertificateBuilder(
        name,
        name,
        key.public_key(),
        1,
        EPOCH,
        END_OF_TIME,
    ).sign(key, None if is_ed else hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = leaf.public_bytes(serialization.Encoding.PEM)
    identity = Held(read_identity(chain, sealed(pem), cert="c", key="k"))
    async with listening(server(identity=identity)) as (_, port):
        there = await dial(port, client())
        await there.until(lambda r: r.info)
        assert there.info is not None
        assert there.info.fingerprint == identity.fingerprint
