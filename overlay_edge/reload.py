"""Reload: another config while the node runs, all of it or nothing.

    read -> compare -> prepare -> commit -> ConfigUpdated
      '--------'----------'----> refused: the old one stays, and the error says why

Everything that can fail comes before ``commit``, which only swaps. Calls that come while one
is under way share the next one: it reads what was written after the last of them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from overlay_edge.bus import Bus, ConfigUpdated
from overlay_edge.config.reload import Change
from overlay_edge.errors import EdgeError
from overlay_edge.host.journal import Journal

T = TypeVar("T")
Commit = Callable[[], None]


class Reloader(Generic[T]):
    """Changes the config of a running node.

    Args:
        current: The config in force.
        read: Reads all sources of settings again; called in a thread.
        compare: What differs; raises if a running node cannot change it.
        prepare: Builds everything the new config needs, such as a TLS context, and returns
            what puts it in force at once. Its result must not fail.
        bus: Told of the new version, and which keys differ.
        journal: Told of both outcomes.

    Attributes:
        current: The config in force.
        version: How many configs were in force before it.
        refused_total: Reloads that changed nothing.
    """

    def __init__(
        self,
        current: T,
        *,
        read: Callable[[], T],
        compare: Callable[[T, T], tuple[Change, ...]],
        prepare: Callable[[T], Awaitable[Commit]],
        bus: Bus,
        journal: Journal,
    ) -> None:
        self.current = current
        self.version = 0
        self.refused_total = 0
        self._read = read
        self._compare = compare
        self._prepare = prepare
        self._bus = bus
        self._journal = journal
        self._lock = asyncio.Lock()
        self._started = 0
        self._last: tuple[int, tuple[Change, ...] | EdgeError] = (0, ())

    async def reload(self) -> tuple[Change, ...]:
        """Put what the sources say now in force, and return what differs.

        Files of certificates and keys are read again even if no setting differs.

        Raises:
            EdgeError: Nothing has changed; the error is what is wrong with the new config.
        """
        asked = self._started
        async with self._lock:
            number, outcome = self._last
            if number <= asked:  # nobody has read the sources after we were asked
                self._started += 1
                number = self._started
                outcome = await self._attempt()
                self._last = (number, outcome)
        if isinstance(outcome, EdgeError):
            raise outcome
        return outcome

    async def _attempt(self) -> tuple[Change, ...] | EdgeError:
        try:
            new = await asyncio.to_thread(self._read)
            changes = self._compare(self.current, new)
            commit = await self._prepare(new)
        except EdgeError as error:
            self.refused_total += 1
            self._journal.error("config_refused", reason=str(error))
            return error
        commit()
        self.current = new
        self.version += 1
        self._bus.publish(ConfigUpdated(self.version, tuple(map(str, changes))))
        self._journal.info("config_updated", version=self.version, changed=list(map(str, changes)))
        return changes
