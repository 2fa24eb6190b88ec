"""Real nodes of one mesh, two of them bridges of one real broker."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.bridge.mqtt_bridge import MqttBridge
from overlay_edge.config import Config
from overlay_edge.proto.effects import Deliver
from overlay_edge.proto.readiness import State
from overlay_edge.subscriptions import Subscription
from tests.support.edge import Edge, edge
from tests.support.identity import identity
from tests.support.meshed import MESHED, joining, port
from tests.support.mosquitto import FAST, MISSING, MOSQUITTO, mosquitto, password_file
from tests.support.mqtt_bridges import client, config, connected, until
from tests.support.telemetry_collector import Collected

pytestmark = [pytest.mark.skipif(MOSQUITTO is None, reason=MISSING), pytest.mark.slow]


def bridge_of(running: Edge) -> MqttBridge:
    assert running.node.view.mqtt is not None
    return running.node.view.mqtt


def bridged(broker_port: int, **changes: object) -> Config:
    return replace(MESHED, mqtt=config(broker_port, **changes))


@contextlib.asynccontextmanager
async def nodes_of(*configs: Config) -> AsyncIterator[list[Edge]]:
    """A mesh of nodes that are neighbours of each other."""
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[Edge] = []
        for one in configs:
            nodes.append(await stack.enter_async_context(edge(joining(*nodes, config=one))))
        await until(lambda: all(len(port(one).peers()) == len(configs) - 1 for one in nodes))
        yield nodes


def delivered(subscription: Subscription) -> list[bytes]:
    found = []
    while (event := subscription.take()) is not None:
        assert isinstance(event, Deliver)
        found.append(event.data)
    return found


async def test_two_bridges_three_nodes_and_every_message_arrives_once_everywhere() -> None:
    total = 30
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        nodes_of(bridged(broker.port), bridged(broker.port), MESHED) as nodes,
    ):
        bridges = [bridge_of(one) for one in nodes[:2]]
        await connected(*bridges)
        hearings = [port(one).subscribe("site/x") for one in nodes]
        for number in range(total):
            await plain.publish("plant/x", b"client %d" % number)
            await plain.publish("plant/x", b"the same reading")
            for index, one in enumerate(nodes):
                port(one).publish("site/x", b"node %d %d" % (index, number))
        await until(lambda: len(plain.heard) >= 5 * total)
        await until(lambda: all(len(one) >= 5 * total for one in hearings))
        await until(lambda: not any(one.backlog for one in bridges))
        expected = Counter(plain.payloads("plant/x"))
        assert (sum(expected.values()), len(expected)) == (5 * total, 4 * total + 1)
        for one in hearings:
            assert Counter(delivered(one)) == expected
        shown = [one.node.view.counters().mqtt for one in nodes]
        assert shown[2] == {}
        assert sum(one["in"] for one in shown[:2]) == 2 * total
        assert sum(one["out"] for one in shown[:2]) == 3 * total


async def test_a_broker_that_is_gone_is_told_and_the_node_serves_on() -> None:
    async with mosquitto(FAST) as broker, edge(bridged(broker.port)) as one:
        view = one.node.view
        await connected(bridge_of(one))
        assert "mqtt" not in view.readiness().missing
        broker.kill()
        await until(lambda: "mqtt" in view.readiness().missing)
        assert view.readiness().state is not State.DOWN
        assert view.readiness().ready
        await broker.start()
        await until(lambda: "mqtt" not in view.readiness().missing)


async def test_a_node_that_leaves_gives_the_broker_the_rest_and_says_goodbye() -> None:
    async with mosquitto(FAST) as broker, client(broker.port, "plant/#", "overlay-edge/#") as plain:
        async with edge(bridged(broker.port)) as one:
            await connected(bridge_of(one))
            name = port(one).id.hex()
            for number in range(100):
                port(one).publish("site/x", b"%d" % number)
        topic = f"overlay-edge/{name}/state"
        await until(lambda: len(plain.payloads(topic)) == 2)
        states = [json.loads(one)["state"] for one in plain.payloads(topic)]
        assert states == ["online", "stopped"]
        assert plain.payloads("plant/x") == [b"%d" % number for number in range(100)]


async def test_telemetry_needs_no_mesh_and_has_no_holes() -> None:
    async with mosquitto(FAST) as broker, client(broker.port, "lab/#") as plain:
        settings = bridged(broker.port, in_topics=(), out_topics=(), telemetry="lab")
        settings = replace(settings, gossip=replace(settings.gossip, enabled=False))
        async with edge(settings) as one, one.client() as peer:
            await peer.echo(b"payload-that-nobody-else-sees")
            await until(lambda: "mqtt" not in one.node.view.readiness().missing)
            await until(lambda: any("SessionOpened" in str(m.payload) for m in plain.heard))
        collected = Collected()
        kinds = set()
        for message in plain.heard:
            kind = str(message.topic).rpartition("/")[2]
            assert b"payload-that" not in bytes(message.payload)
            if kind != "state":
                collected.take(bytes(message.payload))
                kinds.add(kind)
        assert collected.missing() == []
        assert len(collected.boots) == 1
        assert {"bus", "log", "audit"} <= kinds


async def test_over_tls_with_credentials_and_only_with_whom_we_trust(ram_path: Path) -> None:
    cert, key = identity()
    known = password_file("edge", "word")
    ca, word = ram_path / "ca.pem", ram_path / "word"
    ca.write_bytes(cert)
    word.touch(mode=0o600)
    word.write_text("edge:word\n")
    settings = FAST.replace("allow_anonymous true", "allow_anonymous false")
    files = {"certfile": cert, "keyfile": key, "password_file": known}
    async with mosquitto(settings, **files) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        more = {"url": url, "insecure": False, "credentials": str(word)}
        async with edge(bridged(broker.port, ca=str(ca), **more)) as one:
            await connected(bridge_of(one))
            port(one).publish("site/x", b"1")
            await until(lambda: bridge_of(one).traffic.out == 1)
            assert "word" not in one.log
        async with edge(bridged(broker.port, **more)) as one:
            await until(lambda: "certificate" in bridge_of(one).health())


async def test_what_the_node_was_told_to_purge_does_not_go_out() -> None:
    async with mosquitto(FAST) as broker, edge(bridged(broker.port)) as one:
        await connected(bridge_of(one))
        broker.kill()
        await until(lambda: bridge_of(one).health())
        port(one).publish("site/x", b"secret")
        await until(lambda: bridge_of(one).backlog == 1)
        operations = one.node._operations
        assert operations is not None
        await operations.purge(topic="site/x")
        assert bridge_of(one).backlog == 0
