"""Streams as `ronctl` reads them: bounded lines, and every way they can fail."""

import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from overlay_edge.ctl.stream import fields_of, lines, moment
from overlay_edge.errors import Refused, TransportError

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@contextmanager
def answering(answer: bytes) -> Iterator[Namespace]:
    """A server that says this to its one caller."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        yield Namespace(admin=f"127.0.0.1:{server.getsockname()[1]}", timeout=5.0, cap=None)
        thread.join()


def test_lines_come_without_the_empty_ones() -> None:
    with answering(OK + b'{"a":1}\n\n\n{"b":2}') as args:
        assert list(lines(args, "/bus")) == ['{"a":1}', '{"b":2}']


def test_a_refusal_says_why() -> None:
    body = b'{"error":"busy","message":"8 streams"}'
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % len(body)
    with answering(head + body) as args, pytest.raises(Refused, match="8 streams"):
        list(lines(args, "/bus"))


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 404 No\r\n\r\n<html>", b"HTTP/1.1 302 Go\r\n\r\n{}"]
)
def test_what_is_not_the_admin_plane_is_said(answer: bytes) -> None:
    with answering(answer) as args, pytest.raises(TransportError):
        list(lines(args, "/bus"))


def test_a_silent_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay_edge.ctl.stream.SILENCE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        args = Namespace(admin=f"127.0.0.1:{server.getsockname()[1]}", timeout=5.0, cap=None)
        with pytest.raises(TransportError, match="silent"):
            list(lines(args, "/bus"))


def test_a_line_that_is_no_object_has_no_fields() -> None:
    assert fields_of('{"a":1}') == {"a": 1}
    for noise in ("", "[]", "{", "[" * 5000):
        assert fields_of(noise) == {}


def test_a_moment_is_always_shown() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
    noises: tuple[object, ...] = (None, "x", 10**30, float("nan"), {})
    for noise in noises:
        assert moment(noise) == "?"
