"""Certificate: who this node is in TLS, and the context that new connections get."""

from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from overlay_edge.config import PqMode, TlsConfig
from overlay_edge.errors import IdentityError
from overlay_edge.host.files import read_private, read_public
from overlay_edge.net.context import Context, client_context, self_test, server_context
from overlay_edge.net.held import Held
from overlay_edge.net.identity import make_ephemeral, read_identity
from overlay_edge.net.stream import node_id


class Shown(NamedTuple):
    """What is shown to others.

    Attributes:
        context: Of connections that come.
        fingerprint: SHA-256 of the certificate, lower-case hex.
        dialling: Of connections to other nodes: it shows the same certificate.
        node: The node's id in the mesh.
    """

    context: Context
    fingerprint: str
    dialling: Context
    node: bytes


class Certificate:
    """Makes what is shown, at the start and again at each reload.

    Args:
        has_aes: The processor has instructions for AES.
        asks: Who dials is asked for a certificate: this node takes part in the mesh.
    """

    def __init__(self, *, has_aes: bool, asks: bool = False) -> None:
        self._has_aes = has_aes
        self._asks = asks
        self._ephemeral: Held | None = None
        self._shown: Shown | None = None

    @property
    def context(self) -> Context:
        """What the next connection gets."""
        return self.shown.context

    @property
    def shown(self) -> Shown:
        """What is in force."""
        if self._shown is None:
            raise IdentityError("there is no TLS identity yet")
        return self._shown

    def prepare(self, config: TlsConfig, pq_mode: PqMode) -> Shown:
        """Read, test and build; nothing is in force before :meth:`show`.

        Raises:
            IdentityError: Certificate, key or library cannot be used.
        """
        identity = self._identity(config)
        self_test(pq_mode, has_aes=self._has_aes)
        has_aes = self._has_aes
        context = server_context(identity, pq_mode, has_aes=has_aes, asks=self._asks)
        dialling = client_context(pq_mode, has_aes=has_aes, identity=identity)
        node = node_id(identity.chain[0].public_bytes(Encoding.DER))
        return Shown(context, identity.fingerprint, dialling, node)

    def show(self, shown: Shown) -> None:
        """Use it for every connection from now on; open ones keep theirs."""
        self._shown = shown

    def forget(self) -> None:
        """Let go of it. The key is overwritten with the last connection that uses it."""
        self._shown = None
        self._ephemeral = None

    def _identity(self, config: TlsConfig) -> Held:
        if not config.cert:
            # One for the life of the process: a reload must not break every pin.
            self._ephemeral = self._ephemeral or Held(make_ephemeral())
            return self._ephemeral
        chain = read_public("tls.cert", config.cert)
        with read_private("tls.key", config.key) as key:
            return Held(read_identity(chain, key, cert=config.cert, key=config.key))
