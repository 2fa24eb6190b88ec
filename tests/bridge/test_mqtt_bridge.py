"""MQTT bridge: both directions, over a real broker that comes and goes."""

import asyncio
import json
import os
import re
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from overlay_edge.proto.effects import Gapped, Shed
from overlay_edge.proto.telemetry import Telemetry
from tests.support.fake_mesh import FakeMesh
from tests.support.mosquitto import FAST, MISSING, MOSQUITTO, mosquitto
from tests.support.mqtt_bridges import Gate, bridging, client, config, connected, taken, until
from tests.support.telemetry_collector import Collected

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)


def tags(message: aiomqtt.Message) -> dict[str, str]:
    return dict(getattr(message.properties, "UserProperty", ()))


async def test_messages_cross_in_both_directions_once() -> None:
    mesh = FakeMesh(1, 2)
    near, far = mesh.ports
    hearing = far.subscribe("site/x")
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        bridging(config(broker.port), near) as (bridge,),
    ):
        await connected(bridge)
        far.publish("site/x", b"from the mesh")
        near.publish("site/x", b"of the bridge itself")
        await plain.publish("plant/x", b"from a client")
        await until(lambda: len(hearing) == 3 and len(plain.heard) == 3)
        assert Counter(taken(hearing)) == Counter(plain.payloads("plant/x"))
        tagged = next(one for one in plain.heard if one.payload == b"from the mesh")
        assert tags(tagged) == {"oe-id": f"{'02' * 32}.1.1", "oe-origin": "01" * 32}
        await until(lambda: (bridge.traffic.into, bridge.traffic.out) == (1, 2))


