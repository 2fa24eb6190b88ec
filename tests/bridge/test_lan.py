import asyncio
import subprocess
import sys
from collections import Counter
from ipaddress import ip_interface
from pathlib import Path

from overlay_edge.bridge.lan import MAX_PACKET_BYTES, About, Audience, Guard, Lan
from overlay_edge.bus import Bus, NodeGone, NodeSeen, Topic
from overlay_edge.config import DiscoveryConfig
from overlay_edge.host.journal import Journal
from overlay_edge.proto.beacon import Beacon
from overlay_edge.proto.nearby import NOTHING_SEEN, Door, Joined, Left

NODE = "a" * 16
PIN = "ab" * 32


def ignore(packet: bytes) -> None:
    """Nobody overhears it."""


class Mesh:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def add_peer(self, addr: str, origin: str, fingerprint: str) -> None:
        self.told.append(("add", addr, fingerprint))

    def remove_peer(self, addr: str, origin: str) -> None:
        self.told.append(("remove", addr, origin))


class Face:
    def about(self) -> About:
        return About(Beacon(NODE, PIN), "", "127.0.0.1:1", "127.0.0.1:2")

    def set(self, check: str, reason: str = "") -> None:
        self.said = (check, reason)


async def test_everybody_is_told_of_who_comes_and_goes() -> None:
    mesh, bus, lines = Mesh(), Bus(), list[bytes]()
    events = bus.subscribe(Topic.OVERLAY)
    audience = Audience(mesh, bus, Journal("info", lines.append))
    audience.tell(Joined("10.0.0.9:9444", NODE, PIN, True))
    audience.tell(Left("10.0.0.9:9444", NODE))
    assert mesh.told == [("add", "10.0.0.9:9444", PIN), ("remove", "10.0.0.9:9444", "lan")]
    assert await anext(events) == NodeSeen(NODE, "10.0.0.9:9444")
    assert await anext(events) == NodeGone(NODE, "10.0.0.9:9444")
    assert b'"event":"node_seen"' in lines[0]
    assert b'"event":"node_gone"' in lines[1]


def test_who_is_not_in_the_mesh_is_not_dialled_by_it() -> None:
    mesh, bus = Mesh(), Bus()
    Audience(mesh, bus, Journal("error")).tell(Joined("10.0.0.9:9444", NODE, PIN, False))
    assert mesh.told == []
    assert bus.published_total == 1


def test_without_a_mesh_they_are_only_shown() -> None:
    bus = Bus()
    audience = Audience(None, bus, Journal("error"))
    audience.tell(Joined("10.0.0.9:9444", NODE, "", True))
    audience.tell(Left("10.0.0.9:9444", NODE))
    assert bus.published_total == 2


def test_packets_from_beyond_the_link_are_not_read() -> None:
    refused: Counter[str] = Counter()
    guard = Guard(refused, ignore)
    assert not guard.admits("10.0.0.9")  # there is no network yet
    guard.own = [ip_interface("10.0.0.1/24"), ip_interface("fe80::1/64")]
    assert guard.admits("10.0.0.9")
    assert guard.admits("fe80::9%2")
    assert not guard.admits("10.0.1.9")
    assert not guard.admits("nonsense")
    assert refused == {"source": 3}


def test_a_packet_that_came_in_pieces_is_not_read() -> None:
    refused: Counter[str] = Counter()
    guard = Guard(refused, ignore)
    guard.own = [ip_interface("10.0.0.1/24")]
    assert guard.admits("10.0.0.9", MAX_PACKET_BYTES)
    assert not guard.admits("10.0.0.9", MAX_PACKET_BYTES + 1)
    assert refused == {"size": 1}
    assert guard.let_in_bytes == MAX_PACKET_BYTES


def test_a_flood_of_one_machine_is_let_in_at_a_walk() -> None:
    refused: Counter[str] = Counter()
    guard = Guard(refused, ignore)
    guard.own = [ip_interface("10.0.0.1/24")]
    admitted = sum(guard.admits("10.0.0.9") for _ in range(1000))
    assert admitted < 2 * Door.PER_SOURCE[1]
    assert refused["flood"] == 1000 - admitted
    assert guard.admits("10.0.0.8")


async def test_who_speaks_is_known_while_a_packet_is_read_and_not_after() -> None:
    overheard: list[bytes] = []
    guard = Guard(Counter(), overheard.append)
    guard.own = [ip_interface("127.0.0.1/8")]
    said: list[tuple[bytes, str]] = []
    came = asyncio.Event()

    class Inner(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            said.append((data, guard.source))
            came.set()
            if data == b"bad":
                raise ValueError("the library does not like it")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    listener, _ = await loop.create_datagram_endpoint(Inner, local_addr=("127.0.0.1", 0))
    guard.watch(listener)
    to = listener.get_extra_info("sockname")
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=to)
    try:
        for data in (b"good", b"bad"):
            came.clear()
            sender.sendto(data)
            await asyncio.wait_for(came.wait(), 5)
            assert said[-1] == (data, "127.0.0.1")
            assert guard.source == ""
            assert overheard[-1] == data
    finally:
        sender.close()
        listener.close()


async def test_who_leaves_before_it_has_begun_does_not_begin() -> None:
    lan = Lan(DiscoveryConfig(enabled=True), Face(), Audience(None, Bus(), Journal("error")))
    assert lan.sightings == NOTHING_SEEN
    lan.leave()
    await lan.run()
    assert lan.sightings == NOTHING_SEEN


def test_nothing_of_the_library_is_loaded_before_it_runs() -> None:
    probe = "import sys, overlay_edge.bridge.lan; print('zeroconf' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
