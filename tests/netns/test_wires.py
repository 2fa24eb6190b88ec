"""Wires and tunnels: what is cut is cut, and nothing is left, even by a run that was killed."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.tunnel import tunnel
from tests.netns.wires import PREFIX, Wires, ip, missing, remove_leftovers, wires

PORT = 7000
ECHO = f"""
import socket
with socket.create_server(("", {PORT})) as listener:
    print(flush=True)
    while True:
        with listener.accept()[0] as near:
            near.sendall(near.recv(100))
"""
ASK = f"""
import socket, sys
with socket.create_connection((sys.argv[1], {PORT}), 0.3) as far:
    far.sendall(b"hello")
    sys.exit(far.recv(100) != b"hello")
"""


@pytest.fixture
def hosts() -> Iterator[Wires]:
    if reason := missing():
        pytest.skip(reason)
    with wires(4) as made:
        yield made


def inside(hosts: Wires, number: int, *argv: str) -> "subprocess.Popen[bytes]":
    chain = ("ip", "netns", "exec", hosts.namespace(number), sys.executable, "-c")
    return subprocess.Popen([*chain, *argv], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def reaches(hosts: Wires, number: int, other: int) -> bool:
    with inside(hosts, number, ASK, hosts.address(other)) as asking:
        return asking.wait() == 0


@pytest.mark.slow
def test_hosts_reach_each_other_unless_a_cable_or_the_trunk_is_cut(hosts: Wires) -> None:
    with inside(hosts, 4, ECHO) as serving:
        assert serving.stdout is not None
        serving.stdout.readline()
        assert reaches(hosts, 1, 4)
        assert reaches(hosts, 3, 4)
        hosts.join(is_one=False)
        assert not reaches(hosts, 1, 4)
        assert reaches(hosts, 3, 4)
        hosts.plug(4, is_in=False)
        assert not reaches(hosts, 3, 4)
        hosts.join(is_one=True)
        hosts.plug(4, is_in=True)
        assert reaches(hosts, 1, 4)
        with tunnel(hosts.namespace(4), PORT) as near:
            host, _, port = near.partition(":")
            for _ in range(2):  # one after the other
                with socket.create_connection((host, int(port)), 10) as asking:
                    asking.sendall(b"in there")
                    assert asking.recv(100) == b"in there"
        serving.kill()


@pytest.mark.slow
def test_what_a_killed_run_has_left_is_taken_down_by_the_next(hosts: Wires) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    name = f"{PREFIX}{dead.pid}-1"
    ip("netns", "add", name)
    argv = ["ip", "netns", "exec", name, "sleep", "600"]
    with subprocess.Popen(argv) as left:
        while not ip("netns", "pids", name).split():
            pass
        remove_leftovers()
        assert left.wait() != 0
    assert not Path(f"/run/netns/{name}").exists()
    assert Path(f"/run/netns/{hosts.namespace(1)}").exists()
