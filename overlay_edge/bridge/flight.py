"""Flight: one object on its way from a neighbour to everyone who asked for it meanwhile.

    Body --64 KiB--> hash --> a queue of 4 chunks --> Waiter --> the peer's stream
                       |                              Waiter
                       +--> an upload of the store    Waiter

It is never held whole. The neighbour is read as fast as the fastest waiter takes; who falls
behind the queue goes on from the store when the object is there, and is refused when it is
not kept. The last chunk is withheld until the digest of all of them is the address, so no
waiter ever holds a whole object that is not the one it asked for.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from blake3 import blake3

from overlay_edge.bridge.neighbour import RETRY_MS, Failed
from overlay_edge.errors import Refused
from overlay_edge.host.clock import monotonic
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.retry import Outcome
from overlay_edge.store.cache import StoredObject, Upload

QUEUE_CHUNKS = 4
GRACE_S = 0.05  # the fast wait so long for the slow: they may still take 1 MiB/s in step


class Body(Protocol):
    """The bytes of an answer."""

    size: int

    async def read(self, limit: int) -> bytes:
        """Return 1 to ``limit`` bytes, none at the end; raises :class:`Failed`."""
        ...  # pragma: no cover

    def close(self) -> None:
        """Let go of the connection."""
        ...  # pragma: no cover


async def read_chunk(body: Body, length: int, name: str) -> bytes:
    """Read exactly so many bytes.

    Raises:
        Failed: The body is shorter than announced.
    """
    parts: list[bytes] = []
    missing = length
    while missing:
        data = await body.read(missing)
        if not data:
            raise Failed(Outcome.CUT, f"{name}: the body ended before its {body.size} bytes")
        parts.append(data)
        missing -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def begin(body: Body, name: str) -> bytes:
    """Read the first chunk; an object that is no longer than this is whole then."""
    return await read_chunk(body, min(CHUNK_BYTES, body.size), name)


class Waiter:
    """What one request waits for; the source of its bytes once the size is known.

    Args:
        flight: Whose.
        on_size: Told the size once, before any byte can be read.
        on_bytes: Told that a read is worth it, also when that will raise.
        on_refused: Told once, instead of the size, when there is nothing to read.
    """

    def __init__(
        self,
        flight: "Flight",
        on_size: Callable[[int], None],
        on_bytes: Callable[[], None],
        on_refused: Callable[[Refused], None],
    ) -> None:
        self.offset = 0
        self.is_told = False
        self.error: Refused | None = None
        self._flight = flight
        self._on_size = on_size
        self._on_bytes = on_bytes
        self._on_refused = on_refused
        self._is_closed = False

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        """See :class:`~overlay_edge.proto.flow.Source`."""
        if self.error is not None:
            raise self.error
        taken = self._flight.take(self.offset, limit)
        if taken is None:
            return None
        data, is_last = taken
        self.offset += len(data)
        if not self._is_closed:
            self._flight.moved()
        return data, is_last

    def close(self) -> None:
        """Wait no longer."""
        if not self._is_closed:
            self._is_closed = True
            self._flight.leave(self)

    def tell(self, size: int) -> None:
        """The size is known."""
        if not (self.is_told or self._is_closed or self.error):
            self.is_told = True
            self._on_size(size)

    def wake(self) -> None:
        """There may be bytes."""
        if self.is_told and not self._is_closed:
            self._on_bytes()

    def refuse(self, refusal: Refused) -> None:
        """There will be none."""
        if self._is_closed or self.error is not None:
            return
        self.error = refusal
        if self.is_told:
            self._on_bytes()
        else:
            self._on_refused(refusal)


class Flight:
    """One object on its way.

    Args:
        addr: Which.
        stall_s: A chunk must come, and be taken, in this time.
        on_deserted: Called when the last waiter has left.
    """

    def __init__(self, addr: str, *, stall_s: float, on_deserted: Callable[[], None]) -> None:
        self.addr = addr
        self.size: int | None = None
        self.is_over = False
        self.is_whole = False
        self.is_deserted = False
        self._stall_s = stall_s
        self._on_deserted = on_deserted
        self._waiters: dict[Waiter, None] = {}
        self._chunks: deque[bytes] = deque()
        self._first = 0  # number of the oldest chunk in the queue
        self._upload: Upload | None = None
        self._stored: StoredObject | None = None
        self._moved = asyncio.Event()

    # -- those who wait -----------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many."""
        return len(self._waiters)

    @property
    def is_kept(self) -> bool:
        """It is in the store now."""
        return self._stored is not None

    @property
    def held_bytes(self) -> int:
        """What lies in the queue."""
        return sum(len(chunk) for chunk in self._chunks)

    @property
    def can_join(self) -> bool:
        """A request for this address can still be served from it, from the first byte on."""
        return not self.is_over and (self._first == 0 or self._upload is not None)

    def join(
        self,
        on_size: Callable[[int], None],
        on_bytes: Callable[[], None],
        on_refused: Callable[[Refused], None],
    ) -> Waiter:
        """Wait for it, too; nobody is told anything before this returns."""
        waiter = Waiter(self, on_size, on_bytes, on_refused)
        self._waiters[waiter] = None
        if self.size is not None:
            asyncio.get_running_loop().call_soon(waiter.tell, self.size)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """One less waits."""
        if self._waiters.pop(waiter, self) is None:
            self.moved()
            if not self._waiters and not self.is_over:
                self.is_over = self.is_deserted = True
                self._chunks.clear()
                self._on_deserted()

    def moved(self) -> None:
        """Somebody took something, or left."""
        self._moved.set()

    def take(self, offset: int, limit: int) -> tuple[bytes, bool] | None:
        """Bytes from ``offset`` as far as they are here, and are they the last."""
        if self._stored is not None:
            data = self._stored.read(offset, limit)
            return data, offset + len(data) >= self._stored.size
        number = offset // CHUNK_BYTES - self._first
        if not 0 <= number < len(self._chunks):
            return None
        start = offset % CHUNK_BYTES
        data = self._chunks[number][start : start + limit]
        return data, offset + len(data) == self.size

    def fail(self, refusal: Refused) -> None:
        """It will not arrive."""
        self.is_over = True
        for waiter in list(self._waiters):
            waiter.refuse(refusal)

    # -- the bytes ----------------------------------------------------------------------

    async def carry(
        self,
        body: Body,
        first: bytes,
        keep: Callable[[int], Upload | None],
        find: Callable[[], StoredObject | None],
        name: str,
    ) -> None:
        """Bring the body to those who wait.

        Args:
            body: Its first chunk is read already.
            first: That chunk.
            keep: Asked for an upload of the size; None = it is not kept.
            find: Asked for the object once it is stored.
            name: Of the neighbour, for messages.

        Raises:
            Failed: It did not come, or is another object.
        """
        self._upload = keep(body.size)
        try:
            await self._carry(body, first, find, name)
        finally:
            if self._upload is not None:
                self._upload.abort()

    async def _carry(
        self, body: Body, first: bytes, find: Callable[[], StoredObject | None], name: str
    ) -> None:
        hashed, done, chunk = blake3(), 0, first
        while True:
            hashed.update(chunk)
            self._keep(chunk)
            done += len(chunk)
            if done == body.size:
                await self._verify(body, "b3:" + hashed.hexdigest(), name)
                self._stored = self._commit(find)
            await self._offer(body.size, chunk)
            if done == body.size:
                self.is_whole = True
                return
            chunk = await self._next_chunk(body, min(CHUNK_BYTES, body.size - done), name)

    async def drained(self) -> None:
        """Wait until everyone took what is still in the queue, or is refused for not doing so."""
        while self._chunks and self._waiters and self._stored is None:
            await self._make_room(len(self._chunks))

    async def _next_chunk(self, body: Body, length: int, name: str) -> bytes:
        try:
            async with asyncio.timeout(self._stall_s):
                return await read_chunk(body, length, name)
        except TimeoutError:
            raise Failed(
                Outcome.TIMEOUT, f"{name}: less than {length} bytes in {self._stall_s:.3g} s"
            ) from None

    async def _verify(self, body: Body, found: str, name: str) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                is_longer = bool(await body.read(1))
        except TimeoutError:
            raise Failed(Outcome.TIMEOUT, f"{name}: the body does not end") from None
        if is_longer:
            raise Failed(Outcome.LIED, f"{name}: more than the {body.size} bytes announced")
        if found != self.addr:
            raise Failed(Outcome.LIED, f"{name}: the bytes are {found}, not {self.addr}")

    async def _offer(self, size: int, chunk: bytes) -> None:
        if self._stored is None:
            await self._make_room(QUEUE_CHUNKS)
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        self.size = size
        for waiter in list(self._waiters):
            waiter.tell(size)
            waiter.wake()

    async def _make_room(self, limit: int) -> None:
        """Wait until the queue is shorter than ``limit``, or make it so."""
        since = monotonic()
        while True:
            self._trim()
            if len(self._chunks) < limit:
                return
            left_s = since + self._patience() - monotonic()
            if left_s <= 0:
                self._drop_oldest()
                return
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._moved.wait()

    def _patience(self) -> float:
        """How long the oldest chunk waits: not long, if others wait for the next and it is kept."""
        is_led = any(w.offset // CHUNK_BYTES > self._first for w in self._waiters)
        return min(GRACE_S, self._stall_s) if is_led and self._upload else self._stall_s

    def _trim(self) -> None:
        """Drop what everyone has who is not behind already."""
        needed = [w.offset // CHUNK_BYTES for w in self._waiters]
        needed = [number for number in needed if number >= self._first]
        while self._chunks and (not needed or min(needed) > self._first):
            self._chunks.popleft()
            self._first += 1

    def _drop_oldest(self) -> None:
        self._chunks.popleft()
        self._first += 1
        self._part_with_the_slow()

    def _part_with_the_slow(self) -> None:
        """Refuse who is behind the queue, unless it can go on from the store later."""
        if self._upload is not None:
            return
        slow = Refused(408, "timeout", "the object was not taken in time", retry_after_ms=RETRY_MS)
        for waiter in list(self._waiters):
            if waiter.offset // CHUNK_BYTES < self._first:
                waiter.refuse(slow)

    # -- the store ----------------------------------------------------------------------

    def _keep(self, chunk: bytes) -> None:
        if self._upload is None:
            return
        try:
            self._upload.write(chunk)
        except Refused:  # purged, or no RAM: it goes on without
            self._upload = None
            self._part_with_the_slow()

    def _commit(self, find: Callable[[], StoredObject | None]) -> StoredObject | None:
        if self._upload is None:
            return None
        try:
            self._upload.commit(now=monotonic())
            found = find()
        except Refused:
            found = None
        self._upload = None
        if found is None:
            self._part_with_the_slow()
        return found