async def test_a_filter_is_a_tree_of_topics() -> None:
    mesh = FakeMesh(1)
    hearing = mesh.ports[0].subscribe("site/a/b")
    async with (
        mosquitto(FAST) as broker,
        client(broker.port) as plain,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        await plain.publish("elsewhere/a/b", b"1")
        await plain.publish("plant/a/b", b"2")
        await until(lambda: len(hearing))
        assert taken(hearing) == [b"2"]


async def test_an_object_goes_out_as_its_address() -> None:
    mesh = FakeMesh(1)
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        mesh.ports[0].publish("site/x", addr="b3:00", size=70_000)
        await until(lambda: plain.heard)
        assert plain.payloads("plant/x") == [b"b3:00"]
        assert tags(plain.heard[0])["oe-addr"] == "b3:00"
        assert tags(plain.heard[0])["oe-size"] == "70000"


@pytest.mark.slow
async def test_only_the_first_bridge_takes_over_what_is_retained() -> None:
    mesh = FakeMesh(1, 2)
    hearing = mesh.ports[0].subscribe("site/old")
    async with mosquitto(FAST) as broker, client(broker.port) as plain, AsyncExitStack() as stack:
        await plain.publish("plant/old", b"state", retain=True)
        (first,) = await stack.enter_async_context(bridging(config(broker.port), mesh.ports[1]))
        await connected(first)
        await until(lambda: len(hearing) == 1)
        (second,) = await stack.enter_async_context(bridging(config(broker.port), mesh.ports[0]))
        await connected(first, second)
        assert second.crossing.is_lead
        await plain.publish("plant/old", b"newer", retain=True)
        await until(lambda: len(hearing) == 2)
        assert taken(hearing) == [b"state", b"newer"]


async def test_a_client_that_gives_ids_may_say_the_same_twice() -> None:
    mesh = FakeMesh(1)
    hearing = mesh.ports[0].subscribe("site/x")
    numbered = Properties(PacketTypes.PUBLISH)
    numbered.UserProperty = [("oe-id", "sensor.1")]
    async with (
        mosquitto(FAST) as broker,
        client(broker.port) as plain,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        for _ in range(2):
            await plain.publish("plant/x", b"21.5", properties=numbered)
            await plain.publish("plant/x", b"21.5")
        await until(lambda: len(hearing) == 3 and bridge.traffic.duplicates == 1)


async def test_the_broker_tells_everybody_how_the_bridge_is() -> None:
    mesh = FakeMesh(1)
    async with mosquitto(FAST) as broker, client(broker.port, "overlay-edge/#") as plain:

        def states() -> list[str]:
            return [json.loads(one.payload)["state"] for one in plain.heard]

        async with bridging(config(broker.port), *mesh.ports) as (bridge,):
            await connected(bridge)
        await until(lambda: states() == ["online", "offline"])
        async with bridging(config(broker.port), *mesh.ports) as (bridge,):
            await connected(bridge)
            await bridge.leave()
        await until(lambda: states()[2:] == ["online", "stopped"])
        await plain.client.subscribe("overlay-edge/+/state")
        await until(lambda: len(plain.heard) > 4)
        assert plain.heard[-1].retain
        assert str(plain.heard[-1].topic) == f"overlay-edge/{'01' * 32}/state"


async def test_who_leaves_first_gives_the_broker_what_waits() -> None:
    mesh = FakeMesh(1)
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        for number in range(200):
            mesh.ports[0].publish("site/x", b"%d" % number)
        await until(lambda: bridge.backlog)
        await bridge.leave()
        assert bridge.backlog == 0
        await until(lambda: len(plain.heard) == 200)


async def test_a_gap_of_the_mesh_is_counted() -> None:
    mesh = FakeMesh(1)
    async with (
        mosquitto(FAST) as broker,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        mesh.spread(Gapped("site/x", b"\2" * 32, 1, 3, 5, "lost"))
        await until(lambda: bridge.traffic.gaps == {"lost": 3})


@pytest.mark.slow
async def test_without_a_broker_messages_wait_within_bounds_and_the_rest_is_counted() -> None:
    mesh = FakeMesh(1)
    async with mosquitto(FAST) as broker, client(broker.port, "plant/#") as plain:
        broker.kill()
        async with bridging(config(broker.port, backlog_messages=16), *mesh.ports) as (bridge,):
            await until(lambda: "Connect call failed" in bridge.health())
            for number in range(20):
                mesh.ports[0].publish("site/x", b"%d" % number)
            await until(lambda: bridge.shed() == {"backlog": 4})
            assert bridge.backlog == 16
            await broker.start()
            async with client(broker.port, "plant/#") as plain:
                await connected(bridge)
                await until(lambda: len(plain.heard) == 16)
                assert plain.payloads("plant/x") == [b"%d" % n for n in range(4, 20)]


async def test_what_is_purged_is_not_carried_any_more() -> None:
    mesh = FakeMesh(1)
    async with mosquitto(FAST) as broker, bridging(config(broker.port), *mesh.ports) as (bridge,):
        await connected(bridge)
        broker.kill()
        await until(bridge.health)
        mesh.ports[0].publish("site/x", b"early")
        await until(lambda: bridge.backlog)
        assert bridge.purge("another topic") == 0
        assert bridge.purge("site/x") == 1
        await broker.start()
        async with client(broker.port, "plant/#") as plain:
            await connected(bridge)
            mesh.ports[0].publish("site/x", b"late")
            await until(lambda: plain.payloads("plant/x") == [b"late"])
        assert bridge.shed() == {"purged": 1}


@pytest.mark.slow
async def test_a_node_with_another_certificate_is_another_bridge() -> None:
    mesh = FakeMesh(1, 9)
    near, far = mesh.ports
    hearing = far.subscribe("site/x")
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#", "overlay-edge/+/state") as plain,
        bridging(config(broker.port), near) as (bridge,),
    ):
        await connected(bridge)
        near.id = b"\3" * 32
        far.publish("site/x", b"notice")
        await until(lambda: near.id.hex() in str([str(one.topic) for one in plain.heard]))
        await connected(bridge)
        await plain.publish("plant/x", b"in")
        far.publish("site/x", b"out")
        await until(lambda: len(hearing) >= 3 and len(plain.payloads("plant/x")) >= 3)
        assert sorted(taken(hearing)) == [b"in", b"notice", b"out"]
        assert sorted(plain.payloads("plant/x")) == [b"in", b"notice", b"out"]


async def test_credentials_that_are_wrong_are_told() -> None:
    mesh = FakeMesh(1)
    async with (
        mosquitto("allow_anonymous false") as broker,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await until(lambda: "Not authorized" in bridge.health())
        assert bridge.traffic.reconnects == 0


@pytest.mark.slow
async def test_two_bridges_and_three_nodes_each_message_arrives_once_everywhere() -> None:
    total = 60
    mesh = FakeMesh(1, 2, 3)
    hearings = [port.subscribe("site/x") for port in mesh.ports]
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        client(broker.port, "plant/#") as other,
        bridging(config(broker.port), *mesh.ports[:2]) as bridges,
    ):
        await connected(*bridges)
        for number in range(total):
            await plain.publish("plant/x", b"client %d" % number)
            await other.publish("plant/x", b"the same reading")
            for node, port in enumerate(mesh.ports):
                port.publish("site/x", b"node %d %d" % (node, number))
        await until(lambda: all(len(one) >= 5 * total for one in hearings))
        await until(lambda: all(len(one.heard) >= 5 * total for one in (plain, other)))
        await until(lambda: not any(bridge.backlog for bridge in bridges))
        expected = Counter(plain.payloads("plant/x"))
        assert expected[b"the same reading"] == total
        assert len(expected) == 1 + 4 * total
        assert sum(expected.values()) == 5 * total
        assert Counter(other.payloads("plant/x")) == expected
        for hearing in hearings:
            assert Counter(taken(hearing)) == expected
        assert [bridge.shed() for bridge in bridges] == [{}, {}]


@pytest.mark.slow
async def test_when_the_bridge_that_leads_dies_the_other_takes_over() -> None:
    mesh = FakeMesh(1, 2, 3)
    hearing = mesh.ports[2].subscribe("site/x")
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        bridging(config(broker.port), mesh.ports[1]) as (second,),
    ):
        async with bridging(config(broker.port), mesh.ports[0]) as (first,):
            await connected(first, second)
            mesh.ports[2].publish("site/x", b"m1")
            await plain.publish("plant/x", b"c1")
            await until(lambda: len(hearing) == 2 and len(plain.heard) == 2)
            await until(lambda: second.backlog == 0)  # it was told what is done
        mesh.ports[2].publish("site/x", b"m2")
        await plain.publish("plant/x", b"c2")
        await until(lambda: len(hearing) >= 4 and len(plain.heard) >= 4)
        assert Counter(taken(hearing)) == Counter([b"m1", b"c1", b"m2", b"c2"])
        assert Counter(plain.payloads("plant/x")) == Counter([b"m1", b"c1", b"m2", b"c2"])


@pytest.mark.slow
async def test_a_broker_killed_in_a_burst_gets_every_message_and_ids_tell_what_came_twice() -> None:
    total, gate = 3000, Gate()
    mesh = FakeMesh(1, 2)
    heard: list[aiomqtt.Message] = []
    async with mosquitto(FAST) as broker:
        settings = config(broker.port, backlog_messages=4096, backlog_bytes=4 << 20)
        async with bridging(settings, mesh.ports[0], gate=gate) as (bridge,):
            async with client(broker.port, "plant/#", qos=0) as plain:
                await connected(bridge)
                for number in range(total):
                    mesh.ports[1].publish("site/x", b"%d" % number)
                await until(lambda: len(plain.heard) > total // 10)
                gate.open.clear()  # not before somebody listens again
                broker.kill()
                await until(bridge.health)
                with suppress(aiomqtt.MqttError):
                    await plain.client._disconnected
                heard += plain.heard
            assert 0 < bridge.traffic.out < total
            await broker.start()
            async with client(broker.port, "plant/#", qos=0) as plain:
                gate.open.set()
                await connected(bridge)
                await until(lambda: bridge.traffic.out == total)
                await until(lambda: plain.payloads("plant/x")[-1:] == [b"%d" % (total - 1)])
                heard += plain.heard
        # It may have died with what it had acknowledged and not passed on. Everything else came,
        # and what came twice has one id.
        first = {tags(one)["oe-id"]: bytes(one.payload) for one in heard}
        assert len(set(first.values())) == len(first)
        missing = set(range(total)) - {int(data) for data in first.values()}
        assert len(missing) <= 64
        assert len(heard) - len(first) <= 32  # what was on its way
        assert bridge.shed() == {}
        assert (bridge.traffic.reconnects, bridge.traffic.gaps["session"]) == (1, 1)


@pytest.mark.slow
async def test_a_broker_that_falls_silent_is_left_and_gets_everything_when_it_speaks() -> None:
    mesh = FakeMesh(1)
    async with (
        mosquitto(FAST) as broker,
        client(broker.port, "plant/#") as plain,
        bridging(config(broker.port, timeout_s=0.2), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        before = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        broker.stall(True)
        for number in range(100):
            mesh.ports[0].publish("site/x", b"%d" % number)
        await until(lambda: "no answer within 0.2 s" in bridge.health())
        assert bridge.backlog == 100
        await asyncio.sleep(1)  # some attempts, each of which is accepted and not answered
        assert len(asyncio.all_tasks()) <= before[0]
        assert len(os.listdir("/proc/self/fd")) <= before[1] + 1
        broker.stall(False)
        await connected(bridge)
        await until(lambda: bridge.backlog == 0 and len(set(plain.payloads("plant/x"))) == 100)
        ids = Counter(tags(one)["oe-id"] for one in plain.heard)
        assert len(ids) == 100
        assert bridge.shed() == {}


@pytest.mark.slow
async def test_a_broker_that_lets_us_in_and_hangs_up_is_not_asked_in_a_loop() -> None:
    mesh, waits = FakeMesh(1), []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    async with (
        mosquitto(FAST) as broker,
        bridging(config(broker.port), *mesh.ports, gate=sleep) as (bridge,),
    ):
        for _ in range(5):
            await connected(bridge)
            assert bridge._broker is not None
            bridge._broker.close(is_clean=False)
            await until(bridge.health)
    assert waits[3] > 1.0  # up to 0.2, 0.5, 1, 2 and 5 s, and at least half of that
    assert waits[4] > 2.0


@pytest.mark.slow
async def test_it_ends_when_it_is_cancelled_whatever_happens_to_the_broker_meanwhile() -> None:
    mesh = FakeMesh(1)
    async with mosquitto(FAST) as broker:
        for turns in range(12):
            async with bridging(config(broker.port), *mesh.ports) as (bridge,):
                await connected(bridge)
                assert bridge._broker is not None
                bridge._broker.close(is_clean=False)
                for _ in range(turns):
                    await asyncio.sleep(0)


@pytest.mark.slow
async def test_a_flood_that_wants_no_answer_is_bounded_and_what_is_over_is_counted() -> None:
    total, mesh = 4000, FakeMesh(1)
    hearing = mesh.ports[0].subscribe("site/x")
    mesh.ports[0].sheds = [Shed("rate", 50)] * 10  # half a second behind
    async with (
        mosquitto(FAST) as broker,
        client(broker.port) as plain,
        bridging(config(broker.port, qos=0, backlog_messages=64), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        for number in range(total):
            await plain.client.publish("plant/x", b"%d" % number, qos=0)
        await plain.publish("plant/x", b"last")
        await until(lambda: bridge.traffic.into + bridge.traffic.shed["inbox"] == total + 1)
        assert bridge.traffic.shed["inbox"] > 0
        assert len(hearing) == bridge.traffic.into


@pytest.mark.slow
async def test_a_bridge_that_may_not_say_who_it_is_carries_nothing_and_says_why() -> None:
    mesh = FakeMesh(1)
    rules = b"topic readwrite plant/#\ntopic read #\ntopic write overlay-edge/x\n"
    async with (
        mosquitto(FAST, acl_file=rules) as broker,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await until(lambda: "uthorized" in bridge.health())
        assert not bridge.crossing.is_lead


@pytest.mark.slow
async def test_a_broker_killed_while_clients_publish_loses_nothing_it_accepted_later() -> None:
    mesh = FakeMesh(1, 2)
    hearing = mesh.ports[1].subscribe("site/x")
    async with (
        mosquitto(FAST) as broker,
        bridging(config(broker.port), mesh.ports[0]) as (bridge,),
    ):
        accepted: list[bytes] = []
        for life in range(3):
            await connected(bridge)
            async with client(broker.port) as plain:
                for number in range(200):
                    await plain.publish("plant/x", b"%d %d" % (life, number))
                    accepted.append(b"%d %d" % (life, number))
            await until(lambda: bridge.traffic.into >= len(accepted))
            broker.kill()
            await until(lambda: bridge.health())
            await broker.start()
        assert taken(hearing) == accepted


@pytest.mark.slow
async def test_a_broker_that_takes_five_at_a_time_gets_no_more() -> None:
    mesh = FakeMesh(1)
    settings = f"{FAST}\nmax_inflight_messages 5"
    async with (
        mosquitto(settings) as broker,
        client(broker.port, "plant/#") as plain,
        bridging(config(broker.port), *mesh.ports) as (bridge,),
    ):
        await connected(bridge)
        most = 0
        for number in range(1000):
            mesh.ports[0].publish("site/x", b"%d" % number)
        while bridge.traffic.out < 1000:
            most = max(most, len(bridge._flying))
            await asyncio.sleep(0)
        assert most == 5
        await until(lambda: len(plain.heard) == 1000)
        assert plain.payloads("plant/x") == [b"%d" % number for number in range(1000)]


async def test_telemetry_is_sent_and_what_was_lost_before_is_told() -> None:
    telemetry = Telemetry("b1", max_items=16, max_bytes=1 << 20)
    for number in range(40):  # before there is a broker
        telemetry.add("log", {"n": number}, ts_ms=int(1000 * time.time()))
    collected = Collected()
    async with mosquitto(FAST) as broker, client(broker.port, "lab/#") as plain:
        settings = config(broker.port, in_topics=(), out_topics=(), telemetry="lab")
        async with bridging(settings, telemetry=telemetry) as (bridge,):
            await until(lambda: len(plain.heard) >= 18)
            telemetry.add("ready", {"ready": True}, ts_ms=0)
            bridge.wake()
            await until(lambda: plain.payloads("lab/alone/ready"))
        for one in plain.heard:
            if re.fullmatch("lab/alone/(log|ready|gap)", str(one.topic)):
                collected.take(bytes(one.payload))
        assert collected.missing() == []
        assert collected.told == set(range(24))
        assert collected.boots == {"b1"}
        # A collector that missed some itself sees that, too.
        for one in plain.heard[5:8]:
            collected.numbers.discard(json.loads(one.payload)["seq"])
        assert len(collected.missing()) == 3
