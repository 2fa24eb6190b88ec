"""Knocker: one worker that connects, greets and hangs up, again and again.

python -m tests.soak.knocker ADDRESS SOURCE COUNT

It ends by itself, and when whoever started it is gone.
"""

import os
import socket
import sys
from threading import Thread

from overlay_edge.config.values import split_addr
from overlay_edge.proto.frame import HEADER_BYTES
from tests.soak.caller import HELLO, TLS

WAIT_S = 10.0


def main() -> None:
    """Knock."""
    address, source, count = sys.argv[1:]
    Thread(target=_end_with_parent, daemon=True).start()
    where = split_addr(address)
    for _ in range(int(count)):
        # A source address of each worker's own: a closed connection keeps its port for a while.
        sock = socket.create_connection(where, WAIT_S, (source, 0))
        with TLS.wrap_socket(sock, server_hostname="x") as up:
            up.sendall(HELLO)
            if len(up.recv(1 << 14)) <= HEADER_BYTES:
                raise SystemExit("error: no answer to HELLO")


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
