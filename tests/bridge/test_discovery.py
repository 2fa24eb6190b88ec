"""Discovery over real multicast: on loopback, and on switches made of network namespaces."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from ipaddress import ip_interface
from pathlib import Path

import pytest

from overlay_edge.bridge.discovery import Discovery
from overlay_edge.bridge.lan import About, Audience
from overlay_edge.bus import Bus, NodeGone, NodeSeen, Topic
from overlay_edge.config import DiscoveryConfig
from overlay_edge.host.journal import Journal
from overlay_edge.host.network import Link, read_links
from overlay_edge.proto.beacon import SERVICE, Beacon
from overlay_edge.proto.nearby import MAX_NODES
from tests.support.dns import flood
from tests.support.lan import Switch, has_namespaces, switch

A, B, C = "a" * 16, "b" * 16, "c" * 16
PATIENCE_S = 30
needs_namespaces = pytest.mark.skipif(
    not has_namespaces(), reason="network namespaces need root and iproute2"
)


class Mesh:
    """Remembers whom it was told of."""

    def __init__(self) -> None:
        self.peers: set[tuple[str, str]] = set()

    def add_peer(self, addr: str, origin: str, fingerprint: str) -> None:
        self.peers.add((addr, origin))

    def remove_peer(self, addr: str, origin: str) -> None:
        self.peers.remove((addr, origin))


class Local:
    """One discovery in this process."""

    def __init__(self, node: str, port: int, **config: object) -> None:
        self.mesh = Mesh()
        self.bus = Bus()
        self.events = self.bus.subscribe(Topic.OVERLAY)
        self.reasons: list[str] = []
        self.lines: list[bytes] = []
        self.links: tuple[Link, ...] | None = None
        self.about = About(
            Beacon(node, node * 4, True), "", f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        )
        settings = {"enabled": True, "announce": True, "interfaces": ("lo",)} | config
        self.discovery = Discovery(
            DiscoveryConfig(**settings),  # type: ignore[arg-type]
            lambda: self.about,
            audience=Audience(self.mesh, self.bus, Journal("debug", self.lines.append)),
            tell=self.reasons.append,
            late_s=0.0,
            kept_bytes=4096,
            links=lambda wanted: read_links(wanted) if self.links is None else self.links,
        )

    def records(self, name: str) -> int:
        """How many the library keeps of one name."""
        zc = self.discovery._zc
        return len(zc.zeroconf.cache.async_entries_with_name(name)) if zc is not None else 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Local"]:
        task = asyncio.create_task(self.discovery.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@pytest.mark.slow
async def test_two_find_each_other_and_part_with_a_goodbye() -> None:
    async with Local(A, 41_000).running() as one:
        async with Local(B, 42_000).running() as two:
            await until(lambda: one.mesh.peers and two.mesh.peers)
            assert one.mesh.peers == {("127.0.0.1:42000", "lan")}
            assert two.mesh.peers == {("127.0.0.1:41000", "lan")}
            assert await anext(one.events) == NodeSeen(B, "127.0.0.1:42000")
            assert one.discovery.sightings.nodes == 1
            await until(lambda: one.reasons[-1] == "")
        await until(lambda: not one.mesh.peers)
        assert await anext(one.events) == NodeGone(B, "127.0.0.1:42000")
    assert f'"name":"overlay-{"a" * 6}.local"'.encode() in b"".join(one.lines)


@pytest.mark.slow
async def test_in_a_panic_it_says_goodbye_without_waiting() -> None:
    async with Local(A, 41_000).running() as one, Local(B, 42_000).running() as two:
        await until(lambda: one.mesh.peers)
        two.discovery.leave()
        await until(lambda: not one.mesh.peers)
        two.discovery.leave()  # panic may come twice


@pytest.mark.slow
async def test_what_others_say_is_forgotten_when_it_is_much_but_not_who_is_there() -> None:
    async with Local(A, 41_000, announce=False).running() as one:
        async with Local(B, 42_000, enabled=False).running():
            await until(lambda: one.mesh.peers)
            flood("127.0.0.1", "_other._tcp.local.", 12)  # 480 names in 15 KiB
            await until(lambda: one.records("_other._tcp.local."))
            await until(lambda: 0 < one.records("_other._tcp.local.") <= 200)
            assert one.records(SERVICE)
        await until(lambda: not one.mesh.peers)  # its goodbye was heard


@pytest.mark.slow
async def test_who_only_looks_tells_nothing() -> None:
    async with (
        Local(A, 41_000, announce=False).running() as one,
        Local(B, 42_000, enabled=False).running() as two,
    ):
        await until(lambda: one.mesh.peers)
        assert one.discovery.sightings.announcements == 0
        assert not two.mesh.peers


@pytest.mark.slow
async def test_a_renewed_certificate_is_told() -> None:
    async with (
        Local(A, 41_000, announce=False).running() as one,
        Local(B, 42_000, enabled=False).running() as two,
    ):
        await until(lambda: one.mesh.peers)
        two.about = About(Beacon(B, "cd" * 32, True), "", two.about.oap, two.about.admin)
        two.discovery.look()
        await until(lambda: b"cdcdcd" in b"".join(one.lines))


async def test_without_a_network_it_says_so_and_waits() -> None:
    async with Local(A, 41_000, interfaces=("eth77",)).running() as one:
        await until(lambda: one.reasons)
        assert one.reasons == ["eth77: not there, down, or without an address"]
    async with Local(A, 41_000, interfaces=()).running() as one:
        one.links = ()
        await until(lambda: one.reasons)
        assert one.reasons[-1] == "no interface is up and has an address"


@pytest.mark.slow
async def test_a_network_that_comes_late_or_again_is_used() -> None:
    one = Local(A, 41_000)
    one.links = ()
    async with one.running(), Local(B, 42_000, enabled=False).running():
        await until(lambda: one.reasons)
        one.links = None
        one.discovery.look()
        await until(lambda: one.mesh.peers)
        one.links = ()
        one.discovery.look()
        await until(lambda: not one.mesh.peers)
        one.links = None
        one.discovery.look()
        await until(lambda: one.mesh.peers)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # zeroconf's socket
async def test_an_interface_that_cannot_be_used_is_told_and_tried_again() -> None:
    one = Local(A, 41_000)
    one.links = (Link("x", 99, (ip_interface("203.0.113.9/24"),)),)
    async with one.running():
        await until(lambda: one.reasons)
        one.links = None
        one.discovery.look()
        await until(lambda: one.reasons[-1] == "")


@pytest.mark.slow
async def test_a_node_that_nobody_can_reach_says_why_it_is_not_told() -> None:
    one = Local(A, 41_000)
    one.links = (Link("lo", 1, (ip_interface("127.0.0.1/8"),)),)
    one.about = About(one.about.beacon, "", "127.0.0.2:9444", "127.0.0.2:9600")
    async with one.running():
        await until(lambda: one.reasons)
        await until(lambda: one.reasons[-1])
        assert one.reasons[-1] == (
            "oap.addr is 127.0.0.2:9444: it cannot be reached on any interface"
        )
        assert one.discovery.sightings.announcements == 0
        assert len(one.reasons) < 20  # it waits for something to change


# -- switches ----------------------------------------------------------------------------------


@pytest.fixture
def three() -> Iterator[Switch]:
    with switch(3) as made:
        yield made


@pytest.mark.slow
@needs_namespaces
def test_three_machines_find_each_other_and_twins_get_different_names(three: Switch) -> None:
    for number in (1, 2, 3):
        three.address(number)
    nodes = [three.start(n, node, "overlay-123456") for n, node in enumerate((A, B, C), 1)]
    for number, node in enumerate(nodes, 1):
        for other in {1, 2, 3} - {number}:
            wait(lambda n=node, o=other: n.said("added", f"10.77.0.{o}:9444"))  # type: ignore[misc]
    # Who loses a name in the end has told it first: nothing is settled before all have told twice.
    wait(lambda: len({n.last("name") for n in nodes} - {""}) == 3)
    wait(lambda: all(int(str(n.last("announcements"))) >= 2 for n in nodes))
    names = {str(node.last("name")): number for number, node in enumerate(nodes, 1)}
    assert {"overlay-123456.local", "overlay-123456-2.local"} <= names.keys()
    for name, number in names.items():
        asker = number % 3 + 1
        ask = ("resolve", name, f"10.77.0.{asker}")
        done = three.run(asker, sys.executable, "-m", "tests.support.dns", *ask)
        assert json.loads(done.stdout) == [f"10.77.0.{number}"], done.stderr


@pytest.mark.slow
@needs_namespaces
def test_who_has_a_name_keeps_it_when_a_twin_with_a_higher_address_comes(three: Switch) -> None:
    three.address(1), three.address(2)
    first = three.start(1, A, "overlay-123456")
    wait(lambda: first.last("announcements") == 2)
    second = three.start(2, B, "overlay-123456")
    wait(lambda: second.last("name"))
    assert second.last("name") == "overlay-123456-2.local"
    assert first.last("name") == "overlay-123456.local"
    assert first.last("conflicts") == 0


@pytest.mark.slow
@needs_namespaces
@pytest.mark.skipif(
    not shutil.which("avahi-daemon"), reason="not installed: apt-get install avahi-daemon"
)
@pytest.mark.parametrize("is_first", [True, False], ids=["it_comes_later", "it_was_there"])
def test_a_responder_that_is_not_ours_keeps_its_name_or_gets_another(
    three: Switch, ram_path: Path, is_first: bool
) -> None:
    conf = ram_path / "avahi.conf"
    conf.write_text("[server]\nhost-name=overlay-123456\nuse-ipv6=no\nenable-dbus=no\n")
    three.address(1), three.address(2)
    flags = ("--no-drop-root", "--no-rlimits", "--no-chroot", "-f", str(conf))
    wanted = "overlay-123456.local" if is_first else "overlay-123456-2.local"
    with ExitStack() as stack:
        if is_first:
            node = three.start(2, A, "overlay-123456")
            wait(lambda: node.last("announcements") == 2)
        lines = stack.enter_context(three.running(1, "avahi-daemon", *flags))
        if not is_first:
            wait(lambda: any("startup complete" in line for line in lines))
            node = three.start(2, A, "overlay-123456")
        else:
            wait(lambda: any("Host name is overlay-123457.local" in line for line in lines))
        wait(lambda: node.last("name"))
        assert node.last("name") == wanted


@pytest.mark.slow
@needs_namespaces
@pytest.mark.skipif(not shutil.which("dig"), reason="not installed: apt-get install bind9-dnsutils")
def test_a_resolver_that_is_not_ours_finds_the_name_and_the_node(three: Switch) -> None:
    three.address(1), three.address(2)
    node = three.start(1, A, "overlay-123456")
    wait(lambda: node.last("announcements"))

    def dig(*argv: str) -> str:
        return three.run(2, "dig", "@10.77.0.1", "-p", "5353", "+short", *argv).stdout.strip()

    assert dig("overlay-123456.local") == "10.77.0.1"
    assert dig(SERVICE, "PTR") == f"{A}.{SERVICE}"
    assert dig(f"{A}.{SERVICE}", "SRV") == "0 0 9444 overlay-123456.local."
    assert f'"fp={A * 4}"' in dig(f"{A}.{SERVICE}", "TXT")
    assert dig("_http._tcp.local", "PTR") == "overlay-123456._http._tcp.local."


@pytest.mark.slow
@needs_namespaces
def test_a_machine_that_vanishes_is_forgotten_and_one_that_leaves_at_once(three: Switch) -> None:
    for number in (1, 2, 3):
        three.address(number)
    watcher = three.start(1, A, announce=False, lifetime_s=4.0)
    vanishing, leaving = three.start(2, B), three.start(3, C)
    wait(lambda: watcher.last("nodes") == 2)
    leaving.leave()
    wait(lambda: watcher.said("removed", "10.77.0.3:9444"))
    assert not watcher.said("removed", "10.77.0.2:9444")
    vanishing.kill()
    wait(lambda: watcher.said("removed", "10.77.0.2:9444"))


@pytest.mark.slow
@needs_namespaces
def test_an_address_that_comes_late_is_noticed_by_the_kernels_bell(three: Switch) -> None:
    node, other = three.start(1, A, "overlay-123456"), three.start(2, B, "overlay-abcdef")
    wait(lambda: str(node.last("reason")).startswith("no interface is up"))
    began = time.monotonic()
    three.address(1), three.address(2)
    wait(lambda: node.said("added", "10.77.0.2:9444") and other.said("added", "10.77.0.1:9444"))
    assert time.monotonic() - began < 9  # well before the next look would have been


@pytest.mark.slow
@needs_namespaces
def test_a_flood_of_nodes_that_are_not_there_is_bounded(three: Switch) -> None:
    for number in (1, 2, 3):
        three.address(number)
    node = three.start(1, A)
    wait(lambda: node.last("announcements"))
    before = int(str(node.last("rss_kib")))
    names = ("-m", "tests.support.dns", "flood", "10.77.0.3", SERVICE, "20000")
    done = three.run(3, sys.executable, *names)
    assert not done.returncode, done.stderr
    honest = three.start(2, B)
    wait(lambda: node.said("added", "10.77.0.2:9444"))
    assert honest.process.poll() is None
    assert int(str(node.last("nodes"))) <= MAX_NODES
    refused = node.last("refused")
    assert isinstance(refused, dict)
    assert refused["flood"] > 10_000
    print("flood: KiB more:", int(str(node.last("rss_kib"))) - before, refused)
