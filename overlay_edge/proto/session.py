"""Session: one peer's conversation, as a machine without a socket.

The owner feeds bytes and time, gets events, and writes what :meth:`Session.take_output`
returns. Both sides of a link run the same machine::

    HELLO ---greet---> OPEN ---leave---> LEAVING ---fail---> CLOSED
      |                  |                                     ^
      +-------fail-------+-------------------------------------+

A peer cannot make a door raise: what it breaks becomes a refusal in the output and a last
:class:`~overlay_edge.proto.events.LinkFailed`. Only our own misuse raises, and on a CLOSED
session every verb is a no-op: the owner need not watch for a peer that just failed.

Memory a peer can cost: one frame being read, one control lane, the heads of the answers to
at most ``inflight_frames`` open requests, and what the owner holds of a stream before it
says :meth:`Session.consumed`, at most a window each.
"""

from collections.abc import Callable

from overlay_edge.config import SessionConfig
from overlay_edge.errors import LocalMisuse, PeerViolation, Refused
from overlay_edge.proto import events, hello, message
from overlay_edge.proto.compression import inflate
from overlay_edge.proto.events import Event
from overlay_edge.proto.flow import UNLIMITED, Allowance, Outbox, Sender, Source, bulk_of
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    END,
    EVENT,
    KINDS,
    REQ,
    RESP,
    START,
    App,
    Frame,
    FrameCounts,
    FrameDecoder,
    Skipped,
)
from overlay_edge.proto.greeting import read_greeting
from overlay_edge.proto.inbound import Inbound, admit_all, ignore
from overlay_edge.proto.outbound import Outbound
from overlay_edge.proto.pool import Share
from overlay_edge.proto.state import TRANSITIONS, Move, Role, State
from overlay_edge.proto.watch import Patience, Watch
from overlay_edge.proto.writer import Writer


