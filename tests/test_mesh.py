"""Two and three nodes over real TLS: what is heard, what is refused, and what is told when lost."""

import asyncio
import io
import json
import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from overlay_edge.client import connect
from overlay_edge.config import AuthMode
from overlay_edge.errors import EdgeError, Refused
from overlay_edge.gossip_client import publish, subscribe
from overlay_edge.host.board import read_machine
from overlay_edge.host.clock import wall
from overlay_edge.net.context import client_context
from overlay_edge.net.held import Held
from overlay_edge.net.identity import make_ephemeral
from overlay_edge.net.tls import TlsStream
from overlay_edge.peer import Called
from overlay_edge.proto.capability import Capability, Grant, Op
from overlay_edge.proto.effects import Accepted, Deliver, Gapped, Queued, Shed
from overlay_edge.proto.frame import App
from overlay_edge.proto.gossip_codec import encode
from overlay_edge.proto.gossip_message import Join
from overlay_edge.proto.lane import LANE_BYTES
from tests.support.edge import LOCAL, Edge, edge
from tests.support.meshed import (
    GOSSIP,
    MESHED,
    heard,
    identity_in,
    joining,
    meshed,
    port,
    until,
)
from tests.support.mint import Site


def publisher(site: Site, topic: str) -> Capability:
    """May publish there."""
    grant = Grant(rights={Op.PUBLISH: ("",)}, topics=(topic,))
    return Capability(site.mint(grant, issued=wall()))


async def test_what_one_node_publishes_another_delivers_with_its_number() -> None:
    async with meshed(2) as (one, two):
        subscription = port(two).subscribe("site/heat")
        outcome = port(one).publish("site/heat", b"21 degrees")
        assert isinstance(outcome, Accepted)
        event = await heard(subscription)
        assert isinstance(event, Deliver)
        assert (event.data, event.seq, event.publisher) == (b"21 degrees", 1, port(one).id)
        (stream,) = port(two).ledger()
        assert (stream["published"], stream["delivered"], stream["pending"]) == (1, 1, 0)


async def test_a_node_alone_keeps_what_it_publishes_for_who_comes() -> None:
    async with edge(MESHED) as one:
        outcome = port(one).publish("t", b"early")
        assert isinstance(outcome, Queued)
        assert outcome.reason == "alone"
        async with edge(joining(one)) as two:
            event = await heard(port(two).subscribe("t"))
            assert isinstance(event, Deliver)
            assert event.data == b"early"


async def test_three_nodes_hear_each_message_once_and_measure_their_links() -> None:
    async with meshed(3) as nodes:
        subscriptions = [port(one).subscribe("t") for one in nodes]
        for one in nodes:
            for number in range(5):
                port(one).publish("t", b"%d" % number)
        for subscription in subscriptions:
            found = [await heard(subscription) for _ in range(15)]
            keys = {(event.publisher, event.seq) for event in found if isinstance(event, Deliver)}
            assert len(keys) == 15
        await until(lambda: all(row["rtt_ms"] > 0 for one in nodes for row in port(one).peers()))
        assert all(port(one).stats()["links"] == 2 for one in nodes)


async def test_a_long_message_is_pulled_as_an_object_labelled_with_its_topic() -> None:
    data = os.urandom(300_000)
    async with meshed(2) as (one, two):
        subscription = port(two).subscribe("firmware")
        async with one.client() as client:
            said = await publish(client, "firmware", io.BytesIO(data), len(data))
        event = await heard(subscription)
        assert isinstance(event, Deliver)
        assert (event.addr, event.size, event.data) == (said["addr"], len(data), b"")
        async with two.client() as client:
            back = io.BytesIO()
            await client.get(event.addr, back.write)
        assert back.getvalue() == data
        for node in (one, two):
            operations = node.node._operations
            assert operations is not None
            assert (await operations.purge(topic="firmware"))["objects"] == 1


async def test_an_object_that_nobody_has_any_more_is_told_as_a_gap() -> None:
    async with meshed(2) as (one, two):
        subscription = port(two).subscribe("t")
        port(one).publish("t", addr="b3:" + "0" * 64, size=10)
        event = await heard(subscription)
        assert isinstance(event, Gapped)
        assert (event.first, event.reason) == (1, "fetch")


