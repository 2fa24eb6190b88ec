"""Supervision: a task that dies is started again, and one that keeps dying ends the process.

    running --error--> ServiceCrashed on the bus --wait--> running --...--> given up

A supervised task keeps nothing between two lives but what it was given: what it counted up in
a life, it must count down in its own ``finally``.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from overlay_edge.bus import Bus, Health, ServiceCrashed
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.proto.backoff import Backoff

MAX_REASON = 200  # characters of an error that go on the bus


class Supervisor:
    """Keeps tasks alive; each ``keep`` is one task of its owner's group.

    Args:
        bus: Told of every crash.
        journal: Where crashes are logged.
        sleep: Waits that many seconds; ``asyncio.sleep``.
        dice: 0 to 1; ``random.random``.
        on_give_up: Called with name and reason when a task has used up its tries. The process
            must end now, and not with 0.
        clock: Monotonic seconds.

    Attributes:
        restarts: Restarts since the start, by task; names are our own, so they may be labels.
    """

    def __init__(
        self,
        bus: Bus,
        journal: Journal,
        *,
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float],
        on_give_up: Callable[[str, str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.restarts: Counter[str] = Counter()
        self._bus = bus
        self._journal = journal
        self._sleep = sleep
        self._dice = dice
        self._on_give_up = on_give_up
        self._clock = clock

    async def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run until it ends by itself, is cancelled, or is given up."""
        self.restarts[name] = 0  # there from the first scrape on
        backoff = Backoff()
        while True:
            began = self._clock()
            try:
                await run()
            except Exception as exc:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from exc  # a TaskGroup keeps it to itself
                reason = f"{type(exc).__name__}: {exc}"[:MAX_REASON]
                self._bus.publish(ServiceCrashed(name, reason))
                wait_s = backoff.failed(lived_s=self._clock() - began, dice=self._dice())
                self._journal.exception(
                    "service_crashed",
                    exc,
                    reason=name,
                    msg=f'ServiceCrashed{{service="{name}"}}',
                    restart_in_ms=None if wait_s is None else int(1000 * wait_s),
                )
            else:
                return
            if wait_s is None:
                self._bus.publish(Health(name, ok=False))
                self._on_give_up(name, reason)
                return
            await self._sleep(wait_s)
            self.restarts[name] += 1
