"""Tunnel: a port of this machine's loopback that leads to loopback inside a host.

A node takes orders and shows its ledger on its own loopback only; an operator gets there with
``ssh -L``, this does without. One connection at a time: who asks takes turns.
"""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.netns.wires import enter

CHUNK_BYTES = 1 << 16
LOOK_S = 0.2  # how soon the end is noticed
WAIT_S = 20.0


@contextmanager
def tunnel(namespace: str, port: int) -> Iterator[str]:
    """Forward until the end; the value is the near end, ``host:port``."""
    over = threading.Event()
    # The near end is made here; whatever the thread opens is in the host.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LOOK_S)
        thread = threading.Thread(target=_serve, args=(listener, namespace, port, over))
        thread.start()
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            over.set()
            thread.join()


def _serve(listener: socket.socket, namespace: str, port: int, over: threading.Event) -> None:
    enter(namespace)
    while not over.is_set():
        try:
            near, _ = listener.accept()
        except TimeoutError:
            continue
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", port), WAIT_S) as far:
            _forward(near, far)


def _forward(near: socket.socket, far: socket.socket) -> None:
    asking = [near, far]
    while True:
        ready, _, _ = select.select(asking, (), (), WAIT_S)
        if not ready:
            return
        for source in ready:
            data = source.recv(CHUNK_BYTES)
            if data:
                (far if source is near else near).sendall(data)
            elif source is far:
                return
            else:
                asking.remove(near)
                far.shutdown(socket.SHUT_WR)
