"""The bus: nobody waits for a slow reader, and the slow reader knows what it lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.bus import (
    Bus,
    ConfigUpdated,
    Event,
    Health,
    Lagged,
    ReadyChanged,
    Shutdown,
    Subscription,
    Topic,
)


async def take(subscription: Subscription) -> Event | Lagged | None:
    return await anext(subscription, None)


async def rest(subscription: Subscription) -> list[Event | Lagged]:
    subscription.close()
    return [event async for event in subscription]


def test_a_subscriber_hears_its_topic_in_order_and_no_other() -> None:
    async def scene() -> None:
        bus = Bus()
        kernel, overlay = bus.subscribe(Topic.KERNEL), bus.subscribe(Topic.OVERLAY)
        bus.publish(Health("store", ok=True))
        bus.publish(ReadyChanged(True, False, ()))
        bus.publish(Shutdown())
        assert await rest(kernel) == [Health("store", ok=True), Shutdown()]
        assert await rest(overlay) == [ReadyChanged(True, False, ())]

    asyncio.run(scene())


def test_every_subscriber_of_a_topic_gets_its_own_copy() -> None:
    async def scene() -> None:
        bus = Bus()
        readers = [bus.subscribe(Topic.KERNEL) for _ in range(3)]
        bus.publish(Shutdown())
        assert [await rest(reader) for reader in readers] == [[Shutdown()]] * 3

    asyncio.run(scene())


def test_a_waiting_reader_is_woken_by_an_event_and_by_the_end() -> None:
    async def scene() -> None:
        bus = Bus()
        subscription = bus.subscribe(Topic.KERNEL)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(take(subscription))
            await asyncio.sleep(0)
            bus.publish(Shutdown())
            bus.publish(ConfigUpdated(2))
        assert first.result() == Shutdown()
        assert await take(subscription) == ConfigUpdated(2)
        async with asyncio.TaskGroup() as tasks:
            last = tasks.create_task(take(subscription))
            await asyncio.sleep(0)
            bus.close()
        assert last.result() is None

    asyncio.run(scene())


def test_a_cancelled_reader_can_read_on() -> None:
    async def scene() -> None:
        bus = Bus()
        subscription = bus.subscribe(Topic.KERNEL)
        task = asyncio.get_running_loop().create_task(take(subscription))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        bus.publish(Shutdown())
        assert await anext(subscription) == Shutdown()

    asyncio.run(scene())


def test_a_slow_subscriber_is_told_first_what_it_lost_and_nobody_else_loses() -> None:
    async def scene() -> None:
        bus = Bus(capacity=4)
        slow, quick = bus.subscribe(Topic.KERNEL), bus.subscribe(Topic.KERNEL)
        heard = []
        for version in range(7):
            bus.publish(ConfigUpdated(version))
            heard.append(await anext(quick))
        assert heard == [ConfigUpdated(version) for version in range(7)]
        assert await rest(slow) == [Lagged(3), *(ConfigUpdated(version) for version in range(3, 7))]
        assert (bus.published_total, bus.overflow_dropped_total, bus.lagged_total) == (7, 3, 1)

    asyncio.run(scene())


def test_a_closed_bus_takes_events_and_subscribers_and_says_nothing() -> None:
    async def scene() -> None:
        bus = Bus()
        before = bus.subscribe(Topic.KERNEL)
        bus.close()
        bus.publish(Shutdown())
        assert await rest(before) == []
        assert await rest(bus.subscribe(Topic.KERNEL)) == []

    asyncio.run(scene())


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=40))
def test_what_is_heard_and_what_is_lost_add_up(capacity: int, publishes: list[bool]) -> None:
    async def scene() -> None:
        bus = Bus(capacity)
        subscription = bus.subscribe(Topic.KERNEL)
        pending = heard = lost = 0
        for is_publish in publishes:
            if is_publish:
                bus.publish(ConfigUpdated(bus.published_total))
                pending += 1
            elif pending:
                item = await anext(subscription)
                heard, lost, pending = count(item, heard, lost, bus)
        for item in await rest(subscription):
            heard, lost, pending = count(item, heard, lost, bus)
        assert heard + lost == bus.published_total
        assert lost == bus.overflow_dropped_total

    def count(item: Event | Lagged, heard: int, lost: int, bus: Bus) -> tuple[int, int, int]:
        if isinstance(item, Lagged):
            lost += item.count
        else:
            heard += 1
        return heard, lost, bus.published_total - heard - lost

    asyncio.run(scene())