class Session:
    """One peer's conversation.

    Args:
        role: Which end we are; the dialling side greets first.
        config: Limits and waits.
        now: Monotonic seconds; the handshake's deadline counts from here.
        share: What frames longer than a chunk draw on; None = nothing is shared.
        admit: Asked for each request of the peer's that the session's own limits allow;
            a refusal answers it, None admits and counts it.
        on_answered: Told once when a request of the peer's is over, however it ended.
    """

    def __init__(
        self,
        role: Role,
        config: SessionConfig,
        *,
        now: float,
        share: Share | None = None,
        admit: Callable[[Frame], Refused | None] = admit_all,
        on_answered: Callable[[events.Answered], None] = ignore,
    ) -> None:
        self.state = State.HELLO
        self.peer = hello.Hello()
        self.cap = b""  # came with HELLO, for requests that bring none
        self.received = FrameCounts()
        self.sent = FrameCounts()
        self._role = role
        self._config = config
        self._decoder = FrameDecoder(share)
        self._outbox = Outbox()
        self.lane = self._outbox.events  # what waits of notify
        self._inbound = Inbound(config, self._outbox, admit, on_answered, now=now)
        self._outbound = Outbound(self._outbox, 1 if role is Role.DIALLER else 2)
        self._writer = Writer(self._outbox, self._inbound, self.sent)
        self._watch = Watch(config, now=now)
        self.patience = Patience(config.max_rps, now=now)
        self._pings = 0

    # -- what the owner asks ------------------------------------------------------------

    @property
    def open_requests(self) -> int:
        """Requests of the peer's that are not fully answered."""
        return len(self._inbound)

    @property
    def is_idle(self) -> bool:
        """Nothing is open in either direction and nothing waits to be written."""
        return not (self._inbound or self._outbound or self._outbox.has_output)

    @property
    def has_output(self) -> bool:
        """There may be something to write."""
        return self._outbox.has_output

    @property
    def wants_input(self) -> bool:
        """False = stop reading from the peer until output has left or bytes were consumed."""
        if self.state is State.CLOSED or self._outbox.is_crowded or self.patience.is_spent:
            return False
        # Windows bound a peer that knows credit; and our sending may wait for its credit.
        return self.peer.has_credit or self._inbound.held < self._window_bytes

    # -- the peer spoke -----------------------------------------------------------------

    def receive(self, data: bytes, *, now: float) -> list[Event]:
        """Take bytes from the peer, cut anywhere.

        Call again with ``b""`` after output was taken: until then frames are left undecoded.
        """
        found: list[Event] = []
        if self.state is State.CLOSED:
            return found
        self._inbound.now = now
        if data:
            self._watch.heard(now=now)
            self._decoder.feed(data)
        try:
            while not (self._outbox.is_crowded or self.patience.is_out(now=now)):
                if (frame := self._decoder.next_frame()) is None:
                    break
                self._watch.frame_finished()
                self.received.count(frame.app)
                self._on_frame(frame, found, now)
            if (skipped := self._decoder.take_skipped()) is not None:
                self._on_skipped(skipped, found, now)
            self._inbound.check()
        except PeerViolation as violation:
            self._fail(violation, found)
        if self._decoder.buffered:
            self._watch.frame_unfinished(self._decoder.expected, now=now)
        if not self.wants_input:
            self._watch.held_back(now=now)
        return found

    def _on_frame(self, frame: Frame, found: list[Event], now: float) -> None:
        kind = frame.flags & KINDS
        event: Event | None
        if kind not in (REQ, RESP, EVENT):
            raise PeerViolation("BadKind", "flags, expected one of REQ, RESP and EVENT")
        if self.state is State.HELLO:
            self._on_greeting(frame)
            self._move(Move.GREET)
            event = events.Greeted(self.peer)
        elif kind == EVENT:
            event = self._on_event(frame, now)
        elif kind == RESP:
            if frame.corr_id == 0 and frame.code >= 400:
                raise message.Told(frame)
            event = self._outbound.receive(frame)
        elif frame.app == App.CONTROL:
            raise PeerViolation("SecondHello", "a second HELLO on one session")
        else:
            window = self._window_bytes if self.peer.has_credit else UNLIMITED
            leaving = self.state is State.LEAVING
            event = self._inbound.receive(frame, window, is_leaving=leaving, now=now)
        self.patience.took(frame, event, now=now)
        if event is not None:
            found.append(event)

    def _on_skipped(self, frame: Skipped, found: list[Event], now: float) -> None:
        if self.state is State.HELLO or frame.flags & KINDS != REQ or frame.app == App.CONTROL:
            raise PeerViolation("NoRoom", "no room for a long frame", code=503, token="busy")
        event = self._inbound.skip(frame, now=now)
        self.patience.skipped(now=now)
        if event is not None:
            found.append(event)

    def _on_greeting(self, frame: Frame) -> None:
        self.peer = read_greeting(self._role, frame)
        if self._role is Role.LISTENER:
            self.cap = frame.cap
            self._outbox.push_control(hello.answer_frame(frame, self._config))

    def _on_event(self, frame: Frame, now: float) -> Event | None:
        payload = inflate(frame)
        if frame.app != App.CONTROL:
            return events.Notified(frame.app, payload)
        match message.read_control(payload):
            case message.Credit(limit):
                # Credit for a stream that has just ended is no fault.
                if sender := self._sender(frame.corr_id):
                    if sender.allowance.grant(limit) >= CHUNK_BYTES:
                        self.patience.earned(now=now)
                    if request := self._inbound.get(frame.corr_id):
                        self._inbound.credited(request)
                    self._outbox.resume(sender)
            case message.Ping(number):
                self._outbox.push_control(message.control_frame({"pong": number}))
            case message.Pong(number):
                return events.Ponged(number)
            case message.Goaway(reason, retry_after_ms):
                self._move(Move.LEAVE)
                return events.PeerLeaving(reason, retry_after_ms)
        return None

    # -- we want something --------------------------------------------------------------

    def greet(self, ua: str, cap: bytes = b"") -> None:
        """Send HELLO, with a capability for the whole session; the dialling side's first call."""
        if self._role is not Role.DIALLER or self.state is not State.HELLO:
            raise LocalMisuse("HELLO is the dialling side's first frame")
        self._outbox.push_control(hello.request_frame(ua, self._config, cap))

    def request(
        self, app: int, payload: bytes, *, source: Source | None = None, cap: bytes = b""
    ) -> int:
        """Open a request and return its correlation id.

        Args:
            app: Application.
            payload: The head.
            source: Bulk that follows, or None: then the head is all.
            cap: Capability, opaque.

        Raises:
            LocalMisuse: Before HELLO is done, or when the session is leaving or closed.
        """
        if self.state is not State.OPEN:
            raise LocalMisuse(f"a request in state {self.state.value}")
        return self._outbound.ask(app, payload, source, cap, self._first_credit)

    def cancel(self, corr_id: int) -> None:
        """Forget a request of ours; what still comes of its answer is dropped."""
        self._outbound.cancel(corr_id)

    def respond(
        self, corr_id: int, payload: bytes, *, source: Source | None = None, bulk_code: int = 206
    ) -> None:
        """Answer a request with 200.

        Args:
            corr_id: The request's.
            payload: The head.
            source: Bulk that follows, or None: then the head is all. It is closed exactly once.
            bulk_code: Code of the frames of bulk.
        """
        request = self._inbound.get(corr_id)
        if self.state is State.CLOSED or request is None:
            if source is not None:
                source.close()
            return
        if request.sender is not None:
            raise LocalMisuse(f"request {corr_id} is answered twice")
        flags = RESP | START | (0 if source else END)
        head = Frame(flags, 200, request.app, request.tenant, corr_id, payload=payload)
        request.sender = Sender(
            head, source, bulk_of(head, bulk_code), Allowance(self._first_credit)
        )
        self._outbox.add(request.sender)

    def refuse(self, corr_id: int, refusal: Refused, *, now: float) -> None:
        """Answer a request with an error; bytes of it still arriving are thrown away."""
        request = self._inbound.get(corr_id)
        if request is not None and self.state is not State.CLOSED:
            self._inbound.refuse(request, refusal, now=now)

    def consumed(self, corr_id: int, amount: int) -> None:
        """Bytes of a stream were used up; the peer may send as many more."""
        request, asked = self._inbound.get(corr_id), self._outbound.get(corr_id)
        window = request.window if request else asked.window if asked else None
        if window is None or self.state is State.CLOSED:
            return  # the stream ended meanwhile
        grant = self._inbound.consume(request, amount) if request else window.consume(amount)
        if grant is not None and not (request and request.is_whole):
            self._outbox.push_control(message.control_frame({"credit": grant}, corr_id))

    def resume(self, corr_id: int) -> None:
        """The source of a stream has bytes again."""
        if sender := self._sender(corr_id):
            self._outbox.resume(sender)

    def notify(self, app: int, payload: bytes, rank: int = 0) -> None:
        """Send an event to an application of the peer's; see :class:`EventLane` for ranks."""
        if self.state is not State.CLOSED:
            self.lane.push(app, payload, rank)
            self._outbox.resume(self.lane)

    def ping(self) -> int:
        """Send a ping and return its number; :class:`~events.Ponged` answers it."""
        self._pings += 1
        if self.state is not State.CLOSED:
            self._outbox.push_control(message.control_frame({"ping": self._pings}))
        return self._pings

    def leave(self, reason: str, retry_after_ms: int) -> None:
        """Say goodbye: no new requests, open ones finish."""
        if self.state in (State.OPEN, State.LEAVING):
            goaway = {"reason": reason, "retry_after_ms": retry_after_ms}
            self._outbox.push_control(message.control_frame({"goaway": goaway}))
        self._move(Move.LEAVE)

    def drop_input(self, why: str, *, now: float) -> list[Event] | None:
        """Overwrite a frame that is half here, and refuse what it belongs to.

        Returns:
            What came of it; None = whole frames wait, and only the end of the link drops those.
        """
        return self.receive(b"", now=now) if self._decoder.drop(why) else None

    def close(self, *, now: float, refusal: Refused | None = None) -> None:
        """Let go of every stream and the capability: the link is gone, or ends with a refusal."""
        self._move(Move.FAIL)
        self.cap = b""
        self._decoder.close()
        self._outbox.close()
        self._inbound.close(now=now)
        self._outbound.close()
        if refusal is not None:
            self._outbox.push_control(message.error_frame(refusal))

    # -- what to write ------------------------------------------------------------------

    def take_output(self, *, bulk: bool = True, now: float) -> tuple[bytes, list[Event]]:
        """Return what to write now, at most one chunk of bulk, and what came of it.

        Call when the connection can take it; empty means that every stream waits. Without
        ``bulk`` only control frames are taken: there is room for those at all times.
        """
        self._inbound.now = now
        data, found, has_bulk = self._writer.take(bulk=bulk, now=now)
        if has_bulk:
            self._watch.moved(now=now)
        return data, found

    # -- time ---------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """Wake me then, in monotonic seconds; None = never."""
        if self.state is State.CLOSED:
            return None
        if self.state is State.HELLO:
            return self._watch.hello_at
        reads = self.wants_input  # if not, no sender is late but us
        due = self._watch.deadline(pings=self._role is Role.DIALLER, reads=reads)
        others = (self._inbound.stalled_at(reads=reads), self.patience.until)
        return min((due, *(time for time in others if time is not None)))

    def wake(self, *, now: float) -> list[Event]:
        """It is ``now``: act on what is due."""
        found: list[Event] = []
        if self.patience.is_spent and not self.patience.is_out(now=now):
            found = self.receive(b"", now=now)
        try:
            self._check_time(found, now)
        except PeerViolation as violation:
            self._fail(violation, found)
        return found

    def _check_time(self, found: list[Event], now: float) -> None:
        if self.state is State.CLOSED:
            return
        if self.state is State.HELLO:
            self._watch.check_hello(now=now)
            return
        if self._watch.check(pings=self._role is Role.DIALLER, reads=self.wants_input, now=now):
            self.ping()
        found += self._inbound.abandon_stalled(reads=self.wants_input, now=now)

    # -- the rest -----------------------------------------------------------------------

    def _fail(self, violation: PeerViolation, found: list[Event]) -> None:
        self._move(Move.FAIL)
        self._outbox.close()
        if is_ours := not isinstance(violation, message.Told):
            self._outbox.push_control(message.error_frame(message.as_refused(violation)))
        token, name = violation.token, violation.name
        found.append(events.LinkFailed(violation.code, token, name, str(violation), is_ours))

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state][move]

    def _sender(self, corr_id: int) -> Sender | None:
        request, asked = self._inbound.get(corr_id), self._outbound.get(corr_id)
        return request.sender if request else asked.sender if asked else None

    @property
    def _window_bytes(self) -> int:
        """The session's one window: the listening side names it, both keep to it."""
        frames = self.peer.window_frames or self._config.send_window_frames
        return frames * CHUNK_BYTES

    @property
    def _first_credit(self) -> int:
        return self._window_bytes if self.peer.has_credit else UNLIMITED
