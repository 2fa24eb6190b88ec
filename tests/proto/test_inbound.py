"""Requests of a peer: their limits in order, their endings once, nothing kept behind them."""

import json

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import SessionConfig
from overlay_edge.errors import LocalMisuse, PeerViolation, Refused
from overlay_edge.proto.events import Abandoned, Answered, Body, Event, Requested
from overlay_edge.proto.flow import UNLIMITED, Allowance, Outbox, Sender, Window, bulk_of
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    COMP,
    END,
    REQ,
    RESP,
    START,
    App,
    Frame,
    Skipped,
)
from overlay_edge.proto.inbound import MAX_DISCARDING, Inbound, Request, count_bulk
from tests.support.pair import Bytes, frames_of, settings

FAST = settings(max_rps=100_000)
BUSY = Refused(503, "busy", "full", retry_after_ms=9)
LATE = Refused(408, "timeout", "late")
BOMB = zstd.compress(bytes(9000))


class Desk:
    """An inbound, what it told, and a node that admits as many as it is said to."""

    def __init__(self, config: SessionConfig = FAST, *, room: int = 1 << 30) -> None:
        self.now = 100.0
        self.room = room
        self.asked = 0
        self.answered: list[Answered] = []
        self.outbox = Outbox()
        self.inbound = Inbound(config, self.outbox, self.admit, self.answered.append, now=self.now)

    def admit(self, _: Frame) -> Refused | None:
        self.asked += 1
        if self.asked > self.room:
            return BUSY
        return None

    def take(
        self,
        flags: int,
        corr_id: int,
        payload: bytes = b"",
        *,
        leaving: bool = False,
        window: int = 4 * CHUNK_BYTES,
    ) -> Event | None:
        frame = Frame(REQ | flags, app=App.ECHO, tenant=3, corr_id=corr_id, payload=payload)
        return self.inbound.receive(frame, window, is_leaving=leaving, now=self.now)

    def skip(self, flags: int, corr_id: int) -> Event | None:
        return self.inbound.skip(Skipped(REQ | flags, App.ECHO, 3, corr_id), now=self.now)

    def open(self, corr_id: int) -> Request:
        request = self.inbound.get(corr_id)
        assert request is not None
        return request

    def told(self) -> list[Frame]:
        return frames_of(b"".join(self.outbox.take_control()))

    def refused(self) -> list[tuple[int, int, str]]:
        return [(f.corr_id, f.code, json.loads(f.payload)["error"]) for f in self.told()]


# -- limits -----------------------------------------------------------------------------


def test_the_first_limit_in_order_is_the_one_the_peer_is_told() -> None:
    desk = Desk(settings(inflight_frames=1, max_rps=1), room=0)
    desk.take(START, 1)  # the rate allows one, the node none
    desk.take(START, 2)  # the rate is used up
    desk.take(START, 3, leaving=True)
    assert desk.refused() == [
        (1, 503, "busy"),
        (2, 429, "quota_exhausted"),
        (3, 503, "draining"),
    ]
    assert desk.asked == 1


def test_a_request_over_the_sessions_own_limits_is_not_the_nodes_to_admit() -> None:
    desk = Desk(settings(inflight_frames=1))
    desk.take(START, 1)
    desk.take(START, 2)
    assert desk.asked == 1
    assert [(a.corr_id, a.was_admitted) for a in desk.answered] == [(2, False)]


def test_a_refused_request_costs_no_token_of_the_rate() -> None:
    desk = Desk(settings(inflight_frames=1, max_rps=2))
    desk.take(START | END, 1)
    for corr_id in (2, 3, 4):
        desk.take(START | END, corr_id)
    desk.inbound.end(desk.open(1), 200, "", now=desk.now)
    assert isinstance(desk.take(START | END, 5), Requested)


def test_who_waits_as_long_as_it_is_told_is_admitted() -> None:
    desk = Desk(settings(max_rps=3))
    for corr_id in range(1, 5):
        desk.take(START | END, corr_id)
    (refusal,) = desk.told()
    desk.now += json.loads(refusal.payload)["retry_after_ms"] / 1000
    assert isinstance(desk.take(START | END, 9), Requested)


