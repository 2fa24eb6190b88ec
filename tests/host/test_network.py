import socket
from ipaddress import ip_interface

import psutil
import pytest

from overlay_edge.host import network
from overlay_edge.host.network import MAX_INTERFACES, Bell, Link, read_links
from tests.support.lan import has_namespaces, switch


class Entry:
    def __init__(self, address: str, netmask: str | None) -> None:
        self.address = address
        self.netmask = netmask
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET


class Stat:
    def __init__(self, flags: str, *, isup: bool = True) -> None:
        self.flags = flags
        self.isup = isup


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stat]:
    """One with everything: a cable, a bridge without an address, a tunnel, loopback."""
    stats = {
        "lo": Stat("up,loopback,running"),
        "eth0": Stat("up,broadcast,running,multicast"),
        "br0": Stat("up,broadcast,running,multicast"),
        "tun0": Stat("up,pointopoint,running,multicast"),
        "wlan0": Stat("broadcast,multicast", isup=False),
    }
    addresses = {
        "eth0": [Entry("fe80::5%eth0", "ffff:ffff:ffff:ffff::"), Entry("10.0.0.5", "255.255.0.0")],
        "lo": [Entry("127.0.0.1", "255.0.0.0")],
        "tun0": [Entry("10.9.0.5", "255.255.255.255")],
        "wlan0": [Entry("10.8.0.5", "255.255.255.0")],
        "gone0": [Entry("10.7.0.5", "255.255.255.0")],
    }
    monkeypatch.setattr(psutil, "net_if_stats", lambda: stats)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses)
    monkeypatch.setattr(network.socket, "if_nametoindex", lambda name: 7)
    return stats


def test_neighbours_are_on_interfaces_that_are_up(machine: dict[str, Stat]) -> None:
    (link,) = read_links()
    assert (link.name, link.number) == ("eth0", 7)
    assert link.addresses == (ip_interface("10.0.0.5/16"), ip_interface("fe80::5/64"))


def test_it_is_named_by_an_address_and_for_ipv6_by_its_number() -> None:
    both = [ip_interface("10.0.0.5/16"), ip_interface("10.0.0.6/16"), ip_interface("fe80::5/64")]
    assert Link("eth0", 7, tuple(both)).names(has_v6=False) == ["10.0.0.5"]
    assert Link("eth0", 7, tuple(both)).names(has_v6=True) == ["10.0.0.5", 7]
    assert Link("eth0", 7, tuple(both[2:])).names(has_v6=False) == []


def test_interfaces_that_are_named_are_taken_as_they_are(machine: dict[str, Stat]) -> None:
    assert [link.name for link in read_links(["tun0", "lo", "wlan0", "nope"])] == ["lo", "tun0"]


def test_a_cable_that_is_pulled_is_no_interface(machine: dict[str, Stat]) -> None:
    machine["eth0"] = Stat("up,broadcast,multicast", isup=False)
    assert read_links() == ()


def test_there_are_not_more_than_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"eth{n}" for n in range(3 * MAX_INTERFACES)]
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {n: Stat("up") for n in names})
    entries = {name: [Entry("10.0.0.5", "255.0.0.0"), Entry("fe80::1", None)] for name in names}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: entries)
    monkeypatch.setattr(network.socket, "if_nametoindex", lambda name: 7)
    assert len(read_links()) == MAX_INTERFACES


def test_loopback_is_there_on_every_machine() -> None:
    (link,) = read_links(["lo"])
    assert ip_interface("127.0.0.1/8") in link.addresses


@pytest.mark.slow
@pytest.mark.skipif(not has_namespaces(), reason="network namespaces need root and iproute2")
def test_the_bell_rings_when_an_address_comes() -> None:
    with switch(1) as net:
        code = (
            "import select\n"
            "from overlay_edge.host.network import Bell\n"
            "bell = Bell()\n"
            "print('listening', flush=True)\n"
            "assert select.select([bell], [], [], 10)[0]\n"
            "bell.hush()\n"
            "assert not select.select([bell], [], [], 0)[0]\n"
        )
        assert net.address_while(1, code) == 0


def test_a_bell_that_never_rings_can_be_hushed_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise OSError("no netlink here")

    monkeypatch.setattr(network.socket, "socket", refuse)
    bell = Bell()
    assert bell.fileno() == -1
    bell.hush()
    bell.close()


def test_a_bell_is_let_go_of() -> None:
    bell = Bell()
    assert bell.fileno() >= 0
    bell.hush()
    bell.close()
    bell.hush()
    assert bell.fileno() == -1
