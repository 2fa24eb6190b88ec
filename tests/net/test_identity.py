"""Identities: what is refused before TLS sees it, and whose certificates are believed."""

import base64
import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from overlay_edge.errors import IdentityError, TransportError
from overlay_edge.host.secret import Secret
from overlay_edge.net.identity import (
    END_OF_TIME,
    EPOCH,
    P256_HEAD,
    P256_ORDER,
    Identity,
    fingerprint_of,
    is_p256,
    make_ephemeral,
    read_identity,
    verify_chain,
)
from tests.support.sealed import sealed

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
OURS = make_ephemeral()


def private(identity: Identity) -> PrivateKeyTypes:
    return serialization.load_der_private_key(identity.key.reveal(), None)


def cert_pem(identity: Identity = OURS) -> bytes:
    return b"".join(certificate.public_bytes(PEM) for certificate in identity.chain)


OURS_KEY = private(OURS)


def key_pem(key: PrivateKeyTypes = OURS_KEY, password: bytes = b"") -> bytes:
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password)
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock)


def armoured(label: str, der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), body, label.encode())


def read(cert: bytes, key: bytes) -> Identity:
    return read_identity(cert, sealed(key), cert="c.pem", key="k.pem")


def refusal_of(cert: bytes, key: bytes) -> IdentityError:
    with pytest.raises(IdentityError) as caught:
        read(cert, key)
    return caught.value


# -- our own ----------------------------------------------------------------------------


@pytest.mark.parametrize("cert", [b"", b"noise", cert_pem().replace(b"MII", b"AAA"), key_pem()])
def test_a_chain_that_is_no_pem_is_refused_by_its_setting_and_file(cert: bytes) -> None:
    assert str(refusal_of(cert, key_pem())) == "tls.cert: c.pem: expected certificates in PEM"


@pytest.mark.parametrize(
    "key",
    [b"", b"noise", cert_pem(), key_pem(password=b"secret")],
    ids=["empty", "noise", "certificate", "encrypted"],
)
def test_a_key_that_cannot_be_opened_is_refused_by_its_setting_and_file(key: bytes) -> None:
    found = str(refusal_of(cert_pem(), key))
    assert found == "tls.key: k.pem: expected an unencrypted private key in PEM"