def test_a_request_that_was_admitted_and_does_not_inflate_is_counted_out_again() -> None:
    desk = Desk()
    desk.take(START | END | COMP, 1, BOMB)
    assert desk.refused() == [(1, 413, "ratio_cap")]
    assert [(a.token, a.was_admitted) for a in desk.answered] == [("ratio_cap", True)]
    assert len(desk.inbound) == 0


# -- their frames -----------------------------------------------------------------------


@pytest.mark.parametrize("ended", [False, True])
def test_a_number_that_is_open_cannot_be_opened_again(ended: bool) -> None:
    desk = Desk()
    desk.take(START | (END if ended else 0), 1)
    with pytest.raises(PeerViolation, match="request 1 is already open") as caught:
        desk.take(START, 1)
    assert caught.value.name == "DuplicateRequest"


def test_a_number_whose_refused_bytes_still_arrive_cannot_be_opened_again() -> None:
    desk = Desk(room=0)
    desk.take(START, 1)
    with pytest.raises(PeerViolation, match="request 1 is already open"):
        desk.take(START, 1)


def test_bytes_of_a_refused_request_are_thrown_away_unread_until_its_end() -> None:
    desk = Desk(room=0)
    desk.take(START, 1)
    assert desk.take(COMP, 1, b"not even zstd") is None
    assert desk.take(END, 1, bytes(9 * CHUNK_BYTES)) is None
    with pytest.raises(PeerViolation, match="request 1 is not open"):
        desk.take(END, 1)


@pytest.mark.parametrize("flags", [0, END])
def test_a_frame_of_nothing_is_a_violation(flags: int) -> None:
    with pytest.raises(PeerViolation) as caught:
        Desk().take(flags, 7)
    assert caught.value.name == "NoSuchRequest"


def test_a_frame_behind_the_end_is_a_violation() -> None:
    desk = Desk()
    desk.take(START | END, 1)
    with pytest.raises(PeerViolation) as caught:
        desk.take(0, 1)
    assert caught.value.name == "NoSuchRequest"


def test_credit_counts_bytes_as_they_are_held_not_as_they_travelled() -> None:
    desk = Desk()
    desk.take(START, 1, window=100)
    packed = zstd.compress(b"ab" * 51)
    assert len(packed) < 102
    with pytest.raises(PeerViolation, match="102 bytes on a stream, credit 100"):
        desk.take(COMP, 1, packed)


def test_the_head_is_not_counted_against_the_credit() -> None:
    desk = Desk()
    desk.take(START, 1, bytes(500), window=1)
    assert desk.take(END, 1, b"x") == Body(1, b"x", is_last=True)


def test_a_chunk_may_be_long_only_for_a_peer_that_knows_no_credit() -> None:
    count_bulk(Window(UNLIMITED), bytes(CHUNK_BYTES + 1))
    count_bulk(Window(1 << 30), bytes(CHUNK_BYTES))
    with pytest.raises(PeerViolation, match="65537 bytes of bulk in a frame, limit 65536"):
        count_bulk(Window(1 << 30), bytes(CHUNK_BYTES + 1))


# -- frames there was no room for -------------------------------------------------------


def test_a_start_that_was_too_long_is_refused_and_its_tail_thrown_away() -> None:
    desk = Desk()
    assert desk.skip(START, 1) is None
    assert desk.refused() == [(1, 503, "busy")]
    assert (desk.asked, [a.was_admitted for a in desk.answered]) == (0, [False])
    assert desk.take(END, 1, b"tail") is None
    assert isinstance(desk.take(START, 1), Requested)


def test_a_chunk_that_was_too_long_abandons_its_request() -> None:
    desk = Desk()
    desk.take(START, 1)
    assert desk.skip(0, 1) == Abandoned(1, "busy")
    assert desk.take(END, 1, b"tail") is None
    desk.take(START, 2)
    assert desk.skip(END, 2) == Abandoned(2, "busy")
    assert isinstance(desk.take(START, 2), Requested)


