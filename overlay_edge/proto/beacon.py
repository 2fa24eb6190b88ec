"""Beacon: what a node tells of itself on the local network, and what is believed of others.

    1f3a5c7e9b0d2f46._overlay-edge._tcp.local   SRV  overlay-123456.local:9444
                                                TXT  id=1f3a5c7e9b0d2f46 v=0.1.0 profile=pi4
                                                     pq=hybrid mesh=1 fp=<64 hex digits>

DNS-SD (RFC 6763). Nothing of it is secret, and nothing of it is proof: whoever is on the link
can say all of this of anybody. What it is good for is to know where to dial; who is there is for
the handshake to find out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import NamedTuple

from overlay_edge.config.values import split_addr

SERVICE = "_overlay-edge._tcp.local."
ADMIN_SERVICE = "_http._tcp.local."
ID_DIGITS = 16  # of the node's id: 64 bits meet by chance in no network
MAX_TXT_BYTES = 1300  # RFC 6763 section 6.2: what fits into one packet
MAX_ADDRESSES = 16  # looked at of one node

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
ANY = {"0.0.0.0": (4,), "::": (4, 6)}  # noqa: S104 - compared, not bound; [::] takes both


@dataclass(frozen=True, slots=True)
class Beacon:
    """What a node tells.

    Attributes:
        node: First digits of its id, in hex.
        fingerprint: SHA-256 of its certificate, 64 hex digits; empty: it does not say.
        has_mesh: It takes part in the mesh: others of it are welcome.
    """

    node: str
    fingerprint: str
    has_mesh: bool = False
    version: str = ""
    profile: str = ""
    pq: str = ""

    def txt(self) -> tuple[tuple[str, str], ...]:
        """The TXT record."""
        return (
            ("id", self.node),
            ("v", self.version),
            ("profile", self.profile),
            ("pq", self.pq),
            ("mesh", str(int(self.has_mesh))),
            ("fp", self.fingerprint),
        )


class Service(NamedTuple):
    """One entry of DNS-SD: what there is to be told of one listener.

    Attributes:
        kind: ``_http._tcp.local.`` and the like.
        instance: Its full name.
        host: The host name, with ``.local.``.
        addresses: Of the host.
    """

    kind: str
    instance: str
    host: str
    port: int
    txt: tuple[tuple[str, str], ...]
    addresses: tuple[Address, ...]


class Claim(NamedTuple):
    """What a node says it is; see :class:`Beacon`."""

    node: str
    fingerprint: str
    has_mesh: bool


def read_txt(data: bytes) -> Claim | None:
    """What is in a TXT record, or None: it is not one of ours, or makes no sense.

    Keys are in any case, the first of each counts (RFC 6763 section 6.4). What a later version
    adds is passed over.
    """
    if len(data) > MAX_TXT_BYTES:
        return None
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            return None
        key, _, value = data[at + 1 : end].partition(b"=")
        found.setdefault(key.lower(), value)
        at = end
    node = _hex(found.get(b"id", b""), ID_DIGITS)
    fingerprint = _hex(found.get(b"fp", b""), 64)
    if not node or (found.get(b"fp") and not fingerprint):
        return None
    return Claim(node, fingerprint, found.get(b"mesh") == b"1")


def _hex(value: bytes, digits: int) -> str:
    is_hex = re.fullmatch(rb"[0-9A-Fa-f]{%d}" % digits, value)
    return value.decode().lower() if is_hex else ""


def is_on_link(address: Address, own: Iterable[Interface]) -> bool:
    """True for who can be reached without a router: in a network that we have a foot in."""
    if address.is_multicast or address.is_unspecified:
        return False
    if address.version == 6 and address.is_link_local:
        return any(interface.version == 6 for interface in own)
    return any(
        address.version == interface.version
        and address in interface.network
        and (address.version == 6 or address != interface.network.broadcast_address)
        for interface in own
    )


def where_to_dial(
    addresses: Iterable[str], port: int | None, own: Sequence[Interface]
) -> str | None:
    """``host:port`` of a node that told all these addresses, newest first.

    Only what is on the link and of a private range: nobody there shall make this node knock at
    a stranger's door. IPv4 before IPv6, and a link-local IPv6 address last, with its zone:
    without one it leads nowhere.

    Args:
        addresses: As told; zones are our own numbers of interfaces.
        port: As told.
        own: This node's addresses with their networks.

    Returns:
        None if none of them may be dialled.
    """
    if not port or not 0 < port <= 65_535:
        return None
    best: tuple[int, str] | None = None
    for text in list(addresses)[:MAX_ADDRESSES]:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if not (address.is_private and is_on_link(address, own)):
            continue
        zone = address.scope_id if isinstance(address, IPv6Address) else None
        if address.version == 4:
            found = (0, f"{address}:{port}")
        elif not address.is_link_local:
            found = (1, f"[{str(address).partition('%')[0]}]:{port}")
        elif zone and re.fullmatch(r"[0-9]{1,9}", zone):
            found = (2, f"[{address}]:{port}")
        else:
            continue
        if best is None or found[0] < best[0]:
            best = found
    return best[1] if best else None


def reachable(host: str, own: Iterable[Interface]) -> list[Address]:
    """Addresses at which a listener answers on these interfaces.

    Args:
        host: Where it listens, without a port: an address of this machine, or all of them.
        own: The interfaces.
    """
    versions = ANY.get(host)
    if versions is not None:
        found = [one.ip for one in own if one.version in versions]
    else:
        found = [one.ip for one in own if str(one.ip) == host]
    return list(dict.fromkeys(found))


def services(
    beacon: Beacon, name: str, oap: str, admin: str, own: Sequence[Interface]
) -> list[Service]:
    """What there is to be told; nothing if nobody outside could come.

    The admin plane is left out where it does not answer at each address of the host, as on
    loopback.

    Args:
        beacon: Of this node.
        name: The host name that is held.
        oap: Where it listens for peers, as bound.
        admin: Where its pages are, as bound.
        own: This machine's addresses with their networks.
    """
    host, port = split_addr(oap)
    addresses = tuple(reachable(host, own)[:MAX_ADDRESSES])
    if not addresses:
        return []
    machine = f"{name}.local."
    node = Service(SERVICE, f"{beacon.node}.{SERVICE}", machine, port, beacon.txt(), addresses)
    host, port = split_addr(admin)
    if not set(reachable(host, own)) >= set(addresses):
        return [node]
    page = (("path", "/status"),)
    return [
        node,
        Service(ADMIN_SERVICE, f"{name}.{ADMIN_SERVICE}", machine, port, page, addresses),
    ]


def is_instance(name: str) -> bool:
    """True for the full name of a node's service: its id, and a number if two have the same."""
    label, _, service = name.lower().partition(".")
    return service == SERVICE and bool(re.fullmatch(r"[0-9a-f]{16}(-[0-9]{1,4})?", label))
