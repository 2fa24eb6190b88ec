"""Control plane: what may be done to a running node, and what may be listened to.

    POST /control/purge    {"addr": "b3:..."}, {"topic": "..."} or {"all": true}
    POST /control/reload   {}
    POST /control/revoke   {"id": "<hex>"}
    POST /control/rotate   {"key": "<hex of an Ed25519 public key>", "overlap_s": 3600}
    POST /control/stop     {"then": "restart"}, "poweroff" or "reboot"
    POST /control/panic    {}
    GET  /peers, /ledger   the mesh: neighbours, and what became of every message
    GET  /bus, /audit      see :mod:`overlay_edge.admin.streams`

Who calls needs a capability with the operation `control`, as a bearer token; on this machine
that is not asked for, unless `control.local` is off. A browser on this machine is nobody: any
page it shows could call us, so what looks like one is refused. Everything is audited.
"""

import asyncio
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from overlay_edge.admin.app import HEADERS
from overlay_edge.admin.streams import Streams
from overlay_edge.bus import Bus
from overlay_edge.config import ControlConfig
from overlay_edge.ending import Ending
from overlay_edge.errors import ConfigError, EdgeError, IdentityError, Refused
from overlay_edge.host.clock import wall
from overlay_edge.proto.audit import NOTHING, AuditLog, Facts
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.objects import ADDR, is_topic

MAX_BODY_BYTES = 4096
BODY_S = 5.0  # a body is a few words; whoever drips it is up to something
MAX_OVERLAP_S = 30 * 24 * 3600.0
LAST_WORDS_S = 1.0
STOPS = {one.name.lower(): one for one in (Ending.RESTART, Ending.POWEROFF, Ending.REBOOT)}
BROWSER = ("Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode")  # curl sends none of them


class Controls(Protocol):
    """What a node lets be done to it. Each may raise an EdgeError, and then nothing is done."""

    async def purge(
        self, *, addr: str | None = None, topic: str | None = None
    ) -> Mapping[str, int]:
        """Wipe one object, those of a topic, or all, and say how many there were.

        Returns:
            ``objects``, ``uploads`` in progress, and ``bytes``.
        """
        ...  # pragma: no cover

    async def reload(self) -> tuple[int, tuple[str, ...]]:
        """Read the settings again; the config's version now, and what differs, redacted."""
        ...  # pragma: no cover

    async def revoke(self, revocation_id: str) -> Mapping[str, int]:
        """Refuse every capability with this revocation id (hex) from now on, wipe what it stored.

        Returns:
            ``objects``, ``uploads`` in progress, ``bytes``, and ``sessions`` that ended.
        """
        ...  # pragma: no cover

    def rotate(self, key: str, overlap_s: float) -> None:
        """Believe another Ed25519 public key (hex); the old ones only for ``overlap_s``."""
        ...  # pragma: no cover

    def panic(self) -> Mapping[str, int]:
        """Wipe everything without a drain, and say how much that was.

        Returns:
            ``objects``, ``uploads`` in progress, ``bytes``, and ``sessions`` that ended.
        """
        ...  # pragma: no cover

    def vanish(self) -> None:
        """End the node after a panic, once its answer is out."""
        ...  # pragma: no cover

    def peers(self) -> Mapping[str, Any]:
        """The neighbours in the mesh, and counters."""
        ...  # pragma: no cover

    def ledger(self) -> Mapping[str, Any]:
        """What became of every message of the mesh."""
        ...  # pragma: no cover

    def stop(self, then: Ending) -> None:
        """Begin the drain; its end says what is to come then."""
        ...  # pragma: no cover


class Last(NamedTuple):
    """An answer after which the node goes: it is let out first."""

    body: dict[str, Any]
    then: Callable[[], None]


Authorize = Callable[[str], str]  # bearer token -> fingerprint of the capability, or Refused
Action = Callable[[Facts, dict[str, Any]], Awaitable[dict[str, Any] | Last]]


