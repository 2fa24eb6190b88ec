"""Telemetry: what is told of this node to whoever collects it, by kind.

    ready   /readyz has turned, and what is missing
    bus     an event of the bus, or how many of them were lost on the way here
    audit   how many records of each kind the audit has got since the last summary, and its head
    log     a line of the journal

Nothing of it holds a token, a key or a payload, as nothing of what it is made from does.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from overlay_edge.bus import Bus, Lagged, ReadyChanged, Topic
from overlay_edge.host.journal import Journal
from overlay_edge.proto.audit import AuditLog, Cursor
from overlay_edge.proto.telemetry import Telemetry

SUMMARY_S = 10.0  # of the audit: whoever needs each record has a sink for them
BATCH = 256  # records counted at a time


class Teller:
    """Fills the telemetry.

    Args:
        telemetry: Takes it.
        bus: Whose events.
        audit: Whose records are counted.
        journal: Whose lines.
        sleep: Waits that many seconds.
        wall: Wall seconds.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        bus: Bus,
        audit: AuditLog,
        journal: Journal,
        *,
        sleep: Callable[[float], Awaitable[None]],
        wall: Callable[[], float],
    ) -> None:
        self._telemetry = telemetry
        self._bus = bus
        self._audit = audit
        self._journal = journal
        self._sleep = sleep
        self._wall = wall
        self._cursor = Cursor()

    async def run(self) -> None:
        """Tell, until cancelled."""
        forget = self._journal.watch(self._line)
        try:
            async with asyncio.TaskGroup() as tasks:
                for topic in Topic:
                    tasks.create_task(self._events(topic))
                tasks.create_task(self._summaries())
        finally:
            forget()

    def summarize(self) -> None:
        """Count the records of the audit that came since the last time, if there are any."""
        kinds: Counter[str] = Counter()
        first, lost = self._cursor.seq, 0
        while True:
            batch = self._audit.read(self._cursor, BATCH, ts_ms=self._now())
            lost += batch.lost
            self._cursor = batch.cursor
            kinds.update(json.loads(line).get("kind", "") for line in batch.lines)
            if len(batch.lines) < BATCH:
                break
        if self._cursor.seq > first:
            seq, head = self._cursor
            facts = {"first": first, "next": seq, "lost": lost, "head": head, "kinds": dict(kinds)}
            self._tell("audit", facts)

    async def _events(self, topic: Topic) -> None:
        events = self._bus.subscribe(topic)
        try:
            async for event in events:
                if isinstance(event, Lagged):
                    self._tell("bus", {"topic": topic.value, "lost": event.count})
                    continue
                kind = "ready" if isinstance(event, ReadyChanged) else "bus"
                named = {"topic": topic.value, "event": type(event).__name__}
                self._tell(kind, {**named, **asdict(event)})
        finally:
            events.close()

    async def _summaries(self) -> None:
        while True:
            self.summarize()
            await self._sleep(SUMMARY_S)

    def _line(self, line: dict[str, object]) -> None:
        self._tell("log", {"line": line})

    def _tell(self, kind: str, facts: dict[str, object]) -> None:
        self._telemetry.add(kind, facts, ts_ms=self._now())

    def _now(self) -> int:
        return int(1000 * self._wall())
