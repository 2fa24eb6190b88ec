"""Context: what TLS a connection may negotiate, and who we are in it.

TLS 1.3 only, one ALPN, no resumption. A node of the mesh asks whoever dials for a certificate,
too: any will do, as a node's id is nothing but the hash of a certificate whose key it has.
"""

from OpenSSL import SSL
from OpenSSL._util import lib as _lib

from overlay_edge.config import PqMode
from overlay_edge.errors import IdentityError, TransportError
from overlay_edge.net.held import Held
from overlay_edge.net.identity import make_ephemeral

ALPN = b"ron/oap1"
Context = SSL.Context
GROUPS = {
    PqMode.HYBRID: b"X25519MLKEM768:X25519:P-256",
    PqMode.CLASSICAL: b"X25519:P-256",
}
# AES first only where the processor has instructions for it: without, ChaCha20 takes a
# quarter of the work. A client that puts ChaCha20 first gets it either way.
SUITES_WITH_AES = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
SUITES_WITHOUT_AES = b"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
# Values of openssl/ssl.h that pyOpenSSL has no name for.
OP_PRIORITIZE_CHACHA = 1 << 21
# What a dialling node may prove itself with: the kinds of key a node may have. Others, such as
# RSA of 16384 bits, cost us more than they cost who shows them.
SIGNATURES = b"ECDSA+SHA256:ed25519"
MODE_ENABLE_PARTIAL_WRITE = 0x1
MODE_RELEASE_BUFFERS = 0x10


def server_context(
    identity: Held, pq_mode: PqMode, *, has_aes: bool, asks: bool = False
) -> SSL.Context:
    """Build the listening side's context.

    Args:
        identity: What it shows.
        pq_mode: Key exchanges.
        has_aes: The processor has instructions for AES.
        asks: Whoever dials may show a certificate, too. Any will do: the handshake proves that
            its key is there, which is all that a node's id says.

    Raises:
        IdentityError: OpenSSL does not take a setting or the identity.
    """
    context = _context(SSL.TLS_SERVER_METHOD, pq_mode, has_aes)
    _show(context, identity)
    context.set_alpn_select_callback(_select_alpn)
    if asks:
        context.set_verify(SSL.VERIFY_PEER, _take_any)
        context.set_verify_depth(0)
        if _lib.SSL_CTX_set1_sigalgs_list(context._context, SIGNATURES) != 1:
            _lib.ERR_clear_error()
            raise IdentityError(f"this OpenSSL does not know {SIGNATURES.decode()}")
    return context


def client_context(pq_mode: PqMode, *, has_aes: bool, identity: Held | None = None) -> SSL.Context:
    """Build the dialling side's context. The peer is judged after the handshake, by its owner.

    Args:
        pq_mode: Key exchanges.
        has_aes: The processor has instructions for AES.
        identity: Shown to a listener that asks; None = it is told nothing.

    Raises:
        IdentityError: OpenSSL does not take the identity.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, pq_mode, has_aes)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([ALPN])
    if identity is not None:
        _show(context, identity)
    return context


def _show(context: SSL.Context, identity: Held) -> None:
    try:
        context.use_certificate(identity.chain[0])
        for certificate in identity.chain[1:]:
            context.add_extra_chain_cert(certificate)
        if _lib.SSL_CTX_use_PrivateKey(context._context, identity.key) != 1:
            _lib.ERR_clear_error()
            raise IdentityError("TLS identity: the key is not the certificate's")
        context.check_privatekey()
    except SSL.Error as error:
        raise IdentityError(f"TLS identity: {reason_of(error)}") from error


def _take_any(_: SSL.Connection, __: object, ___: int, ____: int, _____: int) -> bool:
    return True


def _context(method: int, pq_mode: PqMode, has_aes: bool) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_NO_COMPRESSION
        | OP_PRIORITIZE_CHACHA
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tls13_ciphersuites(SUITES_WITH_AES if has_aes else SUITES_WITHOUT_AES)
    _set_groups(context, GROUPS[pq_mode])
    # Before the first connection: one send encrypts a whole frame, and an idle connection
    # holds no record buffers.
    context.clear_mode(MODE_ENABLE_PARTIAL_WRITE)
    context.set_mode(MODE_RELEASE_BUFFERS)
    return context


def _set_groups(context: SSL.Context, groups: bytes) -> None:
    """Name the key exchanges; pyOpenSSL has no public call for it.

    The library answers 0 for a name it does not know and silently keeps its default, which
    is why the answer is checked here and the result again in :func:`self_test`.
    """
    if _lib.SSL_CTX_set1_curves_list(context._context, groups) != 1:
        _lib.ERR_clear_error()
        raise IdentityError(f"this OpenSSL does not know the groups {groups.decode()}")


def _select_alpn(_: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN not in offered:
        raise TransportError("application protocol")  # OpenSSL turns it into the fatal alert
    return ALPN


def self_test(pq_mode: PqMode, *, has_aes: bool) -> None:
    """Shake hands with ourselves in memory and look at what came out.

    Raises:
        IdentityError: The group or the suite is not the one asked for.
    """
    server = SSL.Connection(server_context(Held(make_ephemeral()), pq_mode, has_aes=has_aes), None)
    client = SSL.Connection(client_context(pq_mode, has_aes=has_aes), None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):  # TLS 1.3 needs three flights
        for here, there in ((client, server), (server, client)):
            try:
                here.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                raise IdentityError(f"TLS self-test: {reason_of(error)}") from error
            if data := drain(here):
                there.bio_write(data)
    wanted_group = GROUPS[pq_mode].split(b":")[0].decode()
    wanted_suite = (SUITES_WITH_AES if has_aes else SUITES_WITHOUT_AES).split(b":")[0].decode()
    group, suite = server.get_group_name() or "none", server.get_cipher_name() or "none"
    if group.lower() != wanted_group.lower() or suite != wanted_suite:
        raise IdentityError(
            f"TLS self-test: negotiated {group} with {suite},"
            f" expected {wanted_group} with {wanted_suite}"
        )


def drain(connection: SSL.Connection) -> bytes:
    """Take all ciphertext that waits to be sent."""
    parts = []
    try:
        while True:
            parts.append(connection.bio_read(1 << 17))
    except SSL.WantReadError:
        return b"".join(parts)


def reason_of(error: SSL.Error) -> str:
    """OpenSSL's words for an error, or a plain one when it has none."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(reasons[0][2]) if reasons else "connection ended in the handshake"
