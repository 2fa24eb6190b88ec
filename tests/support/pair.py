"""Two real sessions back to back, over a pipe cut at will, with time moved by hand."""

from collections.abc import Callable
from dataclasses import replace

from overlay_edge.config import DEFAULTS, SessionConfig
from overlay_edge.errors import Refused
from overlay_edge.proto.events import Answered, Event
from overlay_edge.proto.frame import CHUNK_BYTES, Frame, FrameDecoder, encode
from overlay_edge.proto.inbound import admit_all
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role

SETTINGS = DEFAULTS.session("hybrid")


def settings(**changes: object) -> SessionConfig:
    return replace(SETTINGS, **changes)  # type: ignore[arg-type]


class Bytes:
    """A source of known bytes that counts how often it was closed."""

    def __init__(self, data: bytes, *, chunk: int = CHUNK_BYTES) -> None:
        self.data = data
        self.chunk = chunk
        self.offset = 0
        self.closed = 0

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        end = min(self.offset + min(limit, self.chunk), len(self.data))
        piece, self.offset = self.data[self.offset : end], end
        return piece, end == len(self.data)

    def close(self) -> None:
        self.closed += 1


class Pair:
    """A dialling and a listening session, and what each has told its owner."""

    def __init__(
        self,
        *,
        listener: SessionConfig = SETTINGS,
        dialler: SessionConfig = SETTINGS,
        admit: Callable[[Frame], Refused | None] = admit_all,
        cut: int = 1 << 20,
    ) -> None:
        self.now = 1000.0
        self.cut = cut
        self.answered: list[Answered] = []
        self.dialler = Session(Role.DIALLER, dialler, now=self.now)
        self.listener = Session(
            Role.LISTENER, listener, now=self.now, admit=admit, on_answered=self.answered.append
        )
        self.told: dict[Session, list[Event]] = {self.dialler: [], self.listener: []}

    def carry(self) -> int:
        """Move one batch each way; return the bytes that moved."""
        moved = 0
        for here, there in ((self.dialler, self.listener), (self.listener, self.dialler)):
            data, found = here.take_output(now=self.now)
            self.told[here] += found
            for start in range(0, len(data), self.cut):
                self.told[there] += there.receive(data[start : start + self.cut], now=self.now)
            self.told[there] += there.receive(b"", now=self.now)
            moved += len(data)
        return moved

    def settle(self) -> None:
        """Move bytes until both sides are quiet."""
        while self.carry():
            pass

    def greet(self) -> "Pair":
        self.dialler.greet("test")
        self.settle()
        for told in self.told.values():
            told.clear()
        return self

    def take(self, session: Session) -> list[Event]:
        """What a side was told since the last look."""
        found, self.told[session] = self.told[session], []
        return found


def frames_of(data: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    decoder.feed(data)
    found = []
    while frame := decoder.next_frame():
        found.append(frame)
    assert not decoder.buffered
    return found


class Stranger:
    """A peer that writes frames by hand, as a client that knows only the contract would."""

    def __init__(self, config: SessionConfig = SETTINGS, *, credit: bool = True) -> None:
        self.now = 1000.0
        self.answered: list[Answered] = []
        self.session = Session(
            Role.LISTENER, config, now=self.now, on_answered=self.answered.append
        )
        self.events: list[Event] = []
        hello = b'{"ua":null,"features":{}}' if credit else b'{"ua":null}'
        self.hello = Frame(1, corr_id=7, tenant=9, payload=hello)

    def say(self, *frames: Frame | bytes) -> list[Frame]:
        """Write frames (or raw bytes) and return what comes back."""
        data = b"".join(f if isinstance(f, bytes) else encode(f) for f in frames)
        self.events += self.session.receive(data, now=self.now)
        return self.hear()

    def hear(self) -> list[Frame]:
        back: list[Frame] = []
        while True:
            data, found = self.session.take_output(now=self.now)
            self.events += found
            self.events += self.session.receive(b"", now=self.now)
            if not data:
                return back
            back += frames_of(data)

    def greeted(self) -> "Stranger":
        self.say(self.hello)
        self.events.clear()
        return self
