"""MQTT, inward: what comes from the broker is published in the mesh, one by one.

A message is acknowledged when the mesh has taken it, or when it is held for the day the bridge
that leads is gone. A mesh that is at its rate is waited for: nothing more is read meanwhile, and
the broker, which may send only a few ahead of our acknowledgements, keeps the rest.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from overlay_edge.bridge.meshport import MeshPort
from overlay_edge.bridge.mqtt_message import Heard, Traffic
from overlay_edge.host.journal import Journal
from overlay_edge.proto.crossing import Crossing, Into, Out, plain_key
from overlay_edge.proto.effects import Shed

if TYPE_CHECKING:
    from overlay_edge.bridge.broker import Broker

PATIENCE_S = 60.0  # a message waits this long for the mesh's rate, then it is shed; guess
MAX_DOUBTFUL = 64  # acknowledged last; the broker may not have heard it. It sends 16 ahead


class Inward:
    """The way from the broker to the mesh.

    Args:
        port: The mesh.
        crossing: Decides.
        traffic: Counts.
        look: Called before something is published: the node may be another one by now.
        prefix: Of the topics by which bridges tell each other.
        queue: Takes what is to go out after all.
        news: Called when there are receipts to send.
        journal: Told of what is given up.
        sleep: Waits that many seconds.
        clock: Monotonic seconds.

    Attributes:
        crossing: Decides; another one for another node.
        birth: What this bridge says of itself on this connection.
        standing: Set when the broker has told it to everybody.
    """

    def __init__(
        self,
        port: MeshPort,
        crossing: Crossing,
        traffic: Traffic,
        *,
        look: Callable[[], None],
        prefix: str,
        queue: Callable[[Out], None],
        news: Callable[[], None],
        journal: Journal,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self.birth = b""
        self.standing = asyncio.Event()
        self._port = port
        self.crossing = crossing
        self._traffic = traffic
        self._look = look
        self._prefix = prefix
        self._queue = queue
        self._news = news
        self._journal = journal
        self._sleep = sleep
        self._clock = clock
        self._kick = asyncio.Event()  # what is held may be due
        self._order = asyncio.Lock()  # what is held and what comes is published in its order
        self._acked: dict[int, bytes] = {}  # on this connection, by packet id
        self._doubtful: dict[int, bytes] = {}  # on the one before

    def kick(self) -> None:
        """What is held may be due."""
        self._kick.set()

    async def hear(self, broker: "Broker") -> None:
        """Take what comes over one connection, until it breaks."""
        self._doubtful = self._acked if broker.has_session else {}
        self._acked = {}
        shed = 0
        async for message in broker.heard():
            if broker.inbox.shed_total > shed:
                self._traffic.shed["inbox"] += broker.inbox.shed_total - shed
                shed = broker.inbox.shed_total
            await self._take(message)
            broker.acknowledge(message)
            self._kick.set()

    async def bring_held(self) -> None:
        """Carry over what was held, when it is this bridge's to carry; until cancelled."""
        while True:
            self._kick.clear()
            async with self._order:
                items = self.crossing.due(now=self._clock())
                for item in items:
                    if isinstance(item, Out):
                        self._queue(item)
                for item in items:
                    if isinstance(item, Into):
                        await self._publish(item)
            at = self.crossing.deadline()
            try:
                async with asyncio.timeout(None if at is None else max(0.01, at - self._clock())):
                    await self._kick.wait()
            except TimeoutError:
                pass

    async def _take(self, message: Heard) -> None:
        if message.topic.startswith(f"{self._prefix}/"):
            self._take_own(message)
            return
        fingerprint = plain_key(message.topic, message.data)
        if message.qos and self._doubtful.pop(message.mid, b"") == fingerprint:
            self._traffic.duplicates += 1  # it was dealt with, but our answer was lost
            return
        async with self._order:
            counts = self.crossing.counts
            before = counts.get("duplicate", 0)
            into = self.crossing.heard(
                message.topic,
                message.data,
                tag=message.tag,
                origin=message.origin,
                now=self._clock(),
            )
            self._traffic.duplicates += counts.get("duplicate", 0) - before
            if into is not None:
                await self._publish(into)
        if message.qos:
            self._acked[message.mid] = fingerprint
            if len(self._acked) > MAX_DOUBTFUL:
                del self._acked[next(iter(self._acked))]

    def _take_own(self, message: Heard) -> None:
        """What bridges tell each other."""
        _, _, rest = message.topic.removeprefix(self._prefix).partition("/")
        name, _, what = rest.partition("/")
        try:
            node = bytes.fromhex(name)
        except ValueError:
            return
        is_me, now = node == self._port.id, self._clock()
        if what == "done" and not is_me:
            self.crossing.receipts(message.data, now=now)
        elif what == "state" and (not is_me or message.data == self.birth):
            self.crossing.standing(node, _state_in(message.data), now=now)
            if is_me:
                self.standing.set()

    async def _publish(self, into: Into) -> None:
        """Publish in the mesh; wait for its rate, within reason."""
        until = self._clock() + PATIENCE_S
        while True:
            self._look()
            outcome = self._port.publish(into.topic, into.data)
            if not isinstance(outcome, Shed):
                self._traffic.into += 1
                self.crossing.published(into, outcome.epoch, outcome.seq, now=self._clock())
                break
            if not outcome.retry_after_ms or self._clock() >= until:
                self._traffic.shed[outcome.reason] += 1
                self._journal.warning("mqtt_shed", reason=outcome.reason, topic=into.topic)
                self.crossing.done(into, now=self._clock())
                break
            await self._sleep(outcome.retry_after_ms / 1000)
        self._news()


def _state_in(data: bytes) -> str:
    try:
        found = json.loads(data[:1024] or b"{}")
    except (ValueError, RecursionError):
        return ""
    state = found.get("state") if isinstance(found, dict) else ""
    return state if isinstance(state, str) else ""
