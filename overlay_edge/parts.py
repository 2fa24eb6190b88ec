"""Parts: what a node takes from the machine before it serves, and gives back at its end."""

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from overlay_edge.certificate import Certificate
from overlay_edge.config import (
    AuditConfig,
    DiscoveryConfig,
    DownstreamConfig,
    GossipConfig,
    MqttConfig,
    StoreConfig,
)
from overlay_edge.config.values import split_addr
from overlay_edge.errors import IdentityError
from overlay_edge.host.clock import wall
from overlay_edge.host.files import read_private
from overlay_edge.host.journal import Journal
from overlay_edge.mesh import MeshPort
from overlay_edge.meshguard import MeshGuard
from overlay_edge.net.listen import listen
from overlay_edge.net.stream import address_of
from overlay_edge.peers import Peers
from overlay_edge.proto.audit import AuditLog
from overlay_edge.proto.capability import Capability, from_text
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import open_medium

if TYPE_CHECKING:
    from overlay_edge.bridge.audit import AuditSink
    from overlay_edge.bridge.lan import Face, Lan
    from overlay_edge.bridge.mqtt_bridge import MqttBridge
    from overlay_edge.bridge.services import Downstream

SPARE_FDS = 64  # listeners, admin connections, the program's own files


def bind(stack: AsyncExitStack, key: str, address: str, listening: dict[str, str]) -> socket.socket:
    """Listen on an address until the stack is left.

    Args:
        stack: Closes it.
        key: The setting it is from.
        address: As it was asked for.
        listening: Where it is noted as bound, by its key.

    Raises:
        BindError: It cannot be had.
    """
    sock = listen(address, *split_addr(address), key)
    stack.callback(sock.close)
    listening[key] = address_of(sock.getsockname())
    return sock


def open_store(stack: AsyncExitStack, config: StoreConfig, *, fds: int) -> ObjectStore:
    """The objects, wiped when the stack is left, however that comes.

    Args:
        stack: Closes it.
        config: Which medium, and how much.
        fds: Descriptors that nobody else needs.

    Raises:
        EdgeError: The medium cannot be had.
    """
    store = ObjectStore(config, open_medium(config, max_blobs=max(1, fds - SPARE_FDS)))
    stack.callback(store.close)
    return store


def open_sink(audit: AuditLog, config: AuditConfig, journal: Journal) -> "AuditSink":
    """Where the audit is sent.

    Raises:
        IdentityError: A file it needs cannot be read.
    """
    from overlay_edge.bridge.audit import make_sink

    return make_sink(audit, config, journal)


def open_lan(config: DiscoveryConfig, face: "Face", peers: Peers) -> "Lan | None":
    """The nodes of the local network; None = they are nothing to this one.

    Args:
        config: Whether they are looked for, and told of this one.
        face: What is told of this one, and who is told how it goes.
        peers: Its links; its mesh, if there is one, is told of those that are found.
    """
    if not (config.enabled or config.announce):
        return None
    from overlay_edge.bridge.lan import Audience, Lan

    return Lan(config, face, Audience(peers.mesh, peers.bus, peers.journal))


def open_downstream(
    config: DownstreamConfig, store: ObjectStore, look: Callable[[], None]
) -> "Downstream | None":
    """The services behind the node; None = there are none.

    Raises:
        IdentityError: A file it needs cannot be read.
    """
    if not (config.storage or config.mailbox):
        return None
    from overlay_edge.bridge.services import Downstream

    return Downstream(config, store, look)


def open_mesh(
    config: GossipConfig, certificate: Certificate, listening: str, peers: Peers
) -> MeshPort | None:
    """This node's part of the mesh; None = it takes no part.

    Args:
        config: Of the mesh.
        certificate: Who this node is.
        listening: Where it accepts links, as bound.
        peers: Its links.

    Raises:
        IdentityError: The capability cannot be read.
    """
    if not config.enabled:
        return None
    host, _, port = config.advertise.rpartition(":")
    if port == "0":
        port = listening.rpartition(":")[2]
    return MeshPort(
        config,
        certificate.shown,
        addr=f"{host}:{port}" if host else "",
        guard=_make_guard(config, peers),
        store=peers.store,
        connect=peers.dial,
        turn_out=peers.turn_out,
        bus=peers.bus,
        journal=peers.journal,
        dice=random.random,
    )


def open_mqtt(
    stack: AsyncExitStack,
    config: MqttConfig,
    certificate: Certificate,
    peers: Peers,
    on_change: Callable[[str], None],
) -> "MqttBridge | None":
    """The bridge to a broker; None = there is none.

    Args:
        stack: Closes it.
        config: Of the bridge.
        certificate: Who this node is.
        peers: Its mesh, bus, journal and audit.
        on_change: Told why the broker is not there; empty = it is.

    Raises:
        IdentityError: A file it needs cannot be read.
        ConfigError: What is in it cannot be used.
    """
    if not config.url:
        return None
    from overlay_edge.bridge.mqtt_parts import make_bridge
    from overlay_edge.bridge.telemetry import Teller
    from overlay_edge.proto.telemetry import Telemetry

    telemetry = teller = None
    audit = peers.audit
    if config.telemetry and audit is not None:
        telemetry = Telemetry(
            audit.boot, max_items=config.backlog_messages, max_bytes=config.backlog_bytes
        )
        teller = Teller(telemetry, peers.bus, audit, peers.journal, sleep=asyncio.sleep, wall=wall)
    bridge = make_bridge(
        config,
        peers.mesh if config.out_topics or config.in_topics else None,
        telemetry=telemetry,
        tell=teller.run if teller is not None else None,
        name=certificate.shown.node.hex()[:16],
        journal=peers.journal,
        on_change=on_change,
    )
    stack.callback(bridge.close)
    return bridge


def _make_guard(config: GossipConfig, peers: Peers) -> MeshGuard:
    """Who is let into the mesh, with the capability and key that `ronctl cap` has written."""
    if not config.cap:
        return MeshGuard(peers.authority)
    with read_private("gossip.cap", config.cap) as secret, secret.reveal() as text:
        words = bytes(text).split()
    try:
        cap = Capability(from_text(words[0].decode("ascii")))
    except (IndexError, ValueError):
        raise IdentityError(f"gossip.cap: {config.cap}: expected a capability") from None
    sign = _read_sign(config.cap_key) if config.cap_key else None
    return MeshGuard(peers.authority, cap, sign)


def _read_sign(path: str) -> Callable[[bytes], bytes]:
    """What signs with the private key in a file."""
    with read_private("gossip.cap_key", path) as secret, secret.reveal() as text:
        try:
            key = load_pem_private_key(text, None)
        except (ValueError, TypeError):
            key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"gossip.cap_key: {path}: expected an unencrypted Ed25519 key in PEM")
    return key.sign
