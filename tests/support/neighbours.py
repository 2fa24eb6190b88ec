"""Services behind an edge: real HTTP servers on loopback, honest or not, and who asks them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web
from blake3 import blake3

from overlay_edge.bridge.flight import Waiter
from overlay_edge.bridge.services import Downstream
from overlay_edge.config import DownstreamConfig, StoreConfig
from overlay_edge.errors import EdgeError, Refused
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import MemfdMedium

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
QUICK = DownstreamConfig(
    timeout_s=0.15, deadline_s=1.0, retries=2, failures=3, cooldown_s=0.05, probe_s=60.0
)


def addr_of(data: bytes) -> str:
    return "b3:" + blake3(data).hexdigest()


async def until(condition: Callable[[], bool]) -> None:
    """Give others their turns until it holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0)


class Service:
    """One server: pages by (method, path), and a count of what was asked of it."""

    def __init__(self) -> None:
        self.pages: dict[tuple[str, str], Handler] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.bodies: list[bytes] = []
        self.url = ""

    def page(self, path: str, handler: Handler, method: str = "GET") -> None:
        self.pages[method, path] = handler

    def has(self, data: bytes) -> str:
        """Serve an object honestly."""
        addr = addr_of(data)

        async def honest(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=data)

        self.page(f"/o/{addr}", honest)
        self.page(f"/o/{addr}", honest, "HEAD")
        return addr

    def says(self, path: str, status: int = 200, method: str = "GET", **more: Any) -> None:
        """Answer always the same."""

        async def fixed(request: web.BaseRequest) -> web.StreamResponse:
            self.bodies.append(await request.read())
            return web.Response(status=status, **more)

        self.page(path, fixed, method)

    def writes(self, path: str, *parts: bytes, then: str = "stall") -> None:
        """Answer with bytes as they are, then stall, close or reset."""

        async def raw(request: web.BaseRequest) -> web.StreamResponse:
            transport = request.transport
            assert isinstance(transport, asyncio.Transport)
            for part in parts:
                transport.write(part)
            if then == "close":
                transport.close()
            elif then == "reset":
                transport.abort()
            await asyncio.Event().wait()
            raise AssertionError

        self.page(path, raw)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked[request.method, request.path] += 1
        page = self.pages.get((request.method, request.path))
        return await page(request) if page else web.Response(status=404)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Service"]:
        # Who waits for ever is let go when the caller hangs up.
        server = web.Server(self._answer, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(server, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listener.close()
            await server.shutdown(0.1)


class Reader:
    """One who asked for an object and takes it as it comes."""

    def __init__(self, limit: int = 64 << 10, pace: int | None = None) -> None:
        self.size: int | None = None
        self.data = b""
        self.error: EdgeError | None = None
        self.pace = pace  # reads left; None = no end
        self.done = asyncio.Event()
        self.sized = asyncio.Event()
        self._limit = limit
        self._waiter: Waiter | None = None

    def ask(self, downstream: Downstream, addr: str) -> "Reader":
        self._waiter = downstream.fetch(
            addr, on_size=self._on_size, on_bytes=self.pull, on_refused=self._end
        )
        return self

    def leave(self) -> None:
        assert self._waiter is not None
        self._waiter.close()

    def go_on(self) -> None:
        self.pace = None
        self.pull()

    def pull(self) -> None:
        waiter = self._waiter
        assert waiter is not None
        while not self.done.is_set() and self.pace != 0:
            try:
                taken = waiter.read(self._limit)
            except EdgeError as error:
                self._end(error)
                return
            if taken is None:
                return
            if self.pace is not None:
                self.pace -= 1
            self.data += taken[0]
            if taken[1]:
                self._end(None)

    def _on_size(self, size: int) -> None:
        self.size = size
        self.sized.set()
        if size == 0:
            self._end(None)

    def _end(self, error: EdgeError | None) -> None:
        self.error = error
        assert self._waiter is not None
        self._waiter.close()
        self.sized.set()
        self.done.set()

    async def whole(self) -> bytes:
        """All of it, or the error."""
        await self.done.wait()
        if self.error is not None:
            raise self.error
        return self.data

    async def refusal(self) -> Refused:
        await self.done.wait()
        assert isinstance(self.error, Refused)
        return self.error


class Bench:
    """A downstream with its three services and a store."""

    def __init__(self, **changes: Any) -> None:
        self.index, self.storage, self.mailbox = Service(), Service(), Service()
        self.changes = changes
        self.store = ObjectStore(
            StoreConfig(object_max_bytes=1 << 20, total_max_bytes=4 << 20), MemfdMedium()
        )
        self.health_changes = 0
        self._stir = asyncio.Event()
        self.downstream: Downstream

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator["Bench"]:
        """Serve the named services, and run the downstream."""
        async with (
            self.index.serving() as index,
            self.storage.serving() as storage,
            self.mailbox.serving() as mailbox,
            asyncio.TaskGroup() as tasks,
        ):
            urls = {"index": index.url, "storage": storage.url, "mailbox": mailbox.url}
            config = replace(QUICK, **{n: urls[n] for n in names}, **self.changes)
            self.downstream = Downstream(config, self.store, self._on_change, lambda: 0.0)
            running = tasks.create_task(self.downstream.run())
            while not all(h.ok for h in self.downstream.health().values()):
                await self.changed(self.health_changes)
            for service in (index, storage, mailbox):
                service.asked.clear()
            try:
                yield self
            finally:
                running.cancel()
                await asyncio.wait([running])
                self.store.close()

    async def changed(self, since: int) -> None:
        """Wait until health changed more often than ``since``."""
        while self.health_changes <= since:
            self._stir.clear()
            await self._stir.wait()

    def _on_change(self) -> None:
        self.health_changes += 1
        self._stir.set()