class ControlPlane:
    """Answers the requests that do something, or go on for long.

    Args:
        controls: The node.
        bus: What ``/bus`` streams.
        audit: What ``/audit`` streams, and where each use is written.
        config: Who may call; replaced by a reload.
        authorize: Judges a bearer token.
        clock: Wall seconds.
    """

    def __init__(
        self,
        controls: Controls,
        bus: Bus,
        audit: AuditLog,
        config: ControlConfig,
        *,
        authorize: Authorize,
        clock: Callable[[], float] = wall,
    ) -> None:
        self.config = config
        self._controls = controls
        self._audit = audit
        self._authorize = authorize
        self._clock = clock
        self._actions: dict[str, Action] = {
            "/control/purge": self._purge,
            "/control/reload": self._reload,
            "/control/revoke": self._revoke,
            "/control/rotate": self._rotate,
            "/control/stop": self._stop,
            "/control/panic": self._panic,
        }
        self._streams = Streams(bus, audit, clock)
        self._pages = {"/peers": controls.peers, "/ledger": controls.ledger}
        self.paths = (*self._actions, *self._pages, *self._streams.paths)

    @property
    def streaming(self) -> set[object]:
        """Connections that carry a stream; the admin plane spares them when crowded."""
        return self._streams.connections

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request to one of ``paths``."""
        try:
            actor = self._identify(request)
            if request.path in self._streams.paths:
                _require_method(request, "GET")
                return await self._streams.serve(
                    request,
                    limit=self.config.max_streams,
                    on_open=partial(self._write, Kind.CAP_USED, actor, request.path, request.path),
                )
            if request.path in self._pages:
                _require_method(request, "GET")
                return _json(200, self._pages[request.path]())
            _require_method(request, "POST")
            body = await _read_body(request)
            answer = await self._actions[request.path](actor, body)
            if isinstance(answer, Last):
                return await _say_last(request, answer)
            return _json(200, answer)
        except EdgeError as error:
            return _refusal(error)

    def recheck(self) -> None:
        """End the streams of who may not listen any more; call it when that may have changed."""

        def is_refused(request: web.BaseRequest) -> bool:
            try:
                self._identify(request)
            except Refused:
                return True
            return False

        self._streams.end(is_refused)

    def close(self) -> None:
        """End every stream; idempotent."""
        self._streams.close()

    # -- who ----------------------------------------------------------------------------

    def _identify(self, request: web.BaseRequest) -> Facts:
        """Who calls, for the audit.

        Raises:
            Refused: Somebody who may not; it is audited here.
        """
        header = request.headers.get("Authorization", "")
        try:
            if header:
                scheme, _, token = header.partition(" ")
                if scheme.lower() != "bearer" or not token.strip():
                    raise Refused(401, "unauth", "expected: Authorization: Bearer <capability>")
                return {"cap_id": self._authorize(token.strip())}
            if not self.config.local or not is_loopback(request.remote or ""):
                raise Refused(401, "unauth", "a capability with the operation control is needed")
            if any(name in request.headers for name in BROWSER) or not _is_own_name(request.host):
                raise Refused(403, "denied", "a browser needs a capability even on this machine")
        except Refused as refusal:
            self._write(
                Kind.CAP_DENIED, {"name": request.remote or ""}, request.path, refusal.token
            )
            raise
        return {"name": "local"}

    def _write(
        self, kind: Kind, actor: Facts, subject: str, reason: str = "", attrs: Facts = NOTHING
    ) -> None:
        now_ms = int(1000 * self._clock())
        self._audit.append(
            kind, ts_ms=now_ms, actor=actor, subject={"name": subject}, reason=reason, attrs=attrs
        )

    # -- actions ------------------------------------------------------------------------

    async def _purge(self, actor: Facts, body: dict[str, Any]) -> dict[str, Any]:
        addr, topic = body.get("addr"), body.get("topic")
        if body != {"all": True} and not (
            (set(body) == {"addr"} and ADDR.fullmatch(str(addr)))
            or (set(body) == {"topic"} and is_topic(topic))
        ):
            expected = 'expected {"addr": "b3:..."}, {"topic": "..."} or {"all": true}'
            raise Refused(400, "bad_request", expected)
        report = await self._controls.purge(addr=addr, topic=topic)
        self._write(Kind.PURGE, actor, addr or (f"topic {topic}" if topic else "all"), attrs=report)
        return dict(report)

    async def _reload(self, actor: Facts, body: dict[str, Any]) -> dict[str, Any]:
        if body:
            raise Refused(400, "bad_request", "expected {}")
        try:
            version, changed = await self._controls.reload()
        except EdgeError as error:
            self._write(Kind.POLICY_CHANGED, actor, "config", str(error), {"ok": False})
            raise
        text = "; ".join(changed)
        self._write(Kind.POLICY_CHANGED, actor, "config", text, {"ok": True, "version": version})
        return {"version": version, "changed": list(changed)}

    async def _revoke(self, actor: Facts, body: dict[str, Any]) -> dict[str, Any]:
        number = body.get("id")
        if set(body) != {"id"} or not re.fullmatch(r"[0-9a-f]{2,256}", str(number)):
            raise Refused(400, "bad_request", 'expected {"id": "<hex>"}')
        report = await self._controls.revoke(str(number))
        self._write(Kind.CAP_REVOKED, actor, str(number), attrs=report)
        self.recheck()
        return {"revoked": number, **report}

    async def _rotate(self, actor: Facts, body: dict[str, Any]) -> dict[str, Any]:
        key, overlap_s = body.get("key"), body.get("overlap_s", 0)
        if not set(body) <= {"key", "overlap_s"} or not re.fullmatch(r"[0-9a-f]{64}", str(key)):
            raise Refused(400, "bad_request", 'expected {"key": "<64 hex digits>", "overlap_s": n}')
        if type(overlap_s) not in (int, float) or not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise Refused(400, "bad_request", f"overlap_s: expected 0 to {MAX_OVERLAP_S:.0f}")
        self._controls.rotate(str(key), float(overlap_s))
        self._write(Kind.CAP_ROTATED, actor, str(key), attrs={"overlap_s": int(overlap_s)})
        return {"key": key, "overlap_s": overlap_s}

    async def _stop(self, actor: Facts, body: dict[str, Any]) -> Last:
        word = body.get("then", "restart")
        if not set(body) <= {"then"} or word not in STOPS:
            expected = '"}, {"then": "'.join(STOPS)
            raise Refused(400, "bad_request", f'expected {{"then": "{expected}"}}')
        self._write(Kind.STOP_ASKED, actor, "node", attrs={"then": word})
        return Last({"then": word}, partial(self._controls.stop, STOPS[word]))

    async def _panic(self, actor: Facts, body: dict[str, Any]) -> Last:
        if body:
            raise Refused(400, "bad_request", "expected {}")
        # No record of it is kept: it would be wiped with the others.
        return Last(dict(self._controls.panic()), self._controls.vanish)


def is_loopback(host: str) -> bool:
    """True if the address of a caller is this machine's own."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_own_name(host: str) -> bool:
    """Whether the Host header can only mean this machine: any other name may be rebound to it."""
    name = re.sub(r":[0-9]{1,5}$", "", host).strip("[]")
    return name == "localhost" or is_loopback(name)


