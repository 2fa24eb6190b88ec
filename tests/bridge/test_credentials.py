"""Credentials: in the greeting, and nowhere else."""

import socket
from contextlib import suppress

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from overlay_edge.bridge.credentials import show_once
from tests.support.sealed import sealed


def greeting(words: bytes) -> tuple[bytes, paho.Client]:
    """What a client says first."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = paho.Client(CallbackAPIVersion.VERSION2, "edge", protocol=paho.MQTTv5)
        client.will_set("state", b"offline")
        client._create_socket = lambda: ours  # type: ignore[method-assign]
        show_once(client, ours, sealed(words))
        client.connect("broker")
        said = theirs.recv(1 << 16)
        client._sock_close()
    return said, client


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (b"user:pass:word", b"\0\x04user\0\x09pass:word"),
        (b"user:", b"\0\x04user\0\0"),
        (b"user", b"\0\x04user\0\0"),
        (b":word", b"\0\0\0\x04word"),
    ],
)
def test_they_are_the_end_of_the_greeting(words: bytes, end: bytes) -> None:
    said, client = greeting(words)
    assert said.endswith(b"offline" + end)
    assert said[1] == len(said) - 2
    assert not any(client._username or b"")
    assert not any(client._password or b"")


def test_without_any_the_greeting_says_that_there_are_none() -> None:
    said, _ = greeting(b"")
    assert said.endswith(b"offline")
    assert said[9] & 0xC0 == 0


def test_a_socket_that_does_not_take_it_is_an_error_and_leaves_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(1 << 16))
        client = paho.Client(CallbackAPIVersion.VERSION2, "edge", protocol=paho.MQTTv5)
        client._create_socket = lambda: ours  # type: ignore[method-assign]
        show_once(client, ours, sealed(b"user:word"))
        with pytest.raises(BlockingIOError):
            client.connect("broker")
        client._sock_close()
