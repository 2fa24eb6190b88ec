"""A few real nodes in one loop, which form a mesh over real TLS on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from overlay_edge.config import Config, TlsConfig
from overlay_edge.mesh import MeshPort
from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.subscriptions import Subscription
from tests.support.edge import LOCAL, Edge, edge

WAIT_S = 10.0
# The shortest allowed: what is missing is a gap three seconds later.
GOSSIP = replace(LOCAL.gossip, enabled=True, advertise="127.0.0.1:0", antientropy_s=1.0)
MESHED = replace(LOCAL, gossip=GOSSIP)


def port(running: Edge) -> MeshPort:
    """The node's part of the mesh."""
    assert running.node.view.mesh is not None
    return running.node.view.mesh


def joining(*others: Edge, config: Config = MESHED) -> Config:
    """Settings of a node that joins by these."""
    return replace(config, gossip=replace(config.gossip, peers=tuple(one.oap for one in others)))


@contextlib.asynccontextmanager
async def meshed(size: int, config: Config = MESHED) -> AsyncIterator[list[Edge]]:
    """Nodes that are neighbours of each other."""
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[Edge] = []
        for _ in range(size):
            found = joining(*nodes, config=config)
            nodes.append(await stack.enter_async_context(edge(found)))
        await until(lambda: all(len(port(one).peers()) == size - 1 for one in nodes))
        yield nodes


def identity_in(folder: Path) -> TlsConfig:
    """A certificate and its key in files: a node with it is the same after a restart."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "edge.pem", folder / "edge.key"
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return TlsConfig(cert=str(cert_file), key=str(key_file))


async def until(condition: object) -> None:
    """Wait for a condition that has no bell."""
    assert callable(condition)
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def heard(subscription: Subscription) -> Deliver | Gapped:
    """The next that a subscriber is told."""
    async with asyncio.timeout(WAIT_S):
        return await anext(subscription)