async def test_a_client_publishes_and_another_subscribes_until_the_node_leaves() -> None:
    async with meshed(2) as (one, two):
        told: list[Deliver | Gapped] = []
        begun = asyncio.Event()
        async with two.client() as listener, one.client() as speaker:
            hearing = asyncio.create_task(subscribe(listener, "t", told.append, on_begun=begun.set))
            await asyncio.wait_for(begun.wait(), 10)
            said = await publish(speaker, "t", io.BytesIO(b"hello"), 5)
            assert (said["outcome"], said["seq"]) == ("accepted", 1)
            assert said["publisher"] == port(one).id.hex()
            await until(lambda: told)
            two.node.request_stop()
            await asyncio.wait_for(hearing, 10)
        assert isinstance(told[0], Deliver)
        assert told[0].data == b"hello"
        assert two.task is not None
        await two.task


@pytest.mark.parametrize("topic", ["", "x" * 129, "_mesh", "tab\t", 7])
async def test_what_is_no_topic_is_refused_and_the_session_stays(topic: object) -> None:
    async with edge(MESHED) as one, one.client() as client:
        for op in (partial(publish, file=io.BytesIO(), size=0), partial(subscribe, tell=print)):
            with pytest.raises(Refused, match="topic, expected") as caught:
                await op(client, topic)  # type: ignore[operator]
            assert caught.value.token == "bad_request"
        assert await client.echo(b"x") == b"x"


async def test_what_is_over_the_rate_is_refused_with_its_reason_and_a_time() -> None:
    slow = replace(MESHED, gossip=replace(GOSSIP, rate=1))
    async with edge(slow) as one, one.client() as client:
        for _ in range(2):
            await publish(client, "t", io.BytesIO(b"x"), 1)
        with pytest.raises(Refused, match="rate") as caught:
            await publish(client, "t", io.BytesIO(b"x"), 1)
        assert (caught.value.code, caught.value.token) == (503, "shed")
        assert caught.value.retry_after_ms
        assert isinstance(port(one).publish("t", b"x"), Shed)


async def test_bytes_that_are_not_as_many_as_announced_are_refused() -> None:
    async with edge(MESHED) as one, one.client() as client:
        with pytest.raises(EdgeError):
            await publish(client, "t", io.BytesIO(b"four"), 5)
        with pytest.raises(Refused, match="announced"):
            await client.call(App.GOSSIP, b'{"op":"publish","topic":"t","size":5}', lambda _: None)
        assert await client.echo(b"x") == b"x"
        assert one.node._shared.pool.used_bytes == 0


async def test_a_node_that_is_not_in_the_mesh_says_so() -> None:
    async with edge() as one, one.client() as client:
        with pytest.raises(Refused, match="no part in the mesh") as caught:
            await publish(client, "t", io.BytesIO(b"x"), 1)
        assert caught.value.code == 503


async def test_publishing_needs_a_capability_for_the_topic_where_writing_does() -> None:
    site = Site()
    auth = site.config(AuthMode.WRITE)
    async with edge(replace(MESHED, auth=auth)) as one:
        async with one.client() as client:
            with pytest.raises(Refused) as caught:
                await publish(client, "site/heat", io.BytesIO(b"x"), 1)
            assert caught.value.code == 401
        cap = publisher(site, "site/*")
        async with connect(one.oap, pin=one.pin, cap=cap) as client:
            assert (await publish(client, "site/heat", io.BytesIO(b"x"), 1))["seq"] == 1
            with pytest.raises(Refused) as caught:
                await publish(client, "other", io.BytesIO(b"x"), 1)
            assert caught.value.code == 403


# -- who is who -------------------------------------------------------------------------


async def test_nobody_is_taken_for_a_node_whose_key_it_has_not() -> None:
    async with edge(MESHED) as one, edge(MESHED) as two:
        stranger = Held(make_ephemeral())
        mine = client_context(LOCAL.oap.pq_mode, has_aes=read_machine().has_aes, identity=stranger)
        peers = two.node.view.peers
        assert peers is not None
        called = Called(lambda _: b"", lambda link, hello: None)
        await peers.dial(mine, one.oap, called)  # two's HELLO, and another's certificate
        await until(lambda: "mesh_refused" in one.log)
        assert '"reason":"unauth"' in one.log
        assert port(one).stats()["links"] == 0


async def test_an_ordinary_client_needs_no_certificate_and_is_no_node() -> None:
    async with edge(MESHED) as one, one.client() as client:
        assert client.hello["node"] == port(one).id.hex()
        assert client.hello["addr"] == one.oap
        assert client.link.session is not None
        client.link.session.notify(App.GOSSIP, encode(Join("", False)))
        assert await client.echo(b"x") == b"x"
        assert port(one).stats()["links"] == 0
        assert port(one).peers() == []


