"""Network: the interfaces of this machine with their addresses, and a bell for when they change.

The bell is the kernel's own (rtnetlink): it rings within a millisecond, and costs nothing while
nothing happens. Looking once a second would do as well, and would wake an idle board 86 400
times a day for what happens twice.
"""

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import NamedTuple

GROUPS = 0x1 | 0x10 | 0x100  # rtnetlink(7): RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR
MAX_INTERFACES = 8  # each is a socket; a machine with more has them named in its settings
MAX_MESSAGE = 65_536


class Link(NamedTuple):
    """One interface that is up.

    Attributes:
        number: The kernel's, which is the zone of its link-local addresses.
        addresses: With their networks, IPv4 first.
    """

    name: str
    number: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]

    def names(self, *, has_v6: bool) -> list[str | int]:
        """What a socket for multicast names it by: an IPv4 address, and for IPv6 its number."""
        v4 = [str(one.ip) for one in self.addresses if one.version == 4]
        is_v6 = has_v6 and any(one.version == 6 for one in self.addresses)
        return [*v4[:1], *([self.number] if is_v6 else [])]


def read_links(wanted: Iterable[str] = ()) -> tuple[Link, ...]:
    """Interfaces that are up and have an address, by name.

    Args:
        wanted: Their names; empty: all that reach neighbours, which is neither loopback nor a
            tunnel.

    Raises:
        OSError: The kernel does not tell.
    """
    import psutil  # type: ignore[import-untyped]

    names = set(wanted)
    stats = psutil.net_if_stats()
    found = []
    for name, entries in sorted(psutil.net_if_addrs().items()):
        flags = stats[name].flags.split(",") if name in stats and stats[name].isup else ["down"]
        is_near = not {"down", "loopback", "pointopoint"} & set(flags)
        if "down" in flags or not (name in names if names else is_near):
            continue
        addresses = [
            ip_interface(f"{entry.address.partition('%')[0]}/{_bits(entry.netmask)}")
            for entry in entries
            if entry.family in (socket.AF_INET, socket.AF_INET6) and entry.netmask
        ]
        if addresses:
            addresses.sort(key=lambda one: (one.version, one.ip))
            found.append(Link(name, socket.if_nametoindex(name), tuple(addresses)))
    return tuple(found[:MAX_INTERFACES])


def _bits(netmask: str) -> int:
    """Length of the prefix that a netmask stands for."""
    family = socket.AF_INET6 if ":" in netmask else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, netmask), "big").bit_count()


class Bell:
    """Readable when an interface or an address came or went; give it to the event loop."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        try:
            self._sock = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            self._sock.bind((0, GROUPS))
        except OSError:  # a sandbox without it: whoever listens looks now and then as well
            self.close()

    def fileno(self) -> int:
        """Its descriptor, or -1: it will never ring."""
        return self._sock.fileno() if self._sock is not None else -1

    def hush(self) -> None:
        """Take what it said: only that it rang is of interest."""
        while self._sock is not None:
            try:
                self._sock.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:  # more happened than it holds: it rang all the same
                    return

    def close(self) -> None:
        """Let go of it."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
