"""Two real sessions over a pipe that is slow, cut anywhere and may break, in any order of calls.

What must hold at every step: credit is never negative, no byte of a stream is lost, changed or
delivered twice, what a side holds stays under its bound, and every request ends exactly once.
"""

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from overlay_edge.errors import Refused
from overlay_edge.proto.events import (
    Abandoned,
    Answered,
    Body,
    Event,
    LinkFailed,
    Requested,
    Responded,
)
from overlay_edge.proto.flow import CROWDED_BYTES, CROWDED_FRAMES
from overlay_edge.proto.frame import CHUNK_BYTES, OWN_FRAME_BYTES, App
from overlay_edge.proto.lane import EventLane
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role, State
from tests.support.pair import Bytes, Pair
from tests.support.pair import settings as session_settings

PIPE_BYTES = 100_000  # what a connection holds between the two
INFLIGHT = 4
SIDES = st.sampled_from(list(Role))


def pattern(corr_id: int, size: int) -> bytes:
    """Bytes that differ for each stream and each position."""
    unit = b"".join((corr_id * 65_537 + n).to_bytes(4, "big") for n in range(1, 257))
    return (unit * (size // len(unit) + 1))[:size]


class TwoSessions(RuleBasedStateMachine):
    """The dialler uploads; the listener gives each upload back."""

    @initialize(window=st.integers(1, 3), has_credit=st.booleans())
    def greet(self, window: int, has_credit: bool) -> None:
        config = session_settings(
            inflight_frames=INFLIGHT, send_window_frames=window, max_rps=100_000
        )
        self.window_bytes = window * CHUNK_BYTES
        self.has_credit = has_credit
        self.answered: list[Answered] = []
        pair = Pair(listener=config).greet()
        self.now = pair.now
        self.sides = {Role.DIALLER: pair.dialler, Role.LISTENER: pair.listener}
        pair.listener._inbound._on_answered = self.answered.append
        if not has_credit:
            for side in self.sides.values():
                side.peer = type(side.peer)(max_inflight=INFLIGHT)
        self.pipe: dict[Role, deque[bytes]] = {role: deque() for role in Role}
        self.is_lost = False
        self.sent: dict[int, bytes] = {}  # by request, what was uploaded
        self.cancelled: set[int] = set()
        self.refused: set[int] = set()
        self.up: dict[int, bytearray] = {}  # what the listener got
        self.down: dict[int, bytearray] = {}  # what the dialler got back
        self.owed: dict[tuple[Role, int], int] = {}  # received and not yet consumed
        self.ended: dict[int, int] = {}
        self.sources: list[Bytes] = []
        self.opened: set[int] = set()

    # -- what may happen ----------------------------------------------------------------

    @precondition(lambda self: not self.is_lost)
    @rule(
        size=st.sampled_from([5 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1, 70_000, 1, 0]),
        piece=st.sampled_from([CHUNK_BYTES, 7000, 1500]),
    )
    def ask(self, size: int, piece: int) -> None:
        dialler = self.sides[Role.DIALLER]
        if dialler.state is not State.OPEN or len(dialler._outbound) >= INFLIGHT:
            return
        corr_id = dialler._outbound._next_corr_id
        data = pattern(corr_id, size)
        source = Bytes(data, chunk=piece) if size else None
        assert dialler.request(App.ECHO, b"", source=source) == corr_id
        self.sent[corr_id] = data
        self.down[corr_id] = bytearray()
        if source:
            self.sources.append(source)

    @precondition(lambda self: not self.is_lost)
    @rule(role=SIDES, bulk=st.booleans())
    def write(self, role: Role, bulk: bool) -> None:
        """The connection takes a batch, if there is room in it."""
        if sum(map(len, self.pipe[role])) > PIPE_BYTES:
            return
        data, found = self.sides[role].take_output(bulk=bulk, now=self.now)
        assert len(data) <= OWN_FRAME_BYTES + 64_000
        if data:
            self.pipe[role].append(data)
        self.hear(role, found)

    @precondition(lambda self: not self.is_lost)
    @rule(role=SIDES, amount=st.integers(1, 70_000))
    def deliver(self, role: Role, amount: int) -> None:
        """Some of what is under way arrives, if the other side reads."""
        other = Role.LISTENER if role is Role.DIALLER else Role.DIALLER
        session = self.sides[other]
        self.hear(other, session.receive(b"", now=self.now))
        if not self.pipe[role] or not session.wants_input:
            return
        data = self.pipe[role].popleft()
        if len(data) > amount:
            self.pipe[role].appendleft(data[amount:])
            data = data[:amount]
        self.hear(other, session.receive(data, now=self.now))

    @precondition(lambda self: not self.is_lost)
    @rule(role=SIDES)
    def rush(self, role: Role) -> None:
        """One side sends all it may while the other grants but consumes nothing."""
        for _ in range(8):
            for side in Role:
                self.write(side, side is role)
                self.deliver(side, 70_000)

    @rule(role=SIDES, part=st.sampled_from([1.0, 0.5, 0.1]))
    def consume(self, role: Role, part: float) -> None:
        for (side, corr_id), amount in list(self.owed.items()):
            if side is role and amount:
                used = max(1, int(amount * part))
                self.owed[side, corr_id] -= used
                self.sides[role].consumed(corr_id, used)

    @precondition(lambda self: not self.is_lost)
    @rule(role=SIDES)
    def ping(self, role: Role) -> None:
        if len(self.sides[role]._outbox._control) < 8:
            self.sides[role].ping()

    @precondition(lambda self: self.opened and not self.is_lost)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        corr_id = data.draw(st.sampled_from(sorted(self.opened)))
        if self.sides[Role.LISTENER]._inbound.get(corr_id):
            self.refused.add(corr_id)
            self.opened.discard(corr_id)
            refusal = Refused(503, "busy", "")
            self.sides[Role.LISTENER].refuse(corr_id, refusal, now=self.now)

    @precondition(lambda self: self.sent and not self.is_lost)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        corr_id = data.draw(st.sampled_from(sorted(self.sent)))
        if self.sides[Role.DIALLER]._outbound.get(corr_id):
            self.cancelled.add(corr_id)
            self.sides[Role.DIALLER].cancel(corr_id)

    @precondition(lambda self: len(self.sent) > 2)
    @rule()
    def lose(self) -> None:
        """The connection breaks."""
        self.is_lost = True
        for side in self.sides.values():
            side.close(now=self.now)

    # -- what is heard ------------------------------------------------------------------

    def hear(self, role: Role, found: list[Event]) -> None:
        session = self.sides[role]
        for told in found:
            match told:
                case Requested(corr_id, is_whole=is_whole):
                    assert corr_id not in self.up, "a request was delivered twice"
                    self.up[corr_id] = bytearray()
                    self.opened.add(corr_id)
                    if is_whole:
                        self.answer(session, corr_id)
                case Body(corr_id, data, is_last):
                    self.up[corr_id] += data
                    self.owe(role, corr_id, len(data))
                    if is_last and corr_id in self.opened:
                        self.answer(session, corr_id)
                case Responded(corr_id, code, payload, is_first, is_last):
                    assert corr_id not in self.ended, "an answer went on after its end"
                    assert corr_id not in self.cancelled, "a cancelled answer was delivered"
                    if not is_first:
                        self.owe(role, corr_id, len(payload))
                        if code < 400:
                            self.down[corr_id] += payload
                    if is_last:
                        self.ended[corr_id] = code
                case Abandoned(corr_id):
                    self.opened.discard(corr_id)
                case LinkFailed():
                    raise AssertionError(f"two correct peers failed: {told}")

    def owe(self, role: Role, corr_id: int, amount: int) -> None:
        self.owed[role, corr_id] = self.owed.get((role, corr_id), 0) + amount

    def answer(self, session: Session, corr_id: int) -> None:
        self.opened.discard(corr_id)
        data = bytes(self.up[corr_id])
        source = Bytes(data) if data else None
        if source:
            self.sources.append(source)
        session.respond(corr_id, b"", source=source)

    # -- what must hold -----------------------------------------------------------------

    @invariant()
    def no_byte_is_lost_changed_or_delivered_twice(self) -> None:
        for corr_id, got in getattr(self, "up", {}).items():
            assert self.sent[corr_id].startswith(bytes(got))
        for corr_id, got in getattr(self, "down", {}).items():
            assert self.sent[corr_id].startswith(bytes(got))

    @invariant()
    def credit_is_never_negative_and_what_is_held_stays_under_its_bound(self) -> None:
        for role, session in getattr(self, "sides", {}).items():
            for sender in (*session._outbox._ready, *session._outbox._parked):
                if isinstance(sender, EventLane):
                    continue
                assert sender.allowance.left >= 0
            if self.has_credit:
                for (side, _), amount in self.owed.items():
                    assert side is not role or amount <= self.window_bytes
            assert len(session._inbound) <= INFLIGHT
            assert session._decoder.buffered <= OWN_FRAME_BYTES + 70_000
            frames = len(session._outbox._control)
            assert frames <= CROWDED_FRAMES + 8 + 4 * INFLIGHT
            assert session._outbox._control_bytes <= CROWDED_BYTES + 200 * frames

    @invariant()
    def every_request_of_the_peers_ends_at_most_once(self) -> None:
        numbers = [answer.corr_id for answer in getattr(self, "answered", [])]
        assert len(numbers) == len(set(numbers))

    def teardown(self) -> None:
        """Left alone, everything ends, and nothing stays behind."""
        if not hasattr(self, "sides"):
            return
        idle_rounds = 0
        while not self.is_lost and idle_rounds < 10:
            before = self.progress()
            for role in Role:
                self.write(role, True)
                self.deliver(role, 70_000)
                self.consume(role, 1.0)
            idle_rounds = idle_rounds + 1 if self.progress() == before else 0
        if not self.is_lost:
            for corr_id, data in self.sent.items():
                if corr_id in self.cancelled or corr_id in self.refused:
                    continue
                if self.ended[corr_id] == 429:
                    # What we cancelled still counts with a peer that cannot know.
                    assert self.cancelled
                    continue
                assert self.ended[corr_id] in (200, 206)
                assert bytes(self.down[corr_id]) == data
            for session in self.sides.values():
                assert session.is_idle
                assert session.state is State.OPEN
            assert {a.corr_id for a in self.answered} >= set(self.up)
        for session in self.sides.values():
            session.close(now=self.now)
        assert all(source.closed <= 1 for source in self.sources)
        assert all(source.closed == 1 for source in self.sources) or self.is_lost

    def progress(self) -> tuple[int, ...]:
        moved = sum(map(len, self.up.values())) + sum(map(len, self.down.values()))
        under_way = sum(len(data) for pipe in self.pipe.values() for data in pipe)
        waiting = sum(s._outbox.has_output for s in self.sides.values())
        return moved, under_way, waiting, len(self.ended), sum(self.owed.values())


TestTwoSessions = TwoSessions.TestCase
TestTwoSessions.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