async def test_a_node_never_talks_to_itself() -> None:
    async with edge(MESHED) as one:
        port(one).add_peer(one.oap.replace("127.0.0.1", "localhost"), "test")
        await until(lambda: "this is myself" in one.log or '"reason":"bad_request"' in one.log)
        assert port(one).peers() == []


async def test_who_floods_a_node_is_told_why_it_is_sent_away_and_not_let_in_again() -> None:
    async with meshed(2) as (one, two):
        bad = port(two)
        found = bad.links.to(port(one).id)
        assert found is not None
        assert found.session is not None
        for _ in range(100):
            found.session.notify(App.GOSSIP, b"\xff")
        bad.links.pump(found.link)
        await until(lambda: "mesh_sent_away" in one.log)
        await until(lambda: not port(one).peers() and not bad.peers())
        assert port(one).stats()["graylisted"] == 1
        assert port(one).stats()["fault_invalid"] >= 5
        assert one.node.view.counters().rejected["quota"] >= 1
        await until(lambda: port(one).stats().get("graylist_refused"))


async def test_an_address_where_nobody_speaks_costs_a_wait_and_nothing_else() -> None:
    config = replace(MESHED, handshake_timeout_s=0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        socket.create_server(("127.0.0.1", 0)) as gone,
    ):
        silent = f"127.0.0.1:{deaf.getsockname()[1]}"
        closed = f"127.0.0.1:{gone.getsockname()[1]}"
        gone.close()
        async with edge(config) as one:
            for addr in (silent, closed, "no such host:1", "x" * 300 + ":1"):
                called = Called(lambda _: b"", lambda link, hello: None)
                peers = one.node.view.peers
                assert peers is not None
                with pytest.raises(EdgeError):
                    await peers.dial(one.node._certificate.shown.dialling, addr, called)
                assert one.node.view.tally.connections == 0


@pytest.mark.slow
async def test_two_that_dial_each_other_at_once_keep_one_link() -> None:
    async with edge(MESHED) as one, edge(MESHED) as two:
        port(one).add_peer(two.oap, "test")
        port(two).add_peer(one.oap, "test")
        await until(lambda: port(one).peers() and port(two).peers())
        await until(lambda: port(one).stats()["links"] == port(two).stats()["links"] == 1)
        subscription = port(two).subscribe("t")
        port(one).publish("t", b"x")
        assert isinstance(await heard(subscription), Deliver)


# -- losses -----------------------------------------------------------------------------


async def test_a_slow_subscriber_is_told_what_it_lost() -> None:
    async with meshed(2) as (one, two):
        subscription = port(two).subscribe("t")
        for number in range(1, 41):
            port(one).publish("t", bytes(64 << 10))
            await until(lambda n=number: port(two).stats().get("received") == n)
        told = []
        while (event := subscription.take()) is not None:
            told.append(event)
        assert isinstance(told[0], Gapped)
        assert told[0].reason == "slow"
        lost = sum(e.last - e.first + 1 for e in told if isinstance(e, Gapped))
        assert lost + sum(isinstance(e, Deliver) for e in told) == 40
        assert port(two).stats()["shed_subscriber_slow"] == lost > 0


@pytest.mark.slow
async def test_a_peer_that_does_not_read_costs_a_bound_and_holds_up_nobody() -> None:
    count = 250  # 15 MB: more than kernels hold
    config = replace(MESHED, timeouts=replace(LOCAL.timeouts, write_s=1.0))
    async with meshed(2, config) as (one, two):
        subscription = port(one).subscribe("t")
        deaf = port(two).links.to(port(one).id)
        assert deaf is not None
        stream = deaf.link._stream
        assert isinstance(stream, TlsStream)
        stream.pause_reading()
        stream.resume_reading = lambda: None  # type: ignore[method-assign]
        for number in range(1, count + 1):
            port(one).publish("t", bytes(60_000))
            event = await heard(subscription)
            assert isinstance(event, Deliver)
            assert event.seq == number
            assert port(one).links.held_bytes <= LANE_BYTES
            await asyncio.sleep(0)
        await until(lambda: '"reason":"write timeout"' in one.log)
        await until(lambda: _accounted(two, count))


