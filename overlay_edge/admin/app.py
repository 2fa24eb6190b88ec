"""The admin plane's HTTP side: a table of pages, each answered from what is true now.

The pages are read-only: GET and HEAD, no bodies. What does something is the control plane's,
which answers its own paths on the same socket. A probe must never wait behind a crowd, so when
too many connections are open the oldest one that carries no stream makes room.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from overlay_edge.admin import health
from overlay_edge.admin.status import hosts_of_this_machine, render
from overlay_edge.admin.views import View
from overlay_edge.host.clock import wall
from overlay_edge.host.journal import journal

if TYPE_CHECKING:
    from overlay_edge.admin.control import ControlPlane
    from overlay_edge.admin.metrics import Exposition


@contextmanager
def _no_trust_store() -> Iterator[None]:
    """While aiohttp is imported, it loads every CA certificate of the machine, twice.

    That is a third of its import time, for connections this program never opens: an HTTP
    client in here must bring its own context.
    """
    name = "SSL_CERT_FILE"
    before = os.environ.get(name)
    os.environ[name] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


with _no_trust_store():
    from aiohttp import web

KEEPALIVE_S = 15.0  # also how long a connection may take to send its request
CLOSE_S = 1.0  # a page takes milliseconds
MAX_CONNECTIONS = 64  # 64 x 16 KiB of headers is all that strangers can make us hold
MAX_LINE_BYTES = 4096
MAX_FIELD_BYTES = 8192
MAX_HEADERS = 64
ONE_CHECK = "/readyz/"
HEADERS = {
    "Server": "overlay-edge",
    "Cache-Control": "no-store",  # readiness is only true now
    "X-Content-Type-Options": "nosniff",
}

Page = Callable[[web.BaseRequest], Awaitable[web.Response]]


class Admin:
    """Serves the pages on a socket that is already bound.

    Args:
        view: The node.
        sock: A listening or bound stream socket; closed by ``close``.
        control: What may be done to the node; None: nothing.
    """

    def __init__(
        self, view: View, sock: socket.socket, control: "ControlPlane | None" = None
    ) -> None:
        self._view = view
        self._control = control
        self._sock = sock
        self._exposition: Exposition | None = None
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._pages: dict[str, Page] = {
            "/livez": self._livez,
            "/healthz": self._livez,
            "/readyz": self._readyz,
            "/version": self._version,
            "/amnesia": self._amnesia,
            "/metrics": self._metrics,
            "/status": self._status,
        }

    @property
    def address(self) -> str:
        """Where it listens, ``host:port``."""
        host, port = self._sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        """Answer from now on; who connected before is answered first."""
        server = self._server = web.Server(
            self._answer,
            access_log=None,
            handler_cancellation=True,  # a stream ends with its listener
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=0,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
        )

        loop = asyncio.get_running_loop()

        def make_room() -> None:
            spared = self._control.streaming if self._control else ()
            open_now = [one for one in server.connections if one not in spared]  # oldest first
            for oldest in open_now[: max(0, len(open_now) + 1 - MAX_CONNECTIONS)]:
                oldest.force_close()

        def connection() -> asyncio.BaseProtocol:
            # Not at once: of those accepted in the same turn, none is in the list yet.
            loop.call_soon(make_room)
            return server()

        self._listener = await loop.create_server(connection, sock=self._sock)

    def stop_listening(self) -> None:
        """Let nobody in any more, and end every stream; pages are still answered."""
        if self._listener is not None:
            self._listener.close()
        if self._control is not None:
            self._control.close()

    def abort(self) -> None:
        """Stop listening, and drop every connection."""
        self.stop_listening()
        for connection in self._server.connections if self._server is not None else ():
            connection.force_close()
        self._sock.close()

    async def close(self) -> None:
        """Stop listening, finish what is being answered, drop the rest."""
        self.stop_listening()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(CLOSE_S)
        self._sock.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if self._control is not None and request.path in self._control.paths:
                response = await self._control.answer(request)
            else:
                response = await self._choose(request)
        except Exception as exc:  # one bad page must not look like a dead node
            journal.exception("admin_page", exc, reason=request.path)
            response = _json({"error": "internal", "message": "see the log"}, 500)
        response.headers.update(HEADERS)
        return response

    async def _choose(self, request: web.BaseRequest) -> web.Response:
        is_check = request.path.startswith(ONE_CHECK) and request.path != ONE_CHECK
        page = self._one_check if is_check else self._pages.get(request.path)
        if page is None:
            paths = [*self._pages, f"{ONE_CHECK}<check>"]
            paths += self._control.paths if self._control else ()
            return _json({"error": "not_found", "paths": paths}, 404)
        if request.method not in ("GET", "HEAD"):
            refusal = _json({"error": "bad_method", "message": "GET and HEAD only"}, 405)
            refusal.headers["Allow"] = "GET, HEAD"
            refusal.force_close()
            return refusal
        if request.body_exists:
            refusal = _json({"error": "bad_request", "message": "no body expected"}, 400)
            refusal.force_close()
            return refusal
        return await page(request)

    async def _livez(self, _request: web.BaseRequest) -> web.Response:
        return _said(health.live(self._view.readiness()))

    async def _readyz(self, request: web.BaseRequest) -> web.Response:
        verbose = "verbose" in request.query
        answer = health.ready(
            self._view.readiness(),
            exclude=request.query.getall("exclude", ()),
            verbose=verbose,
            amnesia=self._view.amnesia() if verbose else None,
            wall_now=wall(),
        )
        return _said(answer)

    async def _one_check(self, request: web.BaseRequest) -> web.Response:
        name = request.path.removeprefix(ONE_CHECK)
        return _said(health.one(self._view.readiness(), name, wall_now=wall()))

    async def _version(self, _request: web.BaseRequest) -> web.Response:
        return _json(self._view.version())

    async def _amnesia(self, _request: web.BaseRequest) -> web.Response:
        return _said(health.promise(self._view.amnesia()))

    async def _metrics(self, _request: web.BaseRequest) -> web.Response:
        exposition = self._exposition
        if exposition is None:
            # Half a second on a small board: in a thread, so that no session stands still.
            exposition = (await asyncio.to_thread(_load_exposition))(self._view)
            self._exposition = exposition
        return web.Response(
            body=exposition.render(), headers={"Content-Type": exposition.content_type}
        )

    async def _status(self, _request: web.BaseRequest) -> web.Response:
        view = self._view
        hosts = await asyncio.to_thread(hosts_of_this_machine)  # loads psutil at first
        text = render(
            view.readiness(),
            view.version(),
            view.counters(),
            view.addresses(),
            hosts,
            view.amnesia(),
        )
        return web.Response(text=text)


def _load_exposition() -> "type[Exposition]":
    from overlay_edge.admin.metrics import Exposition

    return Exposition


def _said(answer: health.Answer) -> web.Response:
    response = _json(answer.body, answer.status)
    response.headers.update(answer.headers)
    return response


def _json(body: object, status: int = 200) -> web.Response:
    text = json.dumps(body) + "\n"
    return web.Response(text=text, status=status, content_type="application/json")
