"""The control plane over a real socket: who may, what is done, and what a stream costs."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from overlay_edge.admin.app import MAX_CONNECTIONS, Admin
from overlay_edge.admin.control import ControlPlane, is_loopback
from overlay_edge.bus import (
    Bus,
    ConfigUpdated,
    Health,
    SessionClosed,
    Shutdown,
)
from overlay_edge.config import ControlConfig
from overlay_edge.ending import Ending
from overlay_edge.errors import ConfigError, Refused
from overlay_edge.proto.audit import AuditLog, Cursor
from overlay_edge.proto.chain import Kind, Verifier
from tests.support.hand_controls import HandControls, authorize
from tests.support.hand_view import HandView

ADDR = "b3:" + "0f" * 32
GOOD = {"Authorization": "Bearer good"}


@dataclass
class Stage:
    """An admin plane with a control plane, and a client."""

    controls: HandControls = field(default_factory=HandControls)
    bus: Bus = field(default_factory=lambda: Bus(4))
    config: ControlConfig = field(default_factory=ControlConfig)
    url: str = ""

    def __post_init__(self) -> None:
        self.audit = AuditLog(writer="edge", boot="b1", max_records=100, max_bytes=1 << 20)
        self.plane = ControlPlane(
            self.controls, self.bus, self.audit, self.config, authorize=authorize, clock=lambda: 7.0
        )

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read(Cursor(), 99, ts_ms=0).lines]

    async def post(
        self, path: str, body: object = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as client,
            client.post(self.url + path, json=body, headers=headers) as response,
        ):
            return response.status, await response.json()


@asynccontextmanager
async def serving(stage: Stage) -> AsyncIterator[Stage]:
    sock = socket.create_server(("127.0.0.1", 0))
    admin = Admin(HandView(), sock, stage.plane)
    await admin.start()
    stage.url = f"http://{admin.address}"
    try:
        async with asyncio.timeout(20):
            yield stage
    finally:
        await admin.close()


@asynccontextmanager
async def listening(
    stage: Stage, path: str, headers: Mapping[str, str] = {}
) -> AsyncIterator[aiohttp.ClientResponse]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(stage.url + path, headers=headers) as response,
    ):
        yield response


async def line(response: aiohttp.ClientResponse) -> Any:
    text = await response.content.readline()
    return json.loads(text) if text else None


# -- actions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "done", "kind"),
    [
        ("purge", {"addr": ADDR}, ("purge", ADDR, None), "purge"),
        ("purge", {"topic": "a/b"}, ("purge", None, "a/b"), "purge"),
        ("purge", {"all": True}, ("purge", None, None), "purge"),
        ("reload", {}, ("reload",), "policy_changed"),
        ("revoke", {"id": "abcd"}, ("revoke", "abcd"), "cap_revoked"),
        ("stop", {}, ("stop", Ending.RESTART), "stop_asked"),
        ("stop", {"then": "poweroff"}, ("stop", Ending.POWEROFF), "stop_asked"),
        ("rotate", {"key": "ab" * 32}, ("rotate", "ab" * 32, 0.0), "cap_rotated"),
        (
            "rotate",
            {"key": "ab" * 32, "overlap_s": 60},
            ("rotate", "ab" * 32, 60.0),
            "cap_rotated",
        ),
    ],
)
async def test_what_is_asked_is_done_and_audited(
    path: str, body: object, done: tuple[object, ...], kind: str
) -> None:
    async with serving(Stage()) as stage:
        status, _ = await stage.post(f"/control/{path}", body)
    assert status == 200
    assert stage.controls.done == [done]
    (record,) = stage.records()
    assert (record["kind"], record["actor"], record["ts_ms"]) == (kind, {"name": "local"}, 7000)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("purge", {}),
        ("purge", {"all": False}),
        ("purge", {"all": True, "addr": ADDR}),
        ("purge", {"addr": ADDR + "\n"}),
        ("purge", {"addr": ["b3:"]}),
        ("purge", {"addr": None}),
        ("purge", {"topic": ""}),
        ("purge", {"topic": 5}),
        ("purge", {"topic": "a", "addr": ADDR}),
        ("purge", {"topic": "x" * 129}),
        ("reload", {"x": 1}),
        ("revoke", {"id": ""}),
        ("stop", {"then": "panic"}),
        ("stop", {"then": None}),
        ("stop", {"then": "reboot", "now": True}),
        ("revoke", {"id": 5}),
        ("rotate", {"key": "short"}),
        ("rotate", {"key": "ab" * 32, "overlap_s": -1}),
        ("rotate", {"key": "ab" * 32, "overlap_s": True}),
        ("rotate", {"key": "ab" * 32, "overlap_s": 1e99}),
        ("purge", []),
        ("purge", "x" * 5000),
    ],
)
async def test_a_body_that_is_not_the_expected_one_does_nothing(path: str, body: object) -> None:
    async with serving(Stage()) as stage:
        status, answer = await stage.post(f"/control/{path}", body)
    assert status in (400, 413)
    assert answer["error"] in ("bad_request", "too_large")
    assert stage.controls.done == []


async def test_a_panic_is_answered_before_the_node_goes_and_leaves_no_record() -> None:
    async with serving(Stage()) as stage:
        status, answer = await stage.post("/control/panic", {})
        assert (status, answer["objects"]) == (200, 3)
        assert stage.controls.done == [("panic",), ("vanish",)]
        status, _ = await stage.post("/control/panic", {"really": True})
        assert status == 400
    assert stage.controls.done == [("panic",), ("vanish",)]
    assert stage.records() == []


async def test_who_hangs_up_before_the_answer_does_not_keep_the_node() -> None:
    stage = Stage()
    async with serving(stage):
        host, port = stage.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            head = "POST /control/panic HTTP/1.1\r\nHost: localhost\r\n"
            sock.sendall(f"{head}Content-Type: application/json\r\n".encode())
            sock.sendall(b"Content-Length: 2\r\n\r\n{}")
        while ("vanish",) not in stage.controls.done:  # noqa: ASYNC110 - its own pace
            await asyncio.sleep(0.001)


async def test_a_config_that_is_refused_comes_back_with_every_mistake_and_is_audited() -> None:
    stage = Stage()
    stage.controls.error = ConfigError(["oap.addr: needs a restart", "b: c"], hint="restart")
    async with serving(stage):
        status, answer = await stage.post("/control/reload", {})
    assert (status, answer["mistakes"]) == (422, ["oap.addr: needs a restart", "b: c"])
    assert answer["hint"] == "restart"
    (record,) = stage.records()
    assert (record["kind"], record["attrs"]) == ("policy_changed", {"ok": False})


async def test_only_json_by_post_is_taken() -> None:
    async with serving(Stage()) as stage, aiohttp.ClientSession() as client:
        async with client.post(f"{stage.url}/control/purge", data={"all": "true"}) as response:
            assert response.status == 415
        async with client.get(f"{stage.url}/control/purge") as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")
        async with client.post(f"{stage.url}/bus?topic=kernel") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
    assert stage.controls.done == []


# -- who --------------------------------------------------------------------------------


async def test_a_capability_is_named_in_the_audit_and_never_written() -> None:
    async with serving(Stage()) as stage:
        status, _ = await stage.post("/control/purge", {"all": True}, GOOD)
    assert status == 200
    (record,) = stage.records()
    assert record["actor"] == {"cap_id": "4f2a4f2a4f2a"}
    assert "good" not in str(record)


@pytest.mark.parametrize("value", ["Bearer bad", "Bearer ", "Basic good", "good"])
async def test_a_wrong_token_is_refused_even_from_this_machine(value: str) -> None:
    async with serving(Stage()) as stage:
        status, answer = await stage.post("/control/purge", {"all": True}, {"Authorization": value})
    assert (status, answer["error"]) == (401, "unauth")
    assert stage.controls.done == []
    (record,) = stage.records()
    assert (record["kind"], record["reason"], record["subject"]) == (
        "cap_denied",
        "unauth",
        {"name": "/control/purge"},
    )


async def test_where_the_machine_is_shared_everybody_needs_a_capability() -> None:
    async with serving(Stage(config=ControlConfig(local=False))) as stage:
        refused, _ = await stage.post("/control/purge", {"all": True})
        taken, _ = await stage.post("/control/purge", {"all": True}, GOOD)
        async with listening(stage, "/audit") as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
    assert (refused, taken) == (401, 200)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Referer": "http://127.0.0.1/"},
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
async def test_a_page_in_a_browser_on_this_machine_is_nobody(headers: dict[str, str]) -> None:
    async with serving(Stage()) as stage:
        status, _ = await stage.post("/control/purge", {"all": True}, headers)
        async with listening(stage, "/audit", headers) as response:
            assert response.status == 403
    assert (status, stage.controls.done) == (403, [])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_only_this_machine_is_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# -- streams ----------------------------------------------------------------------------


async def test_events_of_a_topic_are_streamed_as_they_happen() -> None:
    async with serving(Stage()) as stage, listening(stage, "/bus?topic=kernel") as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert await line(response) == {"event": "subscribed", "topic": "kernel"}
        stage.bus.publish(SessionClosed("10.0.0.1:5", "idle", 3))  # of the other topic
        stage.bus.publish(Health("links", ok=False))
        assert await line(response) == {
            "event": "health",
            "ts_ms": 7000,
            "service": "links",
            "ok": False,
        }
        for number in range(10):
            stage.bus.publish(ConfigUpdated(number, ("a: b",)))
        assert (await line(response))["count"] == 6
        assert (await line(response))["version"] == 6
    (record,) = stage.records()
    assert (record["kind"], record["subject"]) == ("cap_used", {"name": "/bus"})


async def test_a_stream_ends_with_its_node() -> None:
    async with serving(Stage()) as stage:
        bus = listening(stage, "/bus?topic=overlay")
        audit = listening(stage, "/audit?follow")
        async with bus as first, audit as second:
            await line(first)
            assert (await line(second))["kind"] == "cap_used"
            stage.plane.close()
            assert await line(first) is None
            while await line(second) is not None:
                pass
        async with listening(stage, "/audit") as late:
            assert late.status == 503


async def test_who_may_not_listen_any_more_is_cut_off_and_the_others_go_on() -> None:
    believed = {"good", "other"}

    def authorize(token: str) -> str:
        if token not in believed:
            raise Refused(403, "denied", "the capability is revoked")
        return token

    stage = Stage()
    stage.plane._authorize = authorize
    async with serving(stage):
        other = {"Authorization": "Bearer other"}
        async with (
            listening(stage, "/bus?topic=kernel", GOOD) as theirs,
            listening(stage, "/bus?topic=kernel", other) as ours,
        ):
            await line(theirs)
            await line(ours)
            believed.discard("good")
            status, answer = await stage.post("/control/revoke", {"id": "abcd"}, other)
            assert (status, answer["sessions"]) == (200, 1)
            assert await line(theirs) is None
            stage.bus.publish(Shutdown())
            assert (await line(ours))["event"] == "shutdown"


async def test_a_listener_that_hangs_up_leaves_nothing_behind() -> None:
    async with serving(Stage(config=ControlConfig(max_streams=1))) as stage:
        for _ in range(3):
            async with listening(stage, "/bus?topic=kernel") as response:
                await line(response)
                assert len(stage.plane.streaming) == 1
                async with listening(stage, "/bus?topic=kernel") as second:
                    assert (second.status, (await second.json())["error"]) == (503, "busy")
            while stage.plane.streaming:  # noqa: ASYNC110 - the other side's own pace
                await asyncio.sleep(0.001)
        assert stage.bus._subscriptions["kernel"] == []  # type: ignore[index]


async def test_a_listener_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay_edge.admin.streams.WRITE_S", 0.05)
    stage = Stage(bus=Bus(10_000))
    async with serving(stage):
        host, port = stage.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"GET /bus?topic=kernel HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not stage.plane.streaming:  # noqa: ASYNC110 - the other side's own pace
                await asyncio.sleep(0.001)
            while stage.plane.streaming:
                for _ in range(100):
                    stage.bus.publish(Health("x" * 5000, ok=True))
                await asyncio.sleep(0.001)


async def test_a_stream_is_spared_when_a_crowd_comes() -> None:
    async with serving(Stage()) as stage, listening(stage, "/bus?topic=kernel") as response:
        await line(response)
        host, port = stage.url.removeprefix("http://").split(":")
        crowd = [socket.create_connection((host, int(port))) for _ in range(MAX_CONNECTIONS + 9)]
        async with aiohttp.ClientSession() as client, client.get(f"{stage.url}/healthz") as page:
            assert page.status == 200
        stage.bus.publish(Shutdown())
        assert (await line(response))["event"] == "shutdown"
        for sock in crowd:
            sock.close()


@pytest.mark.parametrize("path", ["/bus", "/bus?topic=all", "/audit?since=-1", "/audit?since=x"])
async def test_a_stream_of_nothing_known_is_refused(path: str) -> None:
    async with serving(Stage()) as stage, listening(stage, path) as response:
        assert response.status == 400


async def test_the_records_held_verify_and_a_cursor_skips_what_is_known() -> None:
    stage = Stage()
    for number in range(90):
        stage.audit.append(Kind.PURGE, ts_ms=number)
    async with serving(stage):
        async with listening(stage, "/audit") as response:
            whole = (await response.text()).splitlines()
        async with listening(stage, "/audit?since=88") as response:
            rest = (await response.text()).splitlines()
    verifier = Verifier()
    assert [verifier.feed(text) for text in whole] == [""] * 91
    assert rest[:3] == whole[88:]


async def test_new_records_follow_while_somebody_listens() -> None:
    async with serving(Stage()) as stage, listening(stage, "/audit?follow") as response:
        assert (await line(response))["kind"] == "cap_used"
        stage.audit.append(Kind.PURGE, ts_ms=1)
        assert (await line(response))["kind"] == "purge"


async def test_what_the_node_refuses_keeps_its_code() -> None:
    stage = Stage()
    stage.controls.error = Refused(404, "not_found", "no such object")
    async with serving(stage):
        status, answer = await stage.post("/control/purge", {"addr": ADDR})
    assert (status, answer) == (404, {"error": "not_found", "message": "no such object"})
