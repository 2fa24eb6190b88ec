"""The admin plane over a real socket: the truth, quickly, and nothing but GET."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import pytest

from overlay_edge.admin.app import MAX_CONNECTIONS, Admin
from overlay_edge.host.rules import Standing
from tests.support.hand_view import FINGERPRINT, HandView, report, snapshot


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@contextmanager
def serving(view: HandView) -> Iterator[str]:
    """The admin plane on a loop of its own, so that tests may use a blocking client."""
    loop = asyncio.new_event_loop()
    sock = bound()
    host, port = sock.getsockname()

    async def build() -> Admin:
        admin = Admin(view, sock)
        await admin.start()
        return admin

    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        admin = asyncio.run_coroutine_threadsafe(build(), loop).result(5)
        assert admin.address == f"{host}:{port}"
        yield admin.address
        asyncio.run_coroutine_threadsafe(admin.close(), loop).result(5)
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


def ask(address: str, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request(method, path, body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def test_a_live_process_says_so_and_nothing_may_cache_it() -> None:
    with serving(HandView()) as address:
        answer = ask(address, "/healthz")
    assert (answer.status, answer.json) == (200, {"alive": True})
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Server"] == "overlay-edge"


def test_a_loop_that_stood_still_is_told_by_both_names_of_the_page() -> None:
    with serving(HandView(replace(snapshot(tls="expired"), age_s=10.5))) as address:
        for path in ("/livez", "/healthz"):
            answer = ask(address, path)
            assert (answer.status, answer.json["alive"]) == (503, False)
            assert answer.headers["X-Ready-Age"] == "10.500"


def test_one_check_has_a_page_of_its_own_and_an_unknown_one_has_none() -> None:
    with serving(HandView(snapshot(tls="expired"))) as address:
        tls, bus, none, empty = (ask(address, f"/readyz/{x}") for x in ("tls", "bus", "x/y", ""))
    assert (tls.status, tls.json["reason"], tls.headers["Retry-After"]) == (503, "expired", "5")
    assert (bus.status, bus.json["ok"], bus.headers["X-Ready-Age"]) == (200, True, "0.000")
    assert (none.status, empty.status) == (404, 404)
    assert "tls" in str(none.json["checks"])


def test_a_probe_may_leave_out_checks_in_one_list_or_several() -> None:
    with serving(HandView(snapshot(tls="expired", config="odd"))) as address:
        one = ask(address, "/readyz?exclude=tls")
        both = ask(address, "/readyz?exclude=tls,config,weather")
        twice = ask(address, "/readyz?exclude=tls&exclude=config&verbose")
    assert (one.status, one.json["missing"]) == (503, ["config"])
    assert (both.status, both.json["excluded"]) == (200, ["config", "tls"])
    assert (twice.status, len(twice.json["checks"])) == (200, 6)  # type: ignore[arg-type]


def test_readiness_is_asked_anew_each_time() -> None:
    view = HandView()
    with serving(view) as address:
        ready = ask(address, "/readyz")
        view.snapshot = snapshot(degraded=True, store_space="90 of 96, ready again below 72")
        full = ask(address, "/readyz")
        view.snapshot = snapshot()
        again = ask(address, "/readyz")
    assert (ready.status, ready.json) == (200, {"ready": True, "degraded": False, "missing": []})
    assert full.status == 503
    assert full.headers["Retry-After"] == "5"
    assert full.json == {
        "ready": False,
        "degraded": True,
        "missing": ["store_space"],
        "retry_after": 5,
        "reasons": {"store_space": "90 of 96, ready again below 72"},
    }
    assert again.status == 200


def test_every_check_is_there_for_who_asks() -> None:
    with serving(HandView(snapshot(config="oap.adr: unknown key"))) as address:
        body = ask(address, "/readyz?verbose").json
    checks = body["checks"]
    assert isinstance(checks, list)
    assert len(checks) == 8
    assert (checks[2]["name"], checks[2]["reason"]) == ("config", "oap.adr: unknown key")


def test_version_metrics_and_status_are_served() -> None:
    with serving(HandView()) as address:
        version = ask(address, "/version").json
        metrics = ask(address, "/metrics")
        status = ask(address, "/status")
    assert version["fingerprint"] == FINGERPRINT
    assert metrics.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"\nreadyz_state 1.0\n" in metrics.body
    assert status.headers["Content-Type"].startswith("text/plain")
    assert status.body.startswith(b"overlay-edge 0.1.0   READY\n")


def test_head_is_get_without_the_body() -> None:
    with serving(HandView(snapshot(bus="starting"))) as address:
        answer = ask(address, "/readyz", "HEAD")
    assert (answer.status, answer.body) == (503, b"")
    assert answer.headers["Retry-After"] == "5"


def test_the_promise_has_a_page_and_the_long_answer_of_readiness_tells_of_it() -> None:
    with serving(HandView(promised=report(swap=Standing.BROKEN))) as address:
        page, verbose, short = (ask(address, p) for p in ("/amnesia", "/readyz?verbose", "/readyz"))
    assert (page.status, page.json["amnesia"], page.json["kept"]) == (200, True, False)
    assert len(page.json["rules"]) == 4  # type: ignore[arg-type]
    assert verbose.json["amnesia"] == {"on": True, "kept": False, "told": {"disks": "disks detail"}}
    assert "amnesia" not in short.json


def test_an_unknown_page_names_the_known_ones() -> None:
    with serving(HandView()) as address:
        answer = ask(address, "/admin")
    assert answer.status == 404
    assert answer.json["paths"] == [
        "/livez",
        "/healthz",
        "/readyz",
        "/version",
        "/amnesia",
        "/metrics",
        "/status",
        "/readyz/<check>",
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed_from_here(method: str) -> None:
    with serving(HandView()) as address:
        answer = ask(address, "/readyz", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_a_body_is_refused() -> None:
    with serving(HandView()) as address:
        answer = ask(address, "/readyz", body=b"x" * 1000)
    assert answer.status == 400
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
    ],
)
def test_noise_is_refused_and_the_next_is_served(request_bytes: bytes) -> None:
    with serving(HandView()) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=5) as sock:
            sock.sendall(request_bytes)
            assert sock.recv(64).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
        assert ask(address, "/healthz").status == 200


def test_a_crowd_of_silent_connections_does_not_keep_a_probe_out() -> None:
    with serving(HandView()) as address:
        host, port = address.split(":")
        crowd = [socket.create_connection((host, int(port))) for _ in range(MAX_CONNECTIONS + 20)]
        try:
            assert ask(address, "/healthz").status == 200
            crowd[0].settimeout(5)
            assert crowd[0].recv(1) == b""  # the oldest made room
            crowd[-1].setblocking(False)
            with pytest.raises(BlockingIOError):
                crowd[-1].recv(1)
        finally:
            for sock in crowd:
                sock.close()


def test_a_page_that_fails_is_an_error_of_that_page_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    view = HandView()
    view.counted = None  # type: ignore[assignment]
    with serving(view) as address:
        broken = ask(address, "/status")
        fine = ask(address, "/readyz")
    assert (broken.status, fine.status) == (500, 200)
    assert broken.json["error"] == "internal"
    assert '"event":"admin_page"' in capfd.readouterr().err


@pytest.mark.slow
def test_loading_the_room_leaves_the_environment_alone() -> None:
    probe = "import os, overlay_edge.admin.app; print(os.environ.get('SSL_CERT_FILE'))"
    for value in (None, "/some/file.pem"):
        env = {key: text for key, text in os.environ.items() if key != "SSL_CERT_FILE"}
        env |= {"SSL_CERT_FILE": value} if value else {}
        done = subprocess.run(
            [sys.executable, "-c", probe], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(value)
