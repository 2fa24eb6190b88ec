"""LAN: what discovery is given, whom it tells, who stands at its door, and when it is loaded.

Nothing here knows a packet: that is :mod:`overlay_edge.bridge.discovery`.
"""

import asyncio
import ctypes.util
import importlib
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from overlay_edge.bus import Bus, NodeGone, NodeSeen
from overlay_edge.config import DiscoveryConfig
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.proto.beacon import Beacon, Interface, is_on_link
from overlay_edge.proto.nearby import NOTHING_SEEN, Door, Joined, Left, Sightings

if TYPE_CHECKING:
    from overlay_edge.bridge.discovery import Discovery

ORIGIN = "lan"
MAX_PACKET_BYTES = 1500  # more comes in fragments, and says nothing that one node has to say


class MeshPort(Protocol):
    """What the mesh takes from here."""

    def add_peer(self, addr: str, origin: str, fingerprint: str) -> None:
        """Somebody may be there, with this certificate; empty: nobody says."""
        ...  # pragma: no cover

    def remove_peer(self, addr: str, origin: str) -> None:
        """Nobody says so any more."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class About:
    """This node as of now.

    Attributes:
        beacon: What it tells.
        machine: The machine's host name.
        oap: Where it listens for peers, as bound.
        admin: Where its pages are.
    """

    beacon: Beacon
    machine: str
    oap: str
    admin: str


class Face(Protocol):
    """What a node shows to its neighbours, and who is told how that goes."""

    def about(self) -> About:
        """This node as of now."""
        ...  # pragma: no cover

    def set(self, check: str, reason: str = "") -> None:
        """Takes why the check does not hold; empty = it does."""
        ...  # pragma: no cover


class Audience:
    """Everybody who is told of other nodes.

    Args:
        mesh: Dials them; None = they are only shown.
        bus: For who listens.
        journal: For operators.
    """

    def __init__(self, mesh: MeshPort | None, bus: Bus, journal: Journal) -> None:
        self._mesh = mesh
        self._bus = bus
        self._journal = journal

    def tell(self, news: Joined | Left) -> None:
        """A node came, or went."""
        match news:
            case Joined(addr, node, fingerprint, has_mesh):
                self._journal.info("node_seen", node=node, addr=addr, fingerprint=fingerprint)
                self._bus.publish(NodeSeen(node, addr))
                if self._mesh is not None and has_mesh:
                    self._mesh.add_peer(addr, ORIGIN, fingerprint)
            case Left(addr, node):
                self._journal.info("node_gone", node=node, addr=addr)
                self._bus.publish(NodeGone(node, addr))
                if self._mesh is not None:
                    self._mesh.remove_peer(addr, ORIGIN)

    def named(self, name: str) -> None:
        """The machine has a name."""
        self._journal.info("discovery_name", name=f"{name}.local")

    def contested(self, name: str) -> None:
        """Another machine has it."""
        self._journal.warning("discovery_conflict", reason=f"{name}.local")


class Lan:
    """Discovery, loaded when it begins to run: that is after the node serves.

    Args:
        config: What it is to do.
        face: This node's.
        audience: Told of other nodes.
    """

    def __init__(self, config: DiscoveryConfig, face: Face, audience: Audience) -> None:
        self._config = config
        self._face = face
        self._audience = audience
        self._discovery: Discovery | None = None
        self._is_over = False

    @property
    def sightings(self) -> Sightings:
        """What it has done."""
        return self._discovery.sightings if self._discovery is not None else NOTHING_SEEN

    async def run(self) -> None:
        """Go on until cancelled, or until it is to leave."""
        # A tenth of a second on a small board: in a thread, so that no session stands still.
        module = await asyncio.to_thread(importlib.import_module, "overlay_edge.bridge.discovery")
        if self._is_over:
            return
        self._discovery = module.Discovery(
            self._config,
            self._face.about,
            audience=self._audience,
            tell=partial(self._face.set, "discovery"),
        )
        await self._discovery.run()

    def leave(self) -> None:
        """Say goodbye and end, without waiting for anything."""
        self._is_over = True
        if self._discovery is not None:
            self._discovery.leave()


class Guard:
    """Lets packets in: of neighbours, and not too many.

    Args:
        refused: Where it counts, by reason.
        overhear: Takes each packet that is let in.

    Attributes:
        own: This machine's addresses with their networks; nobody is near without any.
        overhear: As given.
        source: Whose packet is being read; empty between packets.
        let_in_bytes: How much was let in since somebody set it back.
    """

    def __init__(self, refused: Counter[str], overhear: Callable[[bytes], None]) -> None:
        self.own: Sequence[Interface] = ()
        self.source = ""
        self.let_in_bytes = 0
        self._refused = refused
        self.overhear = overhear
        self._door = Door(now=monotonic())

    def admits(self, source: str, size: int = 0) -> bool:
        """Say whether a packet of this address is looked at (RFC 6762 section 11)."""
        try:
            is_near = is_on_link(ipaddress.ip_address(source), self.own)
        except ValueError:
            is_near = False
        if not is_near:
            reason = "source"
        elif size > MAX_PACKET_BYTES:
            reason = "size"
        elif self._door.admits(source, now=monotonic()):
            self.let_in_bytes += size
            return True
        else:
            reason = "flood"
        self._refused[reason] += 1
        return False

    def watch(self, transport: asyncio.DatagramTransport) -> None:
        """Stand before the protocol of a transport, which would parse whatever comes."""
        transport.set_protocol(_Doorkeeper(self, transport.get_protocol()))


class _Doorkeeper(asyncio.DatagramProtocol):
    """One socket's protocol behind its guard."""

    def __init__(self, guard: Guard, inner: Any) -> None:
        self._guard = guard
        self._inner = inner

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """A packet came."""
        if not self._guard.admits(addr[0], len(data)):
            return
        self._guard.overhear(data)
        self._guard.source = addr[0]
        try:
            self._inner.datagram_received(data, addr)
        finally:
            self._guard.source = ""

    def error_received(self, exc: Exception) -> None:
        """A packet could not be sent: the network went away, which the next look finds out."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._inner.connection_lost(exc)


def silence(interfaces: Sequence[str]) -> str:
    """Why nothing can be heard, for who has asked for these interfaces."""
    if interfaces:
        return f"{', '.join(interfaces)}: not there, down, or without an address"
    return "no interface is up and has an address"


@contextmanager
def no_programs() -> Iterator[None]:
    """While zeroconf's ifaddr is imported, it runs `ldconfig` or a compiler to find the C library.

    Which is in this process already: that is what no name stands for.
    """
    before = ctypes.util.find_library
    ctypes.util.find_library = lambda _name: None  # type: ignore[assignment]
    try:
        yield
    finally:
        ctypes.util.find_library = before
