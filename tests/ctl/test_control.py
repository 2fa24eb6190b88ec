"""POST to a running node: the capability travels over loopback only, refusals are told."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from overlay_edge.ctl.keyfile import Stored, write_cap
from overlay_edge.proto.capability import Capability
from tests.ctl.conftest import Ronctl

ID = "ab" * 64


class Plane(HTTPServer):
    """Answers every POST with what it was given, and writes down what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None, Any]] = []
        self.answer: tuple[int, bytes] = (200, b"{}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Plane

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane() as found:
        thread = Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def cap(tmp_path: Path) -> str:
    write_cap(str(tmp_path / "x.cap"), Stored(Capability(b"planted"), b""))
    return str(tmp_path / "x.cap")


def test_a_revocation_is_posted(ronctl: Ronctl, plane: Plane) -> None:
    done = ronctl("--admin", plane.url, "cap", "revoke", ID.upper())
    assert done.code == 0
    assert plane.asked == [("/control/revoke", None, {"id": ID})]


def test_a_rotation_keeps_the_private_key_here(
    ronctl: Ronctl, plane: Plane, tmp_path: Path
) -> None:
    path = str(tmp_path / "new.key")
    done = ronctl("--json", "--admin", plane.url, "cap", "rotate", path, "--overlap", "1h")
    public = done.json["public"]
    assert plane.asked == [("/control/rotate", None, {"key": public, "overlap_s": 3600.0})]


def test_the_capability_is_a_bearers(ronctl: Ronctl, plane: Plane, cap: str) -> None:
    assert ronctl("--admin", plane.url, "--cap", cap, "cap", "revoke", ID).code == 0
    assert plane.asked[0][1] == "Bearer cGxhbnRlZA"


def test_the_capability_does_not_leave_this_machine_in_the_open(ronctl: Ronctl, cap: str) -> None:
    done = ronctl("--admin", "192.0.2.1:9600", "--cap", cap, "cap", "revoke", ID)
    assert done.code == 2
    assert "could read it" in done.err
    assert "ssh -L" in done.err


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, b'{"error":"unauth","message":"a capability is needed"}'), "a capability is needed"),
        ((403, b'{"error":"denied","message":"\\u001b[2J"}'), "\\x1b[2J"),
        ((405, b'{"error":5}'), "status 405"),
        ((200, b"[]"), "is not a JSON object"),
        ((404, b"<html>"), "is not a JSON object"),
    ],
)
def test_a_refusal_is_told(
    ronctl: Ronctl, plane: Plane, answer: tuple[int, bytes], told: str
) -> None:
    plane.answer = answer
    done = ronctl("--admin", plane.url, "cap", "revoke", ID)
    assert done.code == 1
    assert told in done.err


def test_nobody_there_is_one_line_and_a_hint(ronctl: Ronctl) -> None:
    done = ronctl("--admin", "127.0.0.1:1", "cap", "revoke", ID)
    assert done.code == 1
    assert "hint: is the node running?" in done.err
