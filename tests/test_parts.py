"""What is taken is given back, in whatever way the node ends."""

import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from overlay_edge.bridge.lan import About
from overlay_edge.bus import Bus
from overlay_edge.config import DEFAULTS, DiscoveryConfig
from overlay_edge.errors import BindError
from overlay_edge.host.journal import Journal
from overlay_edge.node import limits_of
from overlay_edge.parts import bind, open_downstream, open_lan, open_store
from overlay_edge.peers import Peers
from overlay_edge.proto.authority import Authority
from overlay_edge.proto.beacon import Beacon
from overlay_edge.proto.clock import ClockFloor
from overlay_edge.shared import Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import MemfdMedium
from overlay_edge.tally import Tally
from tests.support.witness import watched

STORE = ObjectStore(DEFAULTS.store, MemfdMedium())


class HandFace:
    def about(self) -> About:
        return About(Beacon("a" * 16, ""), "", "127.0.0.1:1", "127.0.0.1:2")

    def set(self, check: str, reason: str = "") -> None:
        raise AssertionError("nothing runs")


async def test_a_socket_is_noted_as_bound_and_closed_with_the_stack() -> None:
    listening: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        sock = bind(stack, "oap.addr", "127.0.0.1:0", listening)
        assert listening == {"oap.addr": f"127.0.0.1:{sock.getsockname()[1]}"}
    assert sock.fileno() < 0


async def test_an_address_in_use_is_told_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with AsyncExitStack() as stack:
            with pytest.raises(BindError, match=r"oap\.addr"):
                bind(stack, "oap.addr", f"127.0.0.1:{port}", {})


async def test_an_exception_wipes_the_store_on_its_way() -> None:
    async def fail() -> None:
        async with AsyncExitStack() as stack:
            store = open_store(stack, DEFAULTS.store, fds=100)
            upload = store.begin(5, None, now=0)
            upload.write(b"hello")
            upload.commit(now=0)
            store.begin(5, None, now=0).write(b"wor")
            raise ZeroDivisionError

    with watched() as witness:
        with pytest.raises(ZeroDivisionError):
            await fail()
        assert sorted(witness.lengths) == [3, 5]


def test_the_local_network_is_a_part_of_who_asks_for_it() -> None:
    shared = Shared(limits_of(DEFAULTS), now=0.0)
    authority = Authority(DEFAULTS.auth, ClockFloor(0.0, 0.0), lambda *_: None)
    peers = Peers(shared, STORE, authority, Tally(), Bus(), Journal("error"))
    face = HandFace()
    assert open_lan(DEFAULTS.discovery, face, peers) is None
    for config in (DiscoveryConfig(enabled=True), DiscoveryConfig(announce=True)):
        assert open_lan(config, face, peers) is not None


def test_services_behind_the_node_are_a_part_of_who_has_any() -> None:
    assert open_downstream(DEFAULTS.downstream, STORE, lambda: None) is None
    config = replace(DEFAULTS.downstream, storage="http://127.0.0.1:1")
    assert open_downstream(config, STORE, lambda: None) is not None
