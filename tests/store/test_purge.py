"""The purge timer: on time, never spinning, in gulps; time is moved, not slept."""

import asyncio

from overlay_edge.config import StoreConfig
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import MemfdMedium
from overlay_edge.store.purge import GULP_BYTES, MIN_WAIT_S, expire_forever


class HandClock:
    """A clock that moves when somebody sleeps."""

    def __init__(self, naps: int) -> None:
        self.now = 0.0
        self.naps: list[float] = []
        self.left = naps

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(round(seconds, 6))
        self.now += seconds
        if len(self.naps) >= self.left:
            raise asyncio.CancelledError


def put(store: ObjectStore, data: bytes, *, now: float) -> str:
    upload = store.begin(len(data), None, now=now)
    upload.write(data)
    return upload.commit(now=now)


def run(store: ObjectStore, clock: HandClock, interval_s: float = 1.0) -> None:
    try:
        asyncio.run(expire_forever(store, interval_s, clock, sleep=clock.sleep))
    except asyncio.CancelledError:
        pass
    finally:
        store.close()


def test_an_empty_store_is_looked_at_each_interval() -> None:
    clock = HandClock(3)
    run(ObjectStore(StoreConfig(), MemfdMedium()), clock)
    assert clock.naps == [1.0, 1.0, 1.0]


def test_the_timer_wakes_when_an_object_is_due_not_at_the_next_interval() -> None:
    store = ObjectStore(StoreConfig(ttl_s=1.25), MemfdMedium())
    put(store, b"hello", now=0)
    clock = HandClock(4)
    run(store, clock)
    assert clock.naps == [1.0, 0.25, 1.0, 1.0]
    assert (store.purged["expired"], store.purged["drain"]) == (1, 0)


def test_much_to_wipe_is_wiped_in_gulps_with_room_for_others_between() -> None:
    store = ObjectStore(StoreConfig(ttl_s=0.01), MemfdMedium())
    for n in range(3):
        put(store, bytes([n]) * GULP_BYTES, now=-1)
    clock = HandClock(4)
    run(store, clock)
    assert clock.naps == [MIN_WAIT_S, MIN_WAIT_S, 1.0, 1.0]
    assert store.purged["expired"] == 3


def test_the_timer_can_be_cancelled_while_it_really_waits() -> None:
    async def scenario() -> None:
        store = ObjectStore(StoreConfig(), MemfdMedium())
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(expire_forever(store, 60.0, loop.time))
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()

    asyncio.run(scenario())