def _accounted(running: Edge, published: int) -> bool:
    return any(
        row["delivered"] + row["gapped"] == row["published"] == published
        for row in port(running).ledger()
    )


@pytest.mark.slow
async def test_a_peer_that_vanishes_in_the_middle_leaves_nothing_and_others_go_on() -> None:
    async with meshed(3) as (one, two, three):
        subscription = port(three).subscribe("t")
        for _ in range(8):
            port(one).publish("t", bytes(60_000))
        victim = port(one).links.to(port(two).id)
        assert victim is not None
        victim.link.abort("cut")
        found = [await heard(subscription) for _ in range(8)]
        assert all(isinstance(event, Deliver) for event in found)
        async with asyncio.timeout(10):
            await until(lambda: sum(row["delivered"] for row in port(two).ledger()) == 8)


@pytest.mark.slow
async def test_a_node_that_starts_again_counts_in_a_new_epoch_and_nothing_is_mixed(
    ram_path: Path,
) -> None:
    named = replace(MESHED, tls=identity_in(ram_path))
    async with edge(MESHED) as one:
        subscription = port(one).subscribe("t")
        seen = []
        for _ in range(2):
            async with edge(joining(one, config=named)) as two:
                await until(lambda: port(one).peers())
                port(two).publish("t", b"x")
                seen.append(await heard(subscription))
            await until(lambda: not port(one).peers())
        assert all(isinstance(event, Deliver) and event.seq == 1 for event in seen)
        assert seen[0].publisher == seen[1].publisher
        assert seen[0].epoch < seen[1].epoch


async def test_a_purge_wipes_what_the_mesh_keeps_and_counts_it() -> None:
    async with meshed(2) as (one, two):
        waiting = port(two).subscribe("secret")
        port(one).publish("secret", bytes(1000))
        port(one).publish("other", bytes(10))
        await until(lambda: len(port(two).ledger()) == 2 and len(waiting) == 1)
        operations = two.node._operations
        assert operations is not None
        done = await operations.purge(topic="secret")
        assert done["messages"] == 2  # kept, and waiting for a subscriber
        assert done["bytes"] >= 1000
        event = waiting.take()
        assert isinstance(event, Gapped)
        assert event.reason == "purged"
        assert port(two).stats()["cached"] == 1
        assert (await operations.purge())["messages"] == 1
        assert port(two).stats()["cached"] == 0


async def test_an_order_to_panic_ends_the_mesh_with_everything_else() -> None:
    async with meshed(2) as (one, two):
        port(one).publish("t", bytes(1000))
        await until(lambda: port(two).stats()["cached"] == 1)
        mesh = port(two)
        two.node.panic.end("test")
        assert two.task is not None
        await two.task
        assert mesh.stats()["cached"] == 0


@pytest.mark.slow
async def test_another_certificate_makes_another_node_of_it() -> None:
    async with meshed(2) as (one, two):
        before = port(two).id
        certificate = two.node._certificate
        certificate._ephemeral = Held(make_ephemeral())
        two.node._show(certificate.prepare(LOCAL.tls, LOCAL.oap.pq_mode))
        assert port(two).id != before
        await until(lambda: [row["id"] for row in port(one).peers()] == [port(two).id.hex()])


# -- what is shown ----------------------------------------------------------------------


async def test_neighbours_and_the_ledger_are_pages_for_who_may_control_the_node() -> None:
    async with meshed(2) as (one, two):
        port(one).publish("t", b"x")
        await until(lambda: port(two).ledger())
        (peer,) = json.loads(await page(two.admin, "/peers"))["peers"]
        assert peer["id"] == port(one).id.hex()
        (stream,) = json.loads(await page(two.admin, "/ledger"))["streams"]
        assert (stream["topic"], stream["delivered"]) == ("t", 1)
        assert "browser" in await page(two.admin, "/ledger", "Origin: http://x\r\n")
        metrics = await page(two.admin, "/metrics")
        assert 'overlay_gossip_peers{view="active"} 1.0' in metrics
        assert port(one).id.hex() not in metrics
    async with edge() as alone:
        assert "takes no part in the mesh" in await page(alone.admin, "/peers")


async def page(address: str, path: str, header: str = "") -> str:
    """The body of a page of the admin plane."""
    host, _, number = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(number))
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(10):
        answer = (await reader.read(-1)).decode()
    writer.close()
    return answer.partition("\r\n\r\n")[2]
