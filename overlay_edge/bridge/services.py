"""Services: what this edge does not have or do itself, asked of the services behind it.

    index     GET /resolve/:key                    does anybody have it?
    storage   GET, HEAD, PUT /o/:cid               the bytes
    mailbox   POST /v1/send, /v1/recv, /v1/ack/:id

The index only saves a walk: when it is in trouble, the storage is asked directly. The
addresses of providers that it names are never dialled; only what the config names is.
"""

import asyncio
import importlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from overlay_edge.bridge.answer import read_providers, read_text
from overlay_edge.bridge.copies import Copies
from overlay_edge.bridge.flight import Body, Flight, Waiter, begin
from overlay_edge.bridge.mail import Mail, read_mail
from overlay_edge.bridge.neighbour import RETRY_MS, Failed, Health, Neighbour
from overlay_edge.bridge.question import Listener, Question
from overlay_edge.config import DownstreamConfig
from overlay_edge.errors import Refused
from overlay_edge.host.clock import monotonic
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.retry import Outcome
from overlay_edge.store.cache import ObjectStore, StoredObject, Upload

if TYPE_CHECKING:
    from overlay_edge.bridge.downstream import Http

NAMES = ("index", "storage", "mailbox")


class Downstream:
    """The services behind this edge. ``run`` must be running for anything to be answered.

    Args:
        config: Where they are, and how much patience they get.
        store: Where fetched objects are kept.
        on_change: Called when ``health`` may have changed.
        rng: Numbers from 0 up to 1, for waits.
    """

    def __init__(
        self,
        config: DownstreamConfig,
        store: ObjectStore,
        on_change: Callable[[], None],
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.neighbours = {
            name: Neighbour(name, config, rng, on_change) for name in NAMES if getattr(config, name)
        }
        self.coalesced_total = 0
        self.fetched_bytes = 0
        self.flights: Counter[str] = Counter()  # kept, passed, failed, left
        self.copies = Copies(self._send, self._patience)
        self._config = config
        self._store = store
        self._open: dict[str, Flight] = {}
        self._asked: dict[str, Question] = {}
        self._busy = 0
        self._http: Http | None = None
        self._tasks: asyncio.TaskGroup | None = None

    # -- life ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled; every request that waits then is refused."""
        # aiohttp takes long to load: nobody waits for it who asks for nothing.
        name = "overlay_edge.bridge.downstream"
        http: Http = (await asyncio.to_thread(importlib.import_module, name)).Http(self._config)
        self._http = http
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._serve(tasks)
        finally:
            self._http = None
            await http.close()

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        for name in self.neighbours:
            tasks.create_task(self.neighbours[name].watch(partial(self._probe, name)))
        if self._config.write_through:
            tasks.create_task(self.copies.run())
        self._tasks = tasks
        try:
            await asyncio.Event().wait()  # until cancelled
        finally:
            self._tasks = None

    @property
    def has_storage(self) -> bool:
        """Objects that are not here may be found there."""
        return "storage" in self.neighbours

    @property
    def has_mailbox(self) -> bool:
        """Somebody serves the mailbox application."""
        return "mailbox" in self.neighbours

    @property
    def busy(self) -> int:
        """Calls on behalf of peers that are open now; at most ``max_flights``."""
        return self._busy

    def health(self) -> Mapping[str, Health]:
        """Of each configured service."""
        return {name: found.health for name, found in self.neighbours.items()}

    # -- what peers ask for -------------------------------------------------------------

    def fetch(
        self,
        addr: str,
        *,
        on_size: Callable[[int], None],
        on_bytes: Callable[[], None],
        on_refused: Callable[[Refused], None],
    ) -> Waiter:
        """Bring an object that is not here; one flight serves all who ask meanwhile.

        Args:
            addr: A valid address.
            on_size: Told the size once: answer now, with the waiter as source (if not 0).
            on_bytes: Told that the stream may be resumed.
            on_refused: Told instead of the size that there is nothing.

        Returns:
            Close it when the request is over. Nobody is told anything before this returns.

        Raises:
            Refused: Too much is open already.
        """
        flight = self._open.get(addr)
        if flight is not None and flight.can_join:
            self.coalesced_total += 1
            return flight.join(on_size, on_bytes, on_refused)
        tasks = self._admit()
        flight = Flight(addr, stall_s=self._config.timeout_s, on_deserted=lambda: _cancel(task))
        waiter = flight.join(on_size, on_bytes, on_refused)
        self._open[addr] = flight
        task = tasks.create_task(self._fly(flight))
        # Not in the task itself: one that is cancelled early never begins.
        task.add_done_callback(lambda _: self._landed(flight))
        return waiter

    def look(
        self,
        addr: str,
        *,
        on_answer: Callable[[bytes], None],
        on_refused: Callable[[Refused], None],
    ) -> Listener:
        """Learn the size of an object that is not here: decimal digits.

        Raises:
            Refused: Too much is open already.
        """
        question = self._asked.get(addr)
        if question is None or question.is_over:
            question = self._ask(partial(self._look, addr), addr)
        else:
            self.coalesced_total += 1
        return question.join(on_answer, on_refused)

    def mail(
        self,
        payload: bytes,
        *,
        on_answer: Callable[[bytes], None],
        on_refused: Callable[[Refused], None],
    ) -> Listener:
        """Hand a request of the mailbox application on; the answer is the service's JSON.

        Raises:
            Refused: It makes no sense, or too much is open already.
        """
        mail = read_mail(payload)
        return self._ask(partial(self._deliver, mail), "").join(on_answer, on_refused)

    def stored(self, addr: str) -> None:
        """An object was put here: with ``write_through``, put it into the storage, too."""
        if self._config.write_through:
            self.copies.add(addr)

    # -- one flight ---------------------------------------------------------------------

    def _admit(self) -> asyncio.TaskGroup:
        if self._tasks is None:
            raise Refused(503, "not_ready", "no connection to storage yet", retry_after_ms=RETRY_MS)
        if self._busy >= self._config.max_flights:
            raise Refused(
                503,
                "busy",
                f"{self._busy} requests handed on, limit {self._config.max_flights}",
                retry_after_ms=RETRY_MS,
            )
        self._busy += 1
        return self._tasks

    async def _fly(self, flight: Flight) -> None:
        try:
            await self._carry(flight)
        except Failed as failure:
            flight.fail(failure.as_refused())
        except asyncio.CancelledError:
            if not flight.is_deserted:
                flight.fail(_leaving())
                raise

    def _landed(self, flight: Flight) -> None:
        kept = "kept" if flight.is_kept else "passed"
        self.flights[kept if flight.is_whole else "left" if flight.is_deserted else "failed"] += 1
        self._busy -= 1
        flight.is_over = True
        if self._open.get(flight.addr) is flight:
            del self._open[flight.addr]

    async def _carry(self, flight: Flight) -> None:
        until = monotonic() + self._config.deadline_s
        await self._resolve(flight.addr, until)
        storage = self.neighbours["storage"]
        attempt = partial(self._begin, flight.addr)
        (body, first), call = await storage.call(attempt, is_safe=True, until=until)
        with closing(body), storage.judged(call):
            await flight.carry(
                body, first, partial(self._keep, flight.addr), partial(self._find, flight.addr),
                storage.name,
            )  # fmt: skip
        self.fetched_bytes += body.size
        await flight.drained()

    async def _resolve(self, addr: str, until: float) -> None:
        """Ask the index; when it cannot tell, the storage will."""
        index = self.neighbours.get("index")
        if index is None:
            return
        try:
            await index.ask(partial(self._providers, addr), is_safe=True, until=until)
        except Failed as failure:
            if failure.outcome is Outcome.MISSING:
                raise

    async def _providers(self, addr: str) -> None:
        body = await self._open_answer("index", "GET", f"/resolve/{addr}")
        await read_providers(body, addr, "index")

    async def _begin(self, addr: str) -> tuple[Body, bytes]:
        body = await self._open_object("GET", addr)
        try:
            return body, await begin(body, "storage")
        except BaseException:
            body.close()
            raise

    async def _open_object(self, method: str, addr: str) -> Body:
        body = await self._open_answer("storage", method, f"/o/{addr}")
        if body.size < 0 or body.size > self._config.object_max_bytes:
            body.close()
            if body.size < 0:
                raise Failed(Outcome.LIED, "storage: an object without a length")
            limit = self._config.object_max_bytes
            raise Failed(Outcome.TOO_LARGE, f"object of {body.size} bytes, limit {limit}")
        return body

    async def _look(self, addr: str) -> bytes:
        until = monotonic() + self._config.deadline_s
        await self._resolve(addr, until)

        async def attempt() -> bytes:
            with closing(await self._open_object("HEAD", addr)) as body:
                return b"%d" % body.size

        return await self.neighbours["storage"].ask(attempt, is_safe=True, until=until)

    def _keep(self, addr: str, size: int) -> Upload | None:
        """Room for it in the store, unless others need that more."""
        store, share = self._store, self._config.cache
        used = store.used_bytes + store.reserved_bytes + size
        number = store.object_count + store.upload_count + 1
        if used > share * store.limit_bytes or number > share * store.max_objects:
            return None
        try:
            return store.begin(size, addr, now=monotonic())
        except Refused:
            return None

    def _find(self, addr: str) -> StoredObject | None:
        return self._store.get(addr, now=monotonic())

    # -- short questions ----------------------------------------------------------------

    def _ask(self, answer: Callable[[], Awaitable[bytes]], key: str) -> Question:
        tasks = self._admit()
        question = Question(lambda: _cancel(task))
        if key:
            self._asked[key] = question
        task = tasks.create_task(self._answer(question, answer))
        task.add_done_callback(lambda _: self._told(question, key))
        return question

    def _told(self, question: Question, key: str) -> None:
        self._busy -= 1
        if self._asked.get(key) is question:
            del self._asked[key]

    async def _answer(self, question: Question, answer: Callable[[], Awaitable[bytes]]) -> None:
        try:
            question.answer(await answer())
        except Failed as failure:
            question.fail(failure.as_refused())
        except asyncio.CancelledError:
            if not question.is_over:
                question.fail(_leaving())
                raise

    async def _deliver(self, mail: Mail) -> bytes:
        until = monotonic() + self._config.deadline_s
        attempt = partial(self._post, mail.path, mail.body)
        return await self.neighbours["mailbox"].ask(attempt, is_safe=mail.is_safe, until=until)

    async def _post(self, path: str, content: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        body = await self._open_answer("mailbox", "POST", path, data=content, headers=headers)
        return await read_text(body, "mailbox")

    # -- copies -------------------------------------------------------------------------

    async def _send(self, addr: str) -> bool:
        found = self._find(addr)
        if found is None:
            return False

        async def attempt() -> None:
            headers = {"Content-Length": str(found.size)}
            content = _chunks(found)
            with closing(await self._open_answer("storage", "PUT", f"/o/{addr}", content, headers)):
                pass

        # As long as an object of that size may take, at a chunk in each timeout.
        limit_s = (1 + found.size // CHUNK_BYTES) * self._config.timeout_s
        until = monotonic() + self._config.deadline_s + limit_s
        storage = self.neighbours["storage"]
        await storage.ask(attempt, is_safe=True, until=until, timeout_s=limit_s)
        return True

    def _patience(self) -> float:
        breaker = self.neighbours["storage"].breaker
        return max(self._config.cooldown_s, breaker.wait_s(now=monotonic()))

    async def _open_answer(
        self,
        name: str,
        method: str,
        path: str,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Body:
        if self._http is None:
            raise Failed(Outcome.UNREACHABLE, f"{name}: not connected")
        return await self._http.call(name, method, path, data, headers)

    # -- health -------------------------------------------------------------------------

    async def _probe(self, name: str) -> None:
        try:
            (await self._open_answer(name, "GET", "/healthz")).close()
        except Failed as failure:  # one that knows no such page is alive, too
            if failure.outcome not in (Outcome.MISSING, Outcome.REFUSED):
                raise


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _chunks(found: StoredObject) -> AsyncIterator[bytes]:
    for offset in range(0, found.size, CHUNK_BYTES):
        yield found.read(offset, CHUNK_BYTES)


def _leaving() -> Refused:
    return Refused(503, "draining", "this edge is leaving", retry_after_ms=RETRY_MS)
