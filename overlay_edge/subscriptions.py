"""Subscriptions: messages and gaps on their way to who asked for a topic, here or over a link.

Nobody is waited for. What is held for a subscriber is bounded in messages and bytes, and so is
what is held for all; who reads too slowly loses the oldest, and is told so in their place::

    offer --> [ . . . . . ] --> Gapped("slow", 4..6), then the oldest message still held
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from overlay_edge.errors import Refused
from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.proto.gossip_message import NOBODY

MAX_SUBSCRIPTIONS = 64  # of all callers together
MAX_MESSAGES = 1024  # held for one
MAX_BYTES = 1 << 20
MAX_ALL_BYTES = 2 << 20  # config/budget.py counts with it
ENTRY_BYTES = 500  # measured: an event and its place; its topic is shared
MAX_GAPS = 64  # separate ranges that were lost; what is more is only counted
SLOW, PURGED = "slow", "purged"
BUSY_RETRY_MS = 5000  # guess: somebody may have hung up by then

Told = Deliver | Gapped


@dataclass(slots=True)
class _Lost:
    """Numbers in a row that were thrown away."""

    publisher: bytes
    epoch: int
    first: int
    last: int
    reason: str


class Subscription(AsyncIterator[Told]):
    """What is told of one topic, in order; made by :meth:`Subscriptions.add`, read by one task.

    Attributes:
        topic: What it is about.
        held_bytes: Of what waits to be read.
        on_ready: Called when there is something to :meth:`take`, or the end.
    """

    def __init__(self, owner: "Subscriptions", topic: str) -> None:
        self.topic = topic
        self.held_bytes = 0
        self.on_ready: Callable[[], None] = lambda: None
        self.is_closed = False
        self._owner = owner
        self._events: deque[Told] = deque()
        self._lost: list[_Lost] = []
        self._uncounted = 0
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def take(self) -> Told | None:
        """The next message or gap; None = there is none now."""
        if self._lost:
            lost = self._lost.pop(0)
            return Gapped(
                self.topic, lost.publisher, lost.epoch, lost.first, lost.last, lost.reason
            )
        if self._uncounted:  # of several publishers, too mixed to be named
            count, self._uncounted = self._uncounted, 0
            return Gapped(self.topic, NOBODY, 0, 1, count, SLOW)
        return self._pop() if self._events else None

    async def __anext__(self) -> Told:
        while (event := self.take()) is None:
            if self.is_closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return event

    def close(self) -> None:
        """Hear no more; what is held can still be read."""
        if not self.is_closed:
            self.is_closed = True
            self._owner.remove(self)
            self._wake()

    def discard(self) -> None:
        """Close it, and let go of what is held: nobody will read it."""
        self.close()
        while self._events:
            self._pop()

    # -- the owner's side ---------------------------------------------------------------

    def offer(self, event: Told) -> None:
        """One more; the oldest make room."""
        self._events.append(event)
        self._count(_cost(event))
        while len(self._events) > MAX_MESSAGES or self.held_bytes > MAX_BYTES:
            self.lose(SLOW)
        self._wake()

    def lose(self, reason: str) -> None:
        """Throw the oldest away, and remember to tell."""
        event = self._pop()
        if isinstance(event, Gapped):
            first, last, reason = event.first, event.last, event.reason
        else:
            first = last = event.seq
        if reason == SLOW:
            self._owner.lost_total += last - first + 1
        for lost in self._lost:
            same = (lost.publisher, lost.epoch, lost.reason)
            if same == (event.publisher, event.epoch, reason) and lost.last + 1 == first:
                lost.last = last
                return
        if len(self._lost) < MAX_GAPS:
            self._lost.append(_Lost(event.publisher, event.epoch, first, last, reason))
        else:
            self._uncounted += last - first + 1

    def drop(self) -> tuple[int, int]:
        """Throw everything away; returns how many messages, and their bytes."""
        count, held = len(self._events), self.held_bytes
        while self._events:
            self.lose(PURGED)
        if count:
            self._wake()
        return count, held

    def _pop(self) -> Told:
        event = self._events.popleft()
        self._count(-_cost(event))
        return event

    def _count(self, amount: int) -> None:
        self.held_bytes += amount
        self._owner.held_bytes += amount

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self.on_ready()


class Subscriptions:
    """All of them, by topic.

    Args:
        on_unwanted: Told of a topic when nobody wants to hear it any more.

    Attributes:
        held_bytes: Of what waits to be read by anybody.
        lost_total: Messages thrown away because their subscriber was slow.
    """

    def __init__(self, on_unwanted: Callable[[str], None] = lambda _: None) -> None:
        self.held_bytes = 0
        self.lost_total = 0
        self._on_unwanted = on_unwanted
        self._by_topic: dict[str, list[Subscription]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_topic.values()))

    @property
    def topics(self) -> list[str]:
        """What is subscribed to."""
        return list(self._by_topic)

    def add(self, topic: str) -> Subscription:
        """One more.

        Raises:
            Refused: There is no room for it.
        """
        if len(self) >= MAX_SUBSCRIPTIONS:
            raise Refused(
                503,
                "busy",
                f"{MAX_SUBSCRIPTIONS} subscriptions are open",
                retry_after_ms=BUSY_RETRY_MS,
            )
        subscription = Subscription(self, topic)
        self._by_topic.setdefault(topic, []).append(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """It is closed."""
        others = self._by_topic.get(subscription.topic, [])
        if subscription in others:
            others.remove(subscription)
        if not others and self._by_topic.pop(subscription.topic, None) is not None:
            self._on_unwanted(subscription.topic)

    def offer(self, event: Told) -> None:
        """Tell everybody who wants to hear; who holds most makes room."""
        for subscription in self._by_topic.get(event.topic, ()):
            subscription.offer(event)
        while self.held_bytes > MAX_ALL_BYTES:
            all_of_them = [one for some in self._by_topic.values() for one in some if len(one)]
            if not all_of_them:
                break  # what is held is of closed ones, whose readers are about to take it
            max(all_of_them, key=lambda one: one.held_bytes).lose(SLOW)

    def purge(self, topic: str | None) -> tuple[int, int]:
        """Throw away what waits, of a topic or all; returns how many messages, and bytes."""
        messages = freed = 0
        for name, some in self._by_topic.items():
            if topic in (None, name):
                for one in some:
                    count, held = one.drop()
                    messages, freed = messages + count, freed + held
        return messages, freed

    def close(self) -> None:
        """End all of them."""
        for subscription in [one for some in self._by_topic.values() for one in some]:
            subscription.close()


def _cost(event: Told) -> int:
    return ENTRY_BYTES + (len(event.data) if isinstance(event, Deliver) else 0)