def test_what_was_too_long_breaks_the_same_rules_as_what_was_not() -> None:
    desk = Desk()
    desk.take(START | END, 1)
    for flags, corr_id, name in (
        (START, 1, "DuplicateRequest"),
        (0, 1, "NoSuchRequest"),
        (0, 2, "NoSuchRequest"),
    ):
        with pytest.raises(PeerViolation) as caught:
            desk.skip(flags, corr_id)
        assert caught.value.name == name
    desk.inbound.refuse(desk.open(1), LATE, now=desk.now)
    desk.take(START, 3)
    desk.inbound.refuse(desk.open(3), LATE, now=desk.now)
    assert desk.skip(END, 3) is None
    assert isinstance(desk.take(START, 3), Requested)


# -- stalls -----------------------------------------------------------------------------


def test_only_a_request_whose_turn_is_the_peers_can_stall() -> None:
    desk = Desk()
    desk.take(START | END, 1)
    desk.take(START, 2)
    desk.take(0, 2, b"held by us")
    assert desk.inbound.stalled_at(reads=True) is None
    desk.take(START, 3)
    assert desk.inbound.stalled_at(reads=True) == desk.now + FAST.read_timeout_s
    desk.now += FAST.read_timeout_s
    assert desk.inbound.abandon_stalled(reads=True, now=desk.now - 0.001) == []
    assert desk.inbound.abandon_stalled(reads=True, now=desk.now) == [Abandoned(3, "timeout")]
    assert desk.refused() == [(3, 408, "timeout")]


def test_whom_we_do_not_read_from_cannot_be_late() -> None:
    desk = Desk()
    desk.take(START, 1)
    assert desk.inbound.stalled_at(reads=False) is None
    assert desk.inbound.abandon_stalled(reads=False, now=desk.now + 1e6) == []


def test_an_answer_without_credit_is_given_up_after_the_idle_wait_and_credit_moves_it() -> None:
    desk = Desk()
    desk.take(START | END, 1)
    head = Frame(RESP | START, 200, corr_id=1)
    sender = Sender(head, Bytes(b"bulk"), bulk_of(head, 206), Allowance(0))
    desk.open(1).sender = sender
    assert desk.inbound.stalled_at(reads=True) is None  # its head has not even left
    sender.next_frame()
    assert desk.inbound.stalled_at(reads=False) == desk.now + FAST.idle_timeout_s
    desk.inbound.now = desk.now = desk.now + FAST.idle_timeout_s - 1
    desk.inbound.credited(desk.open(1))
    due = desk.now + FAST.idle_timeout_s
    assert desk.inbound.abandon_stalled(reads=False, now=due - 0.001) == []
    assert desk.inbound.abandon_stalled(reads=False, now=due) == [Abandoned(1, "timeout")]


def test_every_frame_of_a_request_gives_it_time_again() -> None:
    desk = Desk()
    desk.take(START, 1)
    desk.now += 4
    desk.take(0, 1)
    assert desk.inbound.stalled_at(reads=True) == desk.now + FAST.read_timeout_s


def test_who_was_held_back_by_us_has_its_whole_time_when_we_let_go() -> None:
    desk = Desk()
    desk.take(START, 1)
    desk.take(0, 1, b"12")
    desk.inbound.now = desk.now = desk.now + 60
    desk.inbound.consume(desk.open(1), 1)
    assert desk.inbound.stalled_at(reads=True) is None
    desk.inbound.consume(desk.open(1), 1)
    assert desk.inbound.stalled_at(reads=True) == desk.now + FAST.read_timeout_s
    assert desk.inbound.abandon_stalled(reads=True, now=desk.now) == []


def test_consuming_more_than_is_held_is_our_own_misuse() -> None:
    desk = Desk()
    desk.take(START, 1)
    with pytest.raises(LocalMisuse):
        desk.inbound.consume(desk.open(1), 1)


