"""Drain: a node leaves in order, because somebody asked it to.

asked --> /readyz drops, no new links --> leave: goodbye to every peer, open requests finish
                --> links closed --> objects wiped --> goodbye to the broker --> audit sent
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay_edge.bus import Bus, Shutdown, Topic
from overlay_edge.ending import Ending
from overlay_edge.errors import EdgeError
from overlay_edge.host.journal import Journal
from overlay_edge.peers import Peers
from overlay_edge.proto.chain import Kind
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.wiping import Cause

if TYPE_CHECKING:
    from overlay_edge.bridge.audit import AuditSink

CLOSE_S = 2.0  # links and admin connections get this long to end after the drain
DRAIN_BROKER_S = 1.0  # the last messages get this long to reach the broker
DRAIN_AUDIT_S = 1.0  # the last records get this long to reach their collector


class Drain:
    """The way out of one node.

    Args:
        bus: Told that the end begins.
        journal: Told of the beginning and the end.
        record: Writes the last record of the audit.

    Attributes:
        ending: What is to come after.
    """

    def __init__(self, bus: Bus, journal: Journal, record: Callable[[Kind], None]) -> None:
        self._bus = bus
        self._kernel = bus.subscribe(Topic.KERNEL)
        self._journal = journal
        self._record = record
        self._is_asked = False
        self.ending = Ending.RESTART

    def ask(self, then: Ending | None = None) -> None:
        """Publish ``Shutdown``; asking twice is asking once.

        Args:
            then: What is to come after; the last word counts. None = whatever was said before.
        """
        self.ending = self.ending if then is None else then
        if not self._is_asked:
            self._is_asked = True
            self._bus.publish(Shutdown())

    async def asked(self) -> None:
        """Wait until somebody asks, here or on the bus."""
        async for event in self._kernel:
            # The flag, too: a Shutdown among a flood of events may be one that was lost.
            if isinstance(event, Shutdown) or self._is_asked:
                return

    async def leave(
        self, peers: Peers, store: ObjectStore, sink: "AuditSink | None", *, deadline_s: float
    ) -> None:
        """End every link, wipe every object, and let the last records out.

        Args:
            peers: Who is told, and waited for.
            store: What is wiped.
            sink: Where records go; None = nowhere.
            deadline_s: For open requests; what is open then is cut.
        """
        self._journal.info("shutdown_begin", inflight=peers.inflight)
        peers.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await peers.wait_quiet()
        cut = peers.inflight
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await peers.close()
        report = store.purge(cause=Cause.DRAIN)
        if peers.mqtt is not None:
            with contextlib.suppress(EdgeError, TimeoutError):
                async with asyncio.timeout(DRAIN_BROKER_S):
                    await peers.mqtt.leave()
            peers.mqtt.close()
        if peers.mesh is not None:
            peers.mesh.purge(None)
        self._record(Kind.STOP)
        if sink is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_AUDIT_S):
                    await sink.drained()
        then = self.ending.name.lower()
        self._journal.info("shutdown_end", cut=cut, purged_objects=report.objects, then=then)