def _require_method(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise Refused(405, "bad_method", f"{method} only")
    if method == "GET" and request.body_exists:
        raise Refused(400, "bad_request", "no body expected")


async def _read_body(request: web.BaseRequest) -> dict[str, Any]:
    if request.content_type != "application/json":  # a form of a foreign page cannot say this
        raise Refused(415, "bad_request", "expected Content-Type: application/json")
    try:
        async with asyncio.timeout(BODY_S):
            data = bytearray()
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > MAX_BODY_BYTES:
                    raise Refused(413, "too_large", f"a body of over {MAX_BODY_BYTES} bytes")
        body = json.loads(data)
    except TimeoutError:
        raise Refused(408, "timeout", f"no body within {BODY_S:g} s") from None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "bad_request", "expected a JSON object")
    return body


async def _say_last(request: web.BaseRequest, last: Last) -> web.StreamResponse:
    """Let an answer out before the node goes, but wait for nobody who does not take it."""
    response = _json(200, last.body)
    response.headers.update(HEADERS)
    response.force_close()
    try:
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await response.prepare(request)
                await response.write_eof()
    finally:
        last.then()
    return response


def _refusal(error: EdgeError) -> web.Response:
    """What went wrong, as the operator's tool reads it."""
    status, token = 500, "internal"
    fields: dict[str, object] = {"message": str(error)}
    if isinstance(error, Refused):
        status, token = error.code, error.token
    elif isinstance(error, ConfigError | IdentityError):
        status, token = 422, "config"
        fields["mistakes"] = list(getattr(error, "mistakes", (str(error),)))
    if error.hint:
        fields["hint"] = error.hint
    response = _json(status, {"error": token, **fields})
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 405:
        response.headers["Allow"] = "POST" if "POST" in str(error) else "GET"
    response.force_close()  # what is left of its body is not read
    return response


def _json(status: int, body: Mapping[str, object]) -> web.Response:
    text = json.dumps(body) + "\n"
    return web.Response(text=text, status=status, content_type="application/json")
