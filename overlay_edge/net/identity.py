"""Identity: who this node is in TLS, as objects in RAM and never as paths.

Without a configured certificate a node makes a new P-256 identity at every start. Peers pin
its fingerprint, so its dates mean nothing: they span all of time, because a board without a
clock starts in 1970.
"""

import datetime
import hashlib
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from overlay_edge.errors import IdentityError, TransportError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
END_OF_TIME = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)  # RFC 5280 4.1.2.5


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain, leaf first, and the leaf's key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    def __repr__(self) -> str:
        return f"<identity {self.fingerprint[:8]}>"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, lower-case hex: what a client pins."""
        return fingerprint_of(self.chain[0])


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's DER form, lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def make_ephemeral() -> Identity:
    """Make a new self-signed P-256 identity."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "overlay-edge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(EPOCH)
        .not_valid_after(END_OF_TIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity((certificate,), key)


def read_identity(cert_pem: bytes, key_pem: bytes, *, cert: str, key: str) -> Identity:
    """Read a configured identity.

    Args:
        cert_pem: Chain, leaf first.
        key_pem: The leaf's key, not encrypted.
        cert: Where the chain came from, for the error.
        key: Where the key came from, for the error.

    Raises:
        IdentityError: Not PEM, a key kind that is too dear for a small board, or the two do
            not belong together.
    """
    try:
        chain = tuple(x509.load_pem_x509_certificates(cert_pem))
    except ValueError:
        raise IdentityError(f"tls.cert: {cert}: expected certificates in PEM") from None
    try:
        private = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"tls.key: {key}: expected an unencrypted private key in PEM") from None
    except UnsupportedAlgorithm:
        raise _wrong_kind(key) from None
    if not isinstance(private, PrivateKey) or (
        isinstance(private, ec.EllipticCurvePrivateKey)
        and not isinstance(private.curve, ec.SECP256R1)
    ):
        raise _wrong_kind(key)
    if not _is_for(chain[0], private):
        raise IdentityError(f"tls.key: {key} is not the key of the first certificate in {cert}")
    return Identity(chain, private)


def _wrong_kind(key: str) -> IdentityError:
    return IdentityError(
        f"tls.key: {key}: expected an ECDSA P-256 or Ed25519 key",
        hint="RSA and P-384 cost a small board two to three times the handshake",
    )


def _is_for(certificate: x509.Certificate, key: PrivateKey) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):  # a kind of key nobody here knows
        return False


def verify_chain(chain: tuple[bytes, ...], ca_pem: bytes, host: str, *, ca: str) -> None:
    """Check that a peer's chain leads to one of our authorities and names the host.

    Args:
        chain: DER, leaf first.
        ca_pem: Trusted authorities in PEM.
        host: Name or IP address that was dialled.
        ca: Where the authorities came from, for the error.

    Raises:
        TransportError: It does not.
        IdentityError: The authorities are not PEM.
    """
    from cryptography.x509 import verification  # only clients with --ca come here

    try:
        authorities = x509.load_pem_x509_certificates(ca_pem)
    except ValueError:
        raise IdentityError(f"{ca}: expected certificates in PEM") from None
    policy = verification.PolicyBuilder().store(verification.Store(authorities))
    try:
        verifier = policy.build_server_verifier(_subject(host))
    except ValueError:
        raise TransportError(f"{host}: no certificate can name such a host") from None
    try:
        leaf, *others = [x509.load_der_x509_certificate(der) for der in chain]
    except ValueError:  # TLS is content with more than this parser
        raise TransportError(f"{host}: its certificates cannot be read") from None
    try:
        verifier.verify(leaf, others)
    except verification.VerificationError as error:
        raise TransportError(f"{host}: certificate not trusted: {error}") from None


def _subject(host: str) -> x509.IPAddress | x509.DNSName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
