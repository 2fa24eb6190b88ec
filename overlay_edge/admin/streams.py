"""Streams: what a listener hears for as long as it likes, as lines of JSON.

    GET /bus?topic=       kernel or overlay, from now on
    GET /audit?since=     the records held; with `follow` those to come, too

Each has an end of its own: the node's, its listener's, or that of the listener's capability.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from overlay_edge.admin.app import HEADERS
from overlay_edge.bus import Bus, Event, Lagged, Topic
from overlay_edge.errors import Refused
from overlay_edge.proto.audit import AuditLog, Cursor

HEARTBEAT_S = 10.0  # an empty line, so that both sides notice when the other is gone
WRITE_S = 15.0  # a listener that takes nothing for so long is cut off
BATCH = 64  # records between two looks at whether the listener keeps up


class Streams:
    """Serves the paths that go on for long.

    Args:
        bus: What ``/bus`` streams.
        audit: What ``/audit`` streams.
        clock: Wall seconds.

    Attributes:
        connections: Those that carry a stream.
    """

    def __init__(self, bus: Bus, audit: AuditLog, clock: Callable[[], float]) -> None:
        self.connections: set[object] = set()
        self._bus = bus
        self._audit = audit
        self._clock = clock
        self._is_closing = False
        self._open: dict[Callable[[], None], web.BaseRequest] = {}
        self._pages = {"/bus": self._bus_events, "/audit": self._audit_records}
        self.paths = tuple(self._pages)

    async def serve(
        self, request: web.BaseRequest, *, limit: int, on_open: Callable[[], None]
    ) -> web.StreamResponse:
        """Stream one of ``paths`` to its end.

        Args:
            request: Whose sender may listen.
            limit: Streams at one time.
            on_open: Called when nothing speaks against it.

        Raises:
            Refused: It makes no sense, or too many are open.
        """
        return await self._pages[request.path](request, limit, on_open)

    def end(self, is_over: Callable[[web.BaseRequest], bool]) -> None:
        """End the streams whose request is not good any more."""
        for end in [end for end, request in self._open.items() if is_over(request)]:
            end()

    def close(self) -> None:
        """End every stream, and open none; idempotent."""
        self._is_closing = True
        self.end(lambda _: True)

    async def _bus_events(
        self, request: web.BaseRequest, limit: int, on_open: Callable[[], None]
    ) -> web.StreamResponse:
        try:
            topic = Topic(request.query.get("topic", ""))
        except ValueError:
            expected = " or ".join(Topic)
            raise Refused(400, "bad_request", f"topic: expected {expected}") from None
        subscription = self._bus.subscribe(topic)
        try:
            async with self._opened(request, subscription.close, limit, on_open) as response:
                await _send(response, {"event": "subscribed", "topic": str(topic)})
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            event = await anext(subscription)
                    except TimeoutError:
                        await _send(response, None)
                    except StopAsyncIteration:
                        break
                    else:
                        await _send(response, describe(event, int(1000 * self._clock())))
            return response
        finally:
            subscription.close()

    async def _audit_records(
        self, request: web.BaseRequest, limit: int, on_open: Callable[[], None]
    ) -> web.StreamResponse:
        since = request.query.get("since", "0")
        if not re.fullmatch(r"[0-9]{1,15}", since):
            raise Refused(400, "bad_request", "since: expected the number of a record")
        news = asyncio.Event()
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True
            news.set()

        cursor = Cursor(int(since))
        forget = self._audit.watch(news.set)
        try:
            async with self._opened(request, end, limit, on_open) as response:
                while True:
                    news.clear()
                    batch = self._audit.read(cursor, BATCH, ts_ms=int(1000 * self._clock()))
                    if batch.lines:
                        await _write(response, "".join(f"{line}\n" for line in batch.lines))
                        cursor = batch.cursor
                    elif is_over or "follow" not in request.query:
                        break
                    else:
                        try:
                            async with asyncio.timeout(HEARTBEAT_S):
                                await news.wait()
                        except TimeoutError:
                            await _send(response, None)
            return response
        finally:
            forget()

    @asynccontextmanager
    async def _opened(
        self,
        request: web.BaseRequest,
        end: Callable[[], None],
        limit: int,
        on_open: Callable[[], None],
    ) -> AsyncIterator[web.StreamResponse]:
        """A stream that has begun; whatever ends it, nothing of it stays."""
        if self._is_closing:
            raise Refused(503, "draining", "the node is leaving")
        if len(self._open) >= limit:
            raise Refused(503, "busy", f"{limit} streams are open, control.max_streams")
        self._open[end] = request
        self.connections.add(request.protocol)
        try:
            on_open()
            response = web.StreamResponse(headers=HEADERS)
            response.content_type = "application/x-ndjson"
            response.force_close()
            await response.prepare(request)
            with suppress(ConnectionError):
                yield response
        except _Stalled:
            if request.transport is not None:
                request.transport.abort()
        finally:
            del self._open[end]
            self.connections.discard(request.protocol)


class _Stalled(Exception):
    """A listener does not take what it asked for."""


def describe(event: Event | Lagged, ts_ms: int) -> dict[str, Any]:
    """An event as JSON: its name as the platform spells it, and its fields."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {field: getattr(event, field) for field in type(event).__dataclass_fields__}
    fields.pop("topic", None)
    return {"event": name, "ts_ms": ts_ms, **fields}


async def _send(response: web.StreamResponse, fields: Mapping[str, object] | None) -> None:
    await _write(response, (json.dumps(fields) if fields is not None else "") + "\n")


async def _write(response: web.StreamResponse, text: str) -> None:
    try:
        async with asyncio.timeout(WRITE_S):
            await response.write(text.encode())
    except TimeoutError:
        raise _Stalled from None
