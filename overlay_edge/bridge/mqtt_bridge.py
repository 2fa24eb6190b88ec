"""MQTT bridge: carries messages between the mesh and one broker, for as long as the node lives.

    mesh --subscriptions--> crossing --> outbox --at most Receive Maximum--> broker
    mesh <--publish-------- crossing <-- one by one, acknowledged when done-- broker

What crosses, and by which bridge, is decided by :mod:`overlay_edge.proto.crossing`. A message
of the mesh that the broker has not acknowledged when it goes away is sent again: it may arrive
twice, under the same ``oe-id``.
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from overlay_edge.bridge.meshport import Hearing, MeshPort
from overlay_edge.bridge.mqtt_inward import PATIENCE_S, Inward
from overlay_edge.bridge.mqtt_message import Parcel, Traffic, Will, first_reason
from overlay_edge.config import MqttConfig
from overlay_edge.config.topicmap import TopicMap
from overlay_edge.errors import EdgeError, Refused, TransportError
from overlay_edge.host.journal import Journal
from overlay_edge.host.secret import Secret
from overlay_edge.proto.backlog import Backlog
from overlay_edge.proto.backoff import REDIAL_S, Backoff
from overlay_edge.proto.crossing import ABSENT_S, Crossing, Out
from overlay_edge.proto.effects import Gapped
from overlay_edge.proto.telemetry import Record, Telemetry

if TYPE_CHECKING:
    from overlay_edge.bridge.broker import Broker

MAX_RECEIPTS = 64  # in one message: 1 KiB
GIVEN_UP = ("backlog", "tag")  # of what the crossing counts; the rest arrives by other ways


Dial = Callable[[Will, bool], AbstractAsyncContextManager["Broker"]]


class MqttBridge:
    """One bridge.

    Args:
        config: What crosses, and the bounds.
        port: The mesh; None = only telemetry is sent.
        dial: Connects to the broker; told the will, and whether to begin a session.
        telemetry: What this node tells of itself; None = nothing.
        name: This node in the topics of telemetry.
        journal: Told when the broker goes away and when it is back.
        on_change: Told why the broker is not there; empty = it is.
        sleep: Waits that many seconds.
        dice: 0 to 1.
        clock: Monotonic seconds.
        wall: Wall seconds, for people.
        tell: Fills the telemetry, until cancelled.
        credentials: What is shown to the broker; zeroed by :meth:`close`.

    Attributes:
        traffic: What was done.
        sleep: Waits between connections.
        crossing: What is decided.
    """

    def __init__(
        self,
        config: MqttConfig,
        port: MeshPort | None,
        dial: Dial,
        *,
        telemetry: Telemetry | None,
        name: str,
        journal: Journal,
        on_change: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float],
        clock: Callable[[], float],
        wall: Callable[[], float],
        tell: Callable[[], Coroutine[Any, Any, None]] | None = None,
        credentials: Secret | None = None,
    ) -> None:
        self.traffic = Traffic()
        self._credentials = credentials
        self._config = config
        self._port = port
        self._dial = dial
        self._telemetry = telemetry
        self._tell = tell
        self._name = name
        self._journal = journal
        self._on_change = on_change
        self.sleep = sleep
        self._dice = dice
        self._clock = clock
        self._wall = wall
        most, size = config.backlog_messages, config.backlog_bytes
        self.crossing = self._begin()
        self._inward = None
        if port is not None:
            self._inward = Inward(
                port,
                self.crossing,
                self.traffic,
                look=self.look,
                prefix=config.will,
                queue=self._queue,
                news=self.wake,
                journal=journal,
                sleep=sleep,
                clock=clock,
            )
        self._outbox: Backlog[Out] = Backlog(most, size)
        self._flying: dict[int, Parcel] = {}
        self._hearings: list[Hearing] = []
        self._sent = 0
        self._news = asyncio.Event()  # there may be something to send
        self._landed = asyncio.Event()  # something less is on its way
        self._broker: Broker | None = None
        self._is_leaving = False
        self._links = 0
        self._since = math.inf  # when this connection was ready
        self._backoff = Backoff(REDIAL_S, is_endless=True)
        self._problem = "not connected yet"
        if telemetry is not None:
            telemetry.on_added = self.wake

    @property
    def backlog(self) -> int:
        """Messages that wait for the broker, or for their turn."""
        return len(self._outbox) + len(self._flying) + len(self.crossing)

    def totals(self) -> dict[str, int]:
        """What is counted, by the metric's name."""
        return {
            "in": self.traffic.into,
            "out": self.traffic.out,
            "dropped_duplicates": self.traffic.duplicates,
            "reconnects": self.traffic.reconnects,
            "backlog": self.backlog,
        }

    def shed(self) -> Counter[str]:
        """Messages given up, by reason."""
        return self.traffic.shed + Counter(
            {why: n for why, n in self.crossing.counts.items() if why in GIVEN_UP}
        )

    def health(self) -> str:
        """Why the broker is not there; empty = it is."""
        return self._problem

    def close(self) -> None:
        """Let go of everything that waits, of the connection, and zero the credentials."""
        self._is_leaving = True
        self.purge(None)
        if self._broker is not None:
            self._broker.close(is_clean=False)
        if self._credentials is not None:
            self._credentials.close()

    def purge(self, topic: str | None) -> int:
        """Let go of the messages of a topic of the mesh that wait, or all; returns how many.

        What is on its way to the broker is not called back.
        """
        target = None if topic is None else self.crossing.topics.outward(topic)
        gone = 0
        if topic is None or target is not None:
            gone = self._outbox.drop(lambda out: target in (None, out.topic))
        gone += self.crossing.purge(topic)
        if gone:
            self.traffic.shed["purged"] += gone
        return gone

    def wake(self) -> None:
        """There is telemetry to send."""
        self._news.set()

    async def run(self) -> None:
        """Carry until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._tell is not None:
                tasks.create_task(self._tell())
            if self._port is not None and self._inward is not None:
                for topic in self.crossing.topics.out:
                    tasks.create_task(self._hear_mesh(self._port, topic))
                tasks.create_task(self._inward.bring_held())
            while not self._is_leaving:
                self._since, reason = math.inf, ""
                try:
                    await self._serve()
                except* (EdgeError, OSError, TimeoutError) as group:
                    reason = first_reason(group, self._config.timeout_s)
                await self._lost(reason)

    async def leave(self) -> None:
        """Give the broker what waits, and say goodbye; bound it by a timeout, then cancel."""
        broker = self._broker
        if broker is None or self._problem:
            return
        while any(map(len, self._hearings)):  # noqa: ASYNC110 - their readers are tasks here
            await asyncio.sleep(0)
        while self.backlog - len(self.crossing):
            self._landed.clear()
            await self._landed.wait()
        self._is_leaving = True
        await self._say(broker, "stopped", expiry_s=int(ABSENT_S))
        broker.close(is_clean=True)

    # -- one connection -----------------------------------------------------------------------

    async def _serve(self) -> None:
        will = Will(self._state_topic, self._state("offline"), int(ABSENT_S))
        async with self._dial(will, self._links == 0) as broker:
            self._links += 1
            self.traffic.reconnects += self._links > 1
            self._broker = broker
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(broker))
                await self._introduce(broker)
                self._found(broker)
                await self._send(broker, tasks)

    async def _hear(self, broker: "Broker") -> None:
        if self._inward is not None:
            await self._inward.hear(broker)
        async for _ in broker.heard():  # it says nothing, until it is gone
            pass

    async def _introduce(self, broker: "Broker") -> None:
        inward, will = self._inward, self._config.will
        if inward is None:
            await self._say(broker, "online")
            return
        inward.standing.clear()
        inward.birth = self._state("online")
        for what in ("state", "done"):
            await broker.subscribe(f"{will}/+/{what}", 1, no_local=False, retained=True)
        await self._say(broker, "online")
        try:  # what comes after our own word, comes to all bridges
            async with asyncio.timeout(self._config.timeout_s + PATIENCE_S):
                await inward.standing.wait()
        except TimeoutError:
            raise TransportError(f"the broker does not pass on {self._state_topic}") from None
        # What is retained was taken over long ago, unless this is the first bridge here.
        is_first = self._links == 1 and not self.crossing.has_company
        for one in self.crossing.topics.into:
            await broker.subscribe(one.source, self._config.qos, retained=is_first)

    def _found(self, broker: "Broker") -> None:
        self._since = self._clock()
        if self._links > 1 and not broker.has_session and self.crossing.topics.into:
            self.traffic.gaps["session"] += 1
            self._journal.warning("mqtt_gap", reason="the broker has forgotten this bridge")
        if self._problem:
            self._problem = ""
            self._journal.info("mqtt_connected", lead=self.crossing.is_lead, links=self._links)
            self._on_change("")

    async def _lost(self, reason: str) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # a group of tasks that fail keeps it to itself
        self._broker = None
        self.crossing.lost(now=self._clock())
        flying, self._flying = list(self._flying.values()), {}
        if self._is_leaving:
            return
        outs = [one.origin for one in flying if isinstance(one.origin, Out)]
        for _ in self._outbox.put_back([(out, out.cost) for out in outs]):
            self.traffic.shed["backlog"] += 1
        if self._telemetry is not None:
            self._telemetry.put_back([p.origin for p in flying if isinstance(p.origin, Record)])
        self._problem = reason
        self._journal.warning("mqtt_lost", reason=reason, backlog=self.backlog)
        self._on_change(reason)
        lived_s = max(0.0, self._clock() - self._since)  # letting us in is no success yet
        wait_s = self._backoff.failed(lived_s=lived_s, dice=self._dice())
        await self.sleep(wait_s or 0.0)

    def _begin(self) -> Crossing:
        """Be the bridge of the node that this is now."""
        config, me = self._config, self._port.id if self._port is not None else b""
        self._me = me.hex()
        self._state_topic = f"{config.will}/{self._me}/state"
        if self._port is None:
            self._state_topic = f"{config.telemetry}/{self._name}/state"
        topics = TopicMap(config.out_topics, config.in_topics, own=(config.will, config.telemetry))
        most, size = config.backlog_messages, config.backlog_bytes
        return Crossing(me, topics, max_items=most, max_bytes=size, now=self._clock())

    def look(self) -> None:
        """Notice another certificate: this is another node then, and what it held is gone."""
        if self._port is None or self._inward is None or self._port.id.hex() == self._me:
            return
        self.purge(None)
        self.crossing = self._inward.crossing = self._begin()
        self._journal.warning("mqtt_renamed", reason="another certificate", id=self._me)
        if self._broker is not None:
            self._broker.close(is_clean=False)  # others hear that the one before is gone

    # -- from the mesh ------------------------------------------------------------------------

    async def _hear_mesh(self, port: MeshPort, topic: str) -> None:
        hearing = await self._subscribed(port, topic)
        self._hearings.append(hearing)
        try:
            async for event in hearing:
                if isinstance(event, Gapped):
                    self.traffic.gaps[event.reason] += event.last - event.first + 1
                    continue
                self.look()
                out = self.crossing.delivered(event, now=self._clock())
                if out is not None:
                    self._queue(out)
                if self._inward is not None:
                    self._inward.kick()
        finally:
            self._hearings.remove(hearing)
            hearing.close()

    async def _subscribed(self, port: MeshPort, topic: str) -> Hearing:
        while True:
            try:
                return port.subscribe(topic)
            except Refused as refusal:
                self._journal.warning("mqtt_subscribe", reason=str(refusal), topic=topic)
                await self.sleep((refusal.retry_after_ms or 1000) / 1000)

    def _queue(self, out: Out) -> None:
        for _ in self._outbox.add(out, out.cost):
            self.traffic.shed["backlog"] += 1
        self._news.set()

    async def _send(self, broker: "Broker", tasks: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(broker.inflight)
        while True:
            await slots.acquire()
            parcel = await self._next_parcel()
            self._sent += 1
            self._flying[self._sent] = parcel
            tasks.create_task(self._deliver(broker, self._sent, parcel, slots))

    async def _next_parcel(self) -> Parcel:
        while True:
            self._news.clear()
            if len(self._outbox):
                return self._parcel(self._outbox.take())
            if receipts := self.crossing.take_receipts(MAX_RECEIPTS):
                return Parcel(self._state_topic.removesuffix("state") + "done", receipts)
            if self._telemetry is not None:
                record = self._telemetry.take(ts_ms=int(1000 * self._wall()))
                if record is not None:
                    topic = f"{self._config.telemetry}/{self._name}/{record.kind}"
                    return Parcel(topic, record.text, origin=record)
            await self._news.wait()

    async def _deliver(
        self, broker: "Broker", number: int, parcel: Parcel, slots: asyncio.Semaphore
    ) -> None:
        async with asyncio.timeout(self._config.timeout_s):
            refusal = await broker.publish(
                parcel.topic, parcel.data, qos=self._config.qos, properties=parcel.tags
            )
        del self._flying[number]
        slots.release()
        self._landed.set()
        if refusal:
            self.traffic.shed["refused"] += 1
            self._journal.warning("mqtt_refused", reason=refusal, topic=parcel.topic)
        elif isinstance(parcel.origin, Out):
            self.traffic.out += 1
        if isinstance(parcel.origin, Out):
            self.crossing.done(parcel.origin, now=self._clock())
            self._news.set()  # there may be a receipt

    def _parcel(self, out: Out) -> Parcel:
        tags: tuple[tuple[str, str], ...] = (("oe-id", out.tag), ("oe-origin", self._me))
        if out.addr:  # an object: its address stands for it
            tags += (("oe-addr", out.addr), ("oe-size", str(out.size)))
        return Parcel(out.topic, out.addr.encode() or out.data, tags, out)

    # -- words --------------------------------------------------------------------------------

    async def _say(self, broker: "Broker", state: str, *, expiry_s: int = 0) -> None:
        """Tell everybody how this bridge is."""
        async with asyncio.timeout(self._config.timeout_s):
            refusal = await broker.publish(
                self._state_topic, self._state(state), qos=1, retain=True, expiry_s=expiry_s
            )
        if refusal:
            raise TransportError(f"publishing {self._state_topic}: {refusal}")

    def _state(self, state: str) -> bytes:
        facts = {"state": state, "name": self._name, "link": self._links}
        return json.dumps(facts, separators=(",", ":")).encode()