def unknown_kind() -> bytes:
    whole = ed25519.Ed25519PrivateKey.generate().private_bytes(
        DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return armoured("PRIVATE KEY", whole.replace(b"\x2b\x65\x70", b"\x2b\x65\x7f"))


@pytest.mark.parametrize(
    "key",
    [
        key_pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - refused, whatever its size
        key_pem(ec.generate_private_key(ec.SECP384R1())),
        key_pem(ec.generate_private_key(ec.SECP521R1())),
        unknown_kind(),
    ],
    ids=["RSA", "P-384", "P-521", "unknown"],
)
def test_a_kind_of_key_that_a_board_cannot_afford_is_refused_with_a_reason(key: bytes) -> None:
    refusal = refusal_of(cert_pem(), key)
    assert str(refusal) == "tls.key: k.pem: expected an ECDSA P-256 or Ed25519 key"
    assert "handshake" in refusal.hint


@pytest.mark.parametrize(
    "other", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_a_key_of_another_certificate_is_refused(other: PrivateKeyTypes) -> None:
    found = str(refusal_of(cert_pem(), key_pem(other)))
    assert found == "tls.key: k.pem is not the key of the first certificate in c.pem"


def test_the_key_belongs_to_the_first_certificate_and_to_no_other() -> None:
    other = make_ephemeral()
    chain = cert_pem() + cert_pem(other)
    assert read(chain, key_pem()).fingerprint == OURS.fingerprint
    assert "not the key of the first" in str(refusal_of(chain, key_pem(private(other))))


def test_a_certificate_with_a_kind_of_key_nobody_knows_is_refused() -> None:
    der = OURS.chain[0].public_bytes(DER)
    curve = bytes.fromhex("2a8648ce3d030107")
    assert curve in der
    odd = armoured("CERTIFICATE", der.replace(curve, bytes.fromhex("2a8648ce3d030177")))
    assert "not the key of the first" in str(refusal_of(odd, key_pem()))


def test_no_refusal_shows_a_byte_of_the_key() -> None:
    key = key_pem(password=b"secret")
    shown = repr(refusal_of(cert_pem(), key)) + repr(refusal_of(cert_pem(make_ephemeral()), key))
    assert not any(line in shown for line in key.decode().splitlines())


def test_an_identity_reads_back_as_it_was_made_and_hides_its_key() -> None:
    again = read(cert_pem(), key_pem())
    assert again.chain == OURS.chain
    assert bytes(again.key.reveal()) == key_pem()
    assert repr(again) == f"<identity {OURS.fingerprint[:8]}>"


def test_an_ed25519_identity_is_read() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    leaf = issue(key, "edge", ROOT_KEY, "root")
    identity = read(leaf.public_bytes(PEM), key_pem(key))
    assert identity.fingerprint == fingerprint_of(leaf)


def test_a_made_key_is_a_p256_key_in_its_shortest_form() -> None:
    key = private(OURS)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    number = key.private_numbers().private_value.to_bytes(32, "big")
    assert bytes(OURS.key.reveal()) == P256_HEAD + number


def test_a_number_that_is_no_key_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = [bytes(32), b"\xff" * 32, P256_ORDER, bytes(31) + b"\x01"]

    def draw(secret: Secret, count: int) -> None:
        secret.add(draws.pop(0))

    monkeypatch.setattr(Secret, "add_random", draw)
    identity = make_ephemeral()
    assert bytes(identity.key.reveal())[-32:] == bytes(31) + b"\x01"
    assert draws == []


@given(st.integers(min_value=0, max_value=(1 << 256) - 1))
@example(0)
@example(1)
@example(int.from_bytes(P256_ORDER) - 1)
@example(int.from_bytes(P256_ORDER))
@example((1 << 256) - 1)
def test_a_key_is_any_number_between_nothing_and_the_order(number: int) -> None:
    is_key = is_p256(memoryview(number.to_bytes(32)))
    assert is_key is (0 < number < int.from_bytes(P256_ORDER))


def test_a_made_identity_is_new_each_time_and_valid_on_a_board_without_a_clock() -> None:
    certificate = OURS.chain[0]
    assert make_ephemeral().fingerprint != OURS.fingerprint
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (
        EPOCH,
        END_OF_TIME,
    )
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    certificate.verify_directly_issued_by(certificate)


# -- theirs -----------------------------------------------------------------------------


def issue(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    name: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: str,
    *,
    hosts: tuple[x509.GeneralName, ...] = (),
    days: tuple[int, int] = (-1, 1),
) -> x509.Certificate:
    """A certificate as a small authority would make it; without hosts, an authority's own."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(key_usage(is_authority=not hosts), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


ROOT_KEY, MIDDLE_KEY, LEAF_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
ROOT = issue(ROOT_KEY, "root", ROOT_KEY, "root")
MIDDLE = issue(MIDDLE_KEY, "middle", ROOT_KEY, "root")
HOSTS = (
    x509.DNSName("edge.example"),
    x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
)
LEAF = issue(LEAF_KEY, "edge", ROOT_KEY, "root", hosts=HOSTS)
BELOW_MIDDLE = issue(LEAF_KEY, "edge", MIDDLE_KEY, "middle", hosts=HOSTS)
CA = ROOT.public_bytes(PEM)


def verify(
    *chain: x509.Certificate | bytes, ca_pem: bytes = CA, host: str = "edge.example"
) -> None:
    ders = tuple(c if isinstance(c, bytes) else c.public_bytes(DER) for c in chain)
    verify_chain(ders, ca_pem, host, ca="ca.pem")


@pytest.mark.parametrize("host", ["edge.example", "EDGE.example", "192.0.2.7", "2001:db8::7"])
def test_a_chain_to_our_authority_that_names_the_host_is_believed(host: str) -> None:
    verify(LEAF, host=host)
    verify(BELOW_MIDDLE, MIDDLE, host=host)


@pytest.mark.parametrize(
    "host", ["other.example", "a.edge.example", "example", "192.0.2.8", "2001:db8::8", "::"]
)
def test_a_certificate_for_another_host_is_not_believed(host: str) -> None:
    with pytest.raises(TransportError, match=f"{host}: certificate not trusted"):
        verify(LEAF, host=host)


@pytest.mark.parametrize("host", ["", ".", "..", "a..b", "-", "a b", "bücher.example", "a" * 300])
def test_a_host_that_no_certificate_can_name_is_an_error_and_no_crash(host: str) -> None:
    with pytest.raises(TransportError):
        verify(LEAF, host=host)


def test_an_address_is_no_name_even_if_it_is_written_as_one() -> None:
    name = issue(LEAF_KEY, "edge", ROOT_KEY, "root", hosts=(x509.DNSName("192.0.2.7"),))
    with pytest.raises(TransportError, match="not trusted"):
        verify(name, host="192.0.2.7")


def test_a_chain_with_a_missing_link_is_not_believed() -> None:
    with pytest.raises(TransportError, match="not trusted"):
        verify(BELOW_MIDDLE)


def test_a_name_of_our_authority_with_another_key_is_not_believed() -> None:
    forged_key = ec.generate_private_key(ec.SECP256R1())
    forged_root = issue(forged_key, "root", forged_key, "root")
    forged = issue(LEAF_KEY, "edge", forged_key, "root", hosts=HOSTS)
    with pytest.raises(TransportError, match="not trusted"):
        verify(forged, forged_root)


def test_a_leaf_cannot_issue_certificates() -> None:
    victim = issue(MIDDLE_KEY, "victim", LEAF_KEY, "edge", hosts=(x509.DNSName("victim.example"),))
    with pytest.raises(TransportError, match="not trusted"):
        verify(victim, LEAF, host="victim.example")


@pytest.mark.parametrize("days", [(-9, -1), (1, 9)], ids=["expired", "not yet"])
def test_a_certificate_outside_its_dates_is_not_believed(days: tuple[int, int]) -> None:
    stale = issue(LEAF_KEY, "edge", ROOT_KEY, "root", hosts=HOSTS, days=days)
    with pytest.raises(TransportError, match="not trusted"):
        verify(stale)


def test_an_ephemeral_identity_is_to_be_pinned_and_not_to_be_trusted() -> None:
    with pytest.raises(TransportError, match="not trusted"):
        verify(*OURS.chain, ca_pem=cert_pem())


@pytest.mark.parametrize(
    "chain", [(), (b"",), (b"noise",), (LEAF, b"noise")], ids=["none", "empty", "noise", "behind"]
)
def test_a_chain_that_cannot_be_read_is_the_peers_fault(
    chain: tuple[x509.Certificate | bytes, ...],
) -> None:
    with pytest.raises(TransportError, match="cannot be read"):
        verify(*chain)


@pytest.mark.parametrize("ca_pem", [b"", b"noise"])
def test_authorities_that_are_no_pem_are_our_own_fault(ca_pem: bytes) -> None:
    with pytest.raises(IdentityError, match=r"ca\.pem: expected certificates in PEM"):
        verify(LEAF, ca_pem=ca_pem)
