"""Listening: an address is had, or refused in one line that names its setting."""

import socket

import pytest

from overlay_edge.errors import BindError
from overlay_edge.net.listen import listen


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


def refusal_of(host: str, port: int = 0) -> BindError:
    with pytest.raises(BindError) as caught:
        listen(f"{host}:{port}", host, port, "oap.addr").close()
    return caught.value


def test_a_port_in_use_is_refused_with_what_to_do() -> None:
    with listen("127.0.0.1:0", "127.0.0.1", 0, "admin.addr") as taken:
        port = taken.getsockname()[1]
        refusal = refusal_of("127.0.0.1", port)
    assert str(refusal) == f"oap.addr: 127.0.0.1:{port}: Address already in use"
    assert refusal.hint == "another program listens there; stop it, or set oap.addr"


def test_an_address_of_another_machine_is_refused_by_its_setting() -> None:
    refusal = refusal_of("192.0.2.1")
    assert str(refusal) == "oap.addr: 192.0.2.1:0: Cannot assign requested address"
    assert refusal.hint == ""


@pytest.mark.parametrize("host", ["no host", "256.0.0.1 ", "a..b", "..", "a" * 64 + ".example"])
def test_a_host_that_is_none_is_refused_and_never_raises_anything_else(host: str) -> None:
    assert str(refusal_of(host)).startswith(f"oap.addr: {host}:0: ")


def test_a_refused_address_leaves_no_socket_behind(recwarn: pytest.WarningsRecorder) -> None:
    with listen("127.0.0.1:0", "127.0.0.1", 0, "x") as taken:
        for _ in range(3):
            refusal_of("127.0.0.1", taken.getsockname()[1])
    assert not recwarn.list  # an unclosed socket warns


def test_port_0_takes_a_free_one_and_callers_may_come_before_anybody_accepts() -> None:
    with listen("127.0.0.1:0", "127.0.0.1", 0, "oap.addr") as sock:
        assert sock.getblocking() is False
        with socket.create_connection(sock.getsockname(), timeout=5) as caller:
            assert caller.getpeername() == sock.getsockname()


def test_an_address_is_free_again_at_once_when_its_listener_is_gone() -> None:
    with listen("127.0.0.1:0", "127.0.0.1", 0, "oap.addr") as first:
        name = first.getsockname()
        with socket.create_connection(name, timeout=5):
            served, _ = first.accept()
            served.close()  # our end closes first: the port lingers in TIME_WAIT
    with listen("again", *name, "oap.addr") as second:
        assert second.getsockname() == name


@needs_ipv6
def test_an_ipv6_address_is_listened_on() -> None:
    with listen("[::1]:0", "::1", 0, "oap.addr") as sock:
        assert sock.family is socket.AF_INET6
        with socket.create_connection(sock.getsockname()[:2], timeout=5) as caller:
            assert caller.family is socket.AF_INET6


@needs_ipv6
def test_the_ipv6_wildcard_serves_both_families() -> None:
    with listen("[::]:0", "::", 0, "oap.addr") as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()
