"""A collector of audit records on loopback, in a thread: takes whatever comes."""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread


@contextmanager
def collector() -> Iterator[tuple[int, list[bytes]]]:
    """One that answers 204 to whatever comes, and remembers how it began."""
    requests: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b"".join(iter(self.rfile.readline, b"\r\n"))
            requests.append(head)
            self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], requests
        finally:
            server.shutdown()
            thread.join()
