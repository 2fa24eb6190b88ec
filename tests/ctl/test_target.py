"""Whom `ronctl` believes: a pin, an authority, or the admin plane of this very machine."""

import socket
from argparse import Namespace
from threading import Thread

import pytest

from overlay_edge.ctl.target import is_loopback, local_pin
from overlay_edge.errors import ConfigError
from tests.ctl.conftest import Ronctl
from tests.support.program import Program


def test_the_pin_of_a_node_on_this_machine_is_asked_from_it(node: Program) -> None:
    args = Namespace(addr=node.oap, admin=node.admin, timeout=5.0)
    assert local_pin(args) == node.pin


@pytest.mark.parametrize(
    ("addr", "admin", "named"),
    [
        ("192.0.2.1:9444", "127.0.0.1:9600", "--addr 192.0.2.1:9444"),
        ("127.0.0.1:9444", "192.0.2.1:9600", "--admin 192.0.2.1:9600"),
    ],
)
def test_a_fingerprint_that_came_over_a_network_is_not_believed(
    addr: str, admin: str, named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        local_pin(Namespace(addr=addr, admin=admin, timeout=1.0))
    assert "console" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("192.0.2.1:1", False),
        ("localhost.example.org:1", False),
        ("[2001:db8::1]:1", False),
    ],
)
def test_only_loopback_is_this_machine(address: str, is_local: bool) -> None:
    assert is_loopback(address) is is_local


def test_a_wrong_pin_ends_it(to_node: Ronctl) -> None:
    done = to_node("--pin", "00" * 32, "echo")
    assert (done.code, done.out) == (1, "")
    assert "expected 0000" in done.err


def test_a_right_pin_needs_no_admin_plane(ronctl: Ronctl, node: Program) -> None:
    argv = ["--addr", node.oap, "--admin", "127.0.0.1:1", "--pin", node.pin.upper()]
    assert ronctl(*argv, "echo").code == 0


def test_an_authority_that_is_no_pem_is_named(ronctl: Ronctl, node: Program) -> None:
    done = ronctl("--addr", node.oap, "--ca", "/dev/null", "echo")
    assert done.code == 1
    assert "/dev/null" in done.err


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.1 200 OK\r\n\r\n{}", b""]
)
def test_what_is_not_the_admin_plane_is_told_so(ronctl: Ronctl, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.recv(1000)
                sock.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        done = ronctl("--admin", f"127.0.0.1:{listener.getsockname()[1]}", "echo")
        thread.join()
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.count("\n") <= 2
