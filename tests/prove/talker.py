"""A peer that keeps hold of what it did: OAP/1 frame by frame over blocking TLS."""

import socket
from collections.abc import Callable
from types import TracebackType

from OpenSSL import SSL

from overlay_edge.net.context import ALPN
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    END,
    EVENT,
    REQ,
    RESP,
    START,
    App,
    Frame,
    FrameDecoder,
    encode,
    encode_json,
)

TIMEOUT_S = 30.0  # a guest under emulation on a busy machine
KEY_LOG_LABELS = ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "EXPORTER_SECRET")


class Talker:
    """One session; it stays open until it is closed.

    Args:
        port: The guest's OAP port on loopback.
        ua: What it says it is: the guest logs it.
        cap: Capability for the whole session, sent with HELLO.
        has_credit: Say that we know credit, so that the guest keeps what we do not allow.

    Attributes:
        tls_secrets: The session's traffic secrets, which both ends hold.
    """

    def __init__(
        self, port: int, *, ua: str = "prove", cap: bytes = b"", has_credit: bool = False
    ) -> None:
        self.tls_secrets: list[bytes] = []
        self._numbers = 1
        self._decoder = FrameDecoder()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_alpn_protos([ALPN])
        context.set_keylog_callback(self._key_log)
        plain = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        plain.settimeout(None)  # pyOpenSSL wants a blocking socket; the kernel keeps the time
        seconds = int(TIMEOUT_S).to_bytes(8, "little") + bytes(8)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        self._socket = plain
        self._tls = SSL.Connection(context, plain)
        self._tls.set_connect_state()
        self._tls.do_handshake()
        flags = REQ | START if cap else REQ
        hello = {"ua": ua, **({"features": {}} if has_credit else {})}
        self.send(Frame(flags, cap=cap, payload=encode_json(hello)))
        answer = self.receive()
        if answer.code != 200:
            raise ConnectionError(f"HELLO: {answer.code} {answer.payload!r}")

    def __enter__(self) -> "Talker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _key_log(self, _: object, line: bytes) -> None:
        label, _, secret = line.decode().split(" ")
        if label in KEY_LOG_LABELS:
            self.tls_secrets.append(bytes.fromhex(secret))

    def close(self) -> None:
        """Hang up without a word."""
        self._socket.close()

    def send(self, frame: Frame) -> None:
        """Send a frame whole."""
        self._tls.sendall(encode(frame))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that may be no frame."""
        self._tls.sendall(data)

    def receive(self, wanted: Callable[[Frame], bool] = lambda frame: True) -> Frame:
        """The next frame that is wanted; others are dropped."""
        while True:
            frame = self._decoder.next_frame()
            if frame is None:
                self._decoder.feed(self._tls.recv(CHUNK_BYTES))
            elif wanted(frame):
                return frame

    def ask(self, app: App, head: bytes, *, cap: bytes = b"", is_whole: bool = True) -> int:
        """Open a request; returns its number."""
        number, self._numbers = self._numbers, self._numbers + 2
        flags = REQ | START | (END if is_whole else 0)
        self.send(Frame(flags, app=app, corr_id=number, cap=cap, payload=head))
        return number

    def bulk(self, app: App, number: int, data: bytes, *, is_last: bool) -> None:
        """Send bytes of an open request, in chunks."""
        for at in range(0, len(data), CHUNK_BYTES):
            piece = data[at : at + CHUNK_BYTES]
            end = END if is_last and at + CHUNK_BYTES >= len(data) else 0
            self.send(Frame(REQ | end, app=app, corr_id=number, payload=piece))

    def put(self, data: bytes, *, cap: bytes = b"", topic: str = "") -> Frame:
        """Store an object and return the answer."""
        fields: dict[str, object] = {"op": "put", "size": len(data)}
        if topic:
            fields["topic"] = topic
        number = self.ask(App.OBJECTS, encode_json(fields), cap=cap, is_whole=False)
        self.bulk(App.OBJECTS, number, data, is_last=True)
        return self.answer(number)

    def answer(self, number: int) -> Frame:
        """The first frame that answers a request."""
        return self.receive(lambda f: bool(f.flags & RESP) and f.corr_id == number)

    def begin_put(self, size: int, data: bytes, *, cap: bytes = b"") -> None:
        """Begin an upload and do not finish it."""
        head = encode_json({"op": "put", "size": size})
        number = self.ask(App.OBJECTS, head, cap=cap, is_whole=False)
        self.bulk(App.OBJECTS, number, data, is_last=False)

    def hold_echo(self, chunk: bytes) -> None:
        """Have the guest hold a chunk of an echo: it was sent, and we let nothing come back.

        Needs ``has_credit`` and a window of one chunk: the first chunk uses it up.
        """
        number = self.ask(App.ECHO, chunk, is_whole=False)
        self.bulk(App.ECHO, number, chunk, is_last=False)
        self.receive(lambda f: bool(f.flags & EVENT) and f.corr_id == number)  # credit for one more
        self.bulk(App.ECHO, number, chunk, is_last=False)

    def notify_most(self, payload: bytes) -> None:
        """Send a gossip frame but for its last byte: the node must keep what has come."""
        self.send_bytes(encode(Frame(EVENT, app=App.GOSSIP, payload=payload))[:-1])