# -- endings ----------------------------------------------------------------------------


def test_an_ending_tells_how_long_it_took_and_what_it_was() -> None:
    desk = Desk()
    desk.take(START | END, 1)
    desk.inbound.end(desk.open(1), 200, "", now=desk.now + 0.25)
    assert desk.answered == [Answered(1, App.ECHO, 200, "", 0.25, was_admitted=True)]


def test_a_refusal_stops_the_answer_that_was_being_sent() -> None:
    desk, source = Desk(), Bytes(bytes(9))
    desk.take(START, 1)
    head = Frame(RESP | START, 200, corr_id=1)
    sender = Sender(head, source, bulk_of(head, 206), Allowance(9))
    desk.open(1).sender = sender
    desk.outbox.add(sender)
    desk.inbound.refuse(desk.open(1), LATE, now=desk.now)
    assert (source.closed, desk.outbox.next_sender()) == (1, None)
    (frame,) = desk.told()
    assert (frame.flags, frame.code, frame.app, frame.tenant) == (RESP | END, 408, App.ECHO, 3)


def test_refused_uploads_may_pile_up_only_so_far() -> None:
    desk = Desk(room=0)
    for corr_id in range(MAX_DISCARDING):
        desk.take(START, corr_id)
    desk.inbound.check()
    desk.take(START, MAX_DISCARDING)
    with pytest.raises(PeerViolation, match="257 refused requests were never ended") as caught:
        desk.inbound.check()
    assert (caught.value.code, caught.value.token) == (429, "quota_exhausted")


def test_a_lost_link_ends_what_is_open_and_forgets_the_rest() -> None:
    desk = Desk()
    desk.take(START, 1)
    desk.take(START | END, 2)
    desk.take(START, 3)
    desk.inbound.refuse(desk.open(3), LATE, now=desk.now)
    desk.answered.clear()
    desk.inbound.close(now=desk.now + 1)
    desk.inbound.close(now=desk.now + 2)
    assert [(a.corr_id, a.code, a.token) for a in desk.answered] == [
        (1, 0, "link_lost"),
        (2, 0, "link_lost"),
    ]
    assert (len(desk.inbound), desk.inbound.held, desk.inbound.stalled_at(reads=True)) == (
        0,
        0,
        None,
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(["frame", "skip", "consume", "refuse", "end", "stall"]),
        st.integers(1, 4),
        st.sampled_from([0, START, END, START | END, COMP, START | COMP]),
        st.sampled_from([b"", b"x", bytes(300), BOMB]),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_every_request_ends_once_and_memory_stays_bounded(
    script: list[tuple[str, int, int, bytes]],
) -> None:
    desk = Desk(settings(inflight_frames=2, max_rps=100_000), room=9)
    opened = 0
    for verb, corr_id, flags, payload in script:
        desk.now += 1.0
        request = desk.inbound.get(corr_id)
        try:
            match verb, request:
                case "frame", _:
                    found = desk.take(flags, corr_id, payload, window=1000)
                    opened += isinstance(found, Requested)
                case "skip", _:
                    desk.skip(flags, corr_id)
                case "consume", Request():
                    desk.inbound.now = desk.now
                    desk.inbound.consume(request, request.window.held)
                case "refuse", Request():
                    desk.inbound.refuse(request, LATE, now=desk.now)
                case "end", Request():
                    desk.inbound.end(request, 200, "", now=desk.now)
                case _:
                    desk.inbound.abandon_stalled(reads=True, now=desk.now)
        except PeerViolation:
            break  # the link ends here
        assert len(desk.inbound) <= 2
        assert desk.inbound.held <= 2 * 1000
    desk.inbound.close(now=desk.now)
    admitted = [a for a in desk.answered if a.was_admitted]
    bombs = [a for a in admitted if a.token in ("ratio_cap", "bad_request")]
    assert opened <= len(admitted) <= opened + len(bombs)
    assert len(admitted) == min(desk.asked, desk.room)
    assert all(a.seconds >= 0 for a in desk.answered)
