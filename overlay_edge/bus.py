"""The bus: what one room must tell others that it may not know.

A publisher is never made to wait and never fails. Each subscription is a bounded ring: whoever
reads too slowly loses the oldest events, and is told how many before the next one::

    publish --> [ . . . . . . ] --> Lagged(3), then the oldest event still held
                  capacity
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

DEFAULT_CAPACITY = 256  # the platform's bus has the same; a burst of sessions fits


class Topic(StrEnum):
    """What an event is about: the process, or what it does for peers."""

    KERNEL = "kernel"
    OVERLAY = "overlay"


@dataclass(frozen=True, slots=True)
class Health:
    """A part of the process came up or went down."""

    topic: ClassVar[Topic] = Topic.KERNEL
    service: str
    ok: bool


@dataclass(frozen=True, slots=True)
class ConfigUpdated:
    """Another config is in force from now on.

    Attributes:
        version: Counts up from 1.
        changed: One line for each key that differs; secrets are left out.
    """

    topic: ClassVar[Topic] = Topic.KERNEL
    version: int
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceCrashed:
    """A part of the process ended with an error."""

    topic: ClassVar[Topic] = Topic.KERNEL
    service: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The process was asked to end; the drain begins."""

    topic: ClassVar[Topic] = Topic.KERNEL


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A peer finished HELLO.

    Attributes:
        peer: Its address; never a metric label.
        pq: What the handshake negotiated, ``hybrid`` or ``classical``.
        comp: Compression both sides know, or empty.
    """

    topic: ClassVar[Topic] = Topic.OVERLAY
    peer: str
    pq: str
    comp: str


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session is over."""

    topic: ClassVar[Topic] = Topic.OVERLAY
    peer: str
    reason: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class ReadyChanged:
    """Readiness flipped."""

    topic: ClassVar[Topic] = Topic.OVERLAY
    ready: bool
    degraded: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """A peer was not let through.

    Attributes:
        reason: One of our own words.
        cap_id: Fingerprint of its capability, or empty; never the capability.
    """

    topic: ClassVar[Topic] = Topic.OVERLAY
    reason: str
    cap_id: str = ""


@dataclass(frozen=True, slots=True)
class GossipRx:
    """Frames of the mesh that came in the last second, and their bytes."""

    topic: ClassVar[Topic] = Topic.OVERLAY
    frames: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GossipTx:
    """Frames of the mesh that were sent in the last second, and their bytes."""

    topic: ClassVar[Topic] = Topic.OVERLAY
    frames: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lagged:
    """This many events were lost because the subscriber read too slowly."""

    count: int


Event = (
    Health
    | ConfigUpdated
    | ServiceCrashed
    | Shutdown
    | SessionOpened
    | SessionClosed
    | ReadyChanged
    | AuthFailed
    | GossipRx
    | GossipTx
)


class Subscription(AsyncIterator[Event | Lagged]):
    """Events of one topic, in order; made by :meth:`Bus.subscribe`, read by one task."""

    def __init__(self, bus: "Bus", capacity: int) -> None:
        self._bus = bus
        self._ring: deque[Event] = deque(maxlen=capacity)
        self._lost = 0
        self._is_closed = False
        self._waiter: asyncio.Future[None] | None = None

    async def __anext__(self) -> Event | Lagged:
        while True:
            if self._lost:
                lagged = Lagged(self._lost)
                self._lost = 0
                self._bus.lagged_total += 1
                return lagged
            if self._ring:
                return self._ring.popleft()
            if self._is_closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    @property
    def depth(self) -> int:
        """Events held that the reader has not taken."""
        return len(self._ring)

    def close(self) -> None:
        """Take no more events; the reader still gets those it holds, then the end."""
        self._is_closed = True
        self._bus.forget(self)
        self._wake()

    def offer(self, event: Event) -> None:
        """Take one event; called by the bus."""
        if len(self._ring) == self._ring.maxlen:  # the deque drops its oldest
            self._lost += 1
            self._bus.overflow_dropped_total += 1
        self._ring.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Bus:
    """A broadcast inside one process, on one event loop.

    Args:
        capacity: Events held for a slow subscriber.

    Attributes:
        published_total: Events published.
        overflow_dropped_total: Events that some subscriber lost.
        capacity: Events held for a slow subscriber.
        lagged_total: Times a subscriber was told that it lost some.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.published_total = 0
        self.overflow_dropped_total = 0
        self.lagged_total = 0
        self.capacity = capacity
        self._subscriptions: dict[Topic, list[Subscription]] = {topic: [] for topic in Topic}
        self._is_closed = False

    @property
    def depth(self) -> int:
        """Events held for the slowest subscriber."""
        return max((sub.depth for subs in self._subscriptions.values() for sub in subs), default=0)

    def publish(self, event: Event) -> None:
        """Tell every subscriber of the event's topic; after ``close`` nobody listens."""
        self.published_total += 1
        for subscription in self._subscriptions[event.topic]:
            subscription.offer(event)

    def subscribe(self, topic: Topic) -> Subscription:
        """Hear a topic's events from now on; close the subscription when done."""
        subscription = Subscription(self, self.capacity)
        if self._is_closed:
            subscription.close()
        else:
            self._subscriptions[topic].append(subscription)
        return subscription

    def close(self) -> None:
        """End every subscription; their readers first get what they hold."""
        self._is_closed = True
        for subscription in [sub for subs in self._subscriptions.values() for sub in subs]:
            subscription.close()

    def forget(self, subscription: Subscription) -> None:
        """Drop a closed subscription; called by it."""
        for subscriptions in self._subscriptions.values():
            if subscription in subscriptions:
                subscriptions.remove(subscription)
