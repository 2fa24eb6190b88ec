"""Credentials: shown to a broker once, and left nowhere.

paho would keep user and password for as long as it lives, and build its greeting in buffers that
grow, each of which leaves a copy behind. So it is given zeros of the same length; they are
overwritten in the greeting when that is complete, it is sent at once, and wiped.
"""

import socket
from typing import Any

from overlay_edge.host.secret import Secret, wipe

CONNECT = 0x10


def show_once(client: Any, sock: socket.socket, secret: Secret | None) -> None:
    """Have a client of paho's show them when it greets.

    Args:
        client: Not connected yet; MQTT 5, where they are the end of the greeting.
        sock: What it is about to greet over: connected, does not block, nothing sent yet.
        secret: ``user:password``, or nothing.
    """
    if not secret:
        return
    colon = secret.find(b":")
    user_bytes = len(secret) if colon < 0 else colon
    password_bytes = 0 if colon < 0 else len(secret) - colon - 1
    client._username, client._password = bytes(user_bytes), bytes(password_bytes)
    queue = client._packet_queue

    def send(command: int, packet: bytearray, *more: Any) -> Any:
        if command != CONNECT:
            return queue(command, packet, *more)
        del client._packet_queue
        try:
            end = len(packet) - password_bytes
            with secret.reveal() as shown:
                packet[end:] = shown[len(secret) - password_bytes :]
                packet[end - 2 - user_bytes : end - 2] = shown[:user_bytes]
            if sock.send(packet) < len(packet):  # its buffer is empty and takes far more
                raise BlockingIOError("the greeting does not fit into the socket's buffer")
        finally:
            wipe(packet)
        return 0

    client._packet_queue = send
