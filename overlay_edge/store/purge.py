"""The purge timer: wipes each object when its time is over, not when somebody asks for it."""

import asyncio
from collections.abc import Awaitable, Callable

from overlay_edge.store.cache import ObjectStore

MIN_WAIT_S = 0.001  # an expiry that the clock shows a hair too early must not spin
GULP_BYTES = 4 << 20  # zeros written at a time before links get their turn again


async def expire_forever(
    store: ObjectStore,
    interval_s: float,
    clock: Callable[[], float],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Never returns; cancel it.

    Args:
        store: Whose objects expire.
        interval_s: Longest wait between two looks, whatever the store says.
        clock: Monotonic seconds, the same that ``begin`` and ``commit`` are given.
        sleep: How to wait; tests move the clock here.
    """
    while True:
        now = clock()
        store.expire(now=now, budget_bytes=GULP_BYTES)
        due = store.next_expiry()
        wait_s = interval_s if due is None else min(due - now, interval_s)
        await sleep(max(wait_s, MIN_WAIT_S))
