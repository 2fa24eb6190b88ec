"""MQTT, inward: acknowledged when it is done, in order, and never beyond the mesh's rate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_edge.bridge.mqtt_inward import PATIENCE_S, Inward
from overlay_edge.bridge.mqtt_message import Heard, Traffic
from overlay_edge.config.topicmap import TopicMap
from overlay_edge.host.journal import Journal
from overlay_edge.proto.crossing import Crossing, Out
from overlay_edge.proto.effects import Shed
from tests.support.fake_mesh import FakeHearing, FakeMesh
from tests.support.mqtt_bridges import taken, until

ME, OTHER = b"\1" * 32, b"\2" * 32


class FakeBroker:
    """Says what it is told to say, and remembers what was acknowledged."""

    def __init__(self, *, has_session: bool = False) -> None:
        self.has_session = has_session
        self.inbox = SimpleNamespace(shed_total=0)
        self.acked: list[int] = []
        self._queue: asyncio.Queue[Heard] = asyncio.Queue()
        self._mids = 0

    def say(self, topic: str, data: bytes, *, mid: int = 0, qos: int = 1) -> None:
        self._mids += 1
        self._queue.put_nowait(Heard(topic, data, qos, mid or self._mids, "", ""))

    async def heard(self) -> AsyncIterator[Heard]:
        while True:
            yield await self._queue.get()

    def acknowledge(self, message: Heard) -> None:
        self.acked.append(message.mid)


class Room:
    """One inward way, alone with a mesh of one node."""

    def __init__(self) -> None:
        (self.port,) = FakeMesh(1).ports
        self.now = 0.0
        self.traffic = Traffic()
        self.queued: list[Out] = []
        self.slept: list[float] = []
        topics = TopicMap((), ("a/# -> m",))
        self.crossing = Crossing(ME, topics, max_items=8, max_bytes=1 << 20, now=0)
        self.crossing.standing(ME, "online", now=0)
        self.inward = Inward(
            self.port,
            self.crossing,
            self.traffic,
            look=lambda: None,
            prefix="bridges",
            queue=self.queued.append,
            news=lambda: None,
            journal=Journal("debug", lambda _: None),
            sleep=self.sleep,
            clock=lambda: self.now,
        )
        self.hearing: FakeHearing = self.port.subscribe("m/x")

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @asynccontextmanager
    async def hearing_from(self, broker: FakeBroker) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self.inward.hear(broker)),  # type: ignore[arg-type]
                tasks.create_task(self.inward.bring_held()),
            ]
            yield
            for task in running:
                task.cancel()


async def test_a_message_is_acknowledged_when_the_mesh_has_taken_it() -> None:
    room, broker = Room(), FakeBroker()
    async with room.hearing_from(broker):
        broker.say("a/x", b"1")
        await until(lambda: broker.acked == [1])
    assert taken(room.hearing) == [b"1"]
    assert room.traffic == Traffic(into=1)


async def test_a_mesh_at_its_rate_is_waited_for_and_nothing_overtakes() -> None:
    room, broker = Room(), FakeBroker()
    room.port.sheds = [Shed("rate", 250), Shed("rate", 500)]
    async with room.hearing_from(broker):
        for number in range(3):
            broker.say("a/x", b"%d" % number)
        await until(lambda: len(broker.acked) == 3)
    assert taken(room.hearing) == [b"0", b"1", b"2"]
    assert room.slept == [0.25, 0.5]
    assert room.traffic == Traffic(into=3)


@pytest.mark.parametrize(
    "sheds", [[Shed("topic", 0)], [Shed("topics", 10_000)] * int(2 + PATIENCE_S / 10)]
)
async def test_what_the_mesh_does_not_take_is_counted_and_the_next_goes_on(
    sheds: list[Shed],
) -> None:
    room, broker = Room(), FakeBroker()
    reason = sheds[0].reason
    room.port.sheds = sheds
    async with room.hearing_from(broker):
        broker.say("a/x", b"0")
        await until(lambda: broker.acked == [1])
        room.port.sheds = []
        broker.say("a/x", b"1")
        await until(lambda: broker.acked == [1, 2])
    assert taken(room.hearing) == [b"1"]
    assert room.traffic.shed == {reason: 1}


async def test_what_overflowed_before_it_was_read_is_counted() -> None:
    room, broker = Room(), FakeBroker()
    broker.inbox.shed_total = 7
    async with room.hearing_from(broker):
        broker.say("a/x", b"0", qos=0)
        await until(lambda: room.traffic.into == 1)
    assert room.traffic.shed == {"inbox": 7}


async def test_what_comes_again_because_our_answer_was_lost_is_not_published_again() -> None:
    room, broker = Room(), FakeBroker()
    async with room.hearing_from(broker):
        broker.say("a/x", b"same", mid=7)
        await until(lambda: broker.acked)
    again = FakeBroker(has_session=True)
    async with room.hearing_from(again):
        again.say("a/x", b"same", mid=7)
        again.say("a/x", b"same", mid=8)
        again.say("a/x", b"same", mid=7)  # its number is free again
        await until(lambda: len(again.acked) == 3)
    assert room.traffic == Traffic(into=3, duplicates=1)
    fresh = FakeBroker()
    async with room.hearing_from(fresh):
        fresh.say("a/x", b"same", mid=7)
        await until(lambda: fresh.acked)
    assert room.traffic.into == 4


async def test_what_is_held_crosses_in_its_order_when_the_other_bridge_is_gone() -> None:
    room, broker = Room(), FakeBroker()
    room.crossing.standing(b"\0" * 32, "online", now=0)
    async with room.hearing_from(broker):
        for number in range(3):
            broker.say("a/x", b"%d" % number)
        await until(lambda: len(broker.acked) == 3)
        assert len(room.hearing) == 0
        broker.say(f"bridges/{'00' * 32}/state", b'{"state":"offline"}')
        await until(lambda: len(broker.acked) == 4)
        room.now += 60
        broker.say("a/x", b"3")
        await until(lambda: len(room.hearing) == 4)
    assert taken(room.hearing) == [b"0", b"1", b"2", b"3"]


async def test_only_the_birth_of_this_connection_counts() -> None:
    room, broker = Room(), FakeBroker()
    room.crossing.lost(now=0)
    room.inward.birth = b'{"state":"online","link":2}'
    async with room.hearing_from(broker):
        broker.say(f"bridges/{ME.hex()}/state", b'{"state":"online","link":1}')
        await until(lambda: len(broker.acked) == 1)
        assert not room.inward.standing.is_set()
        broker.say(f"bridges/{ME.hex()}/state", room.inward.birth)
        await room.inward.standing.wait()
    assert room.crossing.is_lead


@settings(max_examples=40)
@given(st.sampled_from(["state", "done", "x", ""]), st.binary(max_size=40), st.text(max_size=80))
def test_what_anybody_says_in_the_name_of_bridges_does_no_harm(
    what: str, data: bytes, name: str
) -> None:
    async def run() -> None:
        room = Room()
        for node in (OTHER.hex(), name):
            message = Heard(f"bridges/{node}/{what}", data, 1, 1, "", "")
            await room.inward._take(message)

    asyncio.run(run())
