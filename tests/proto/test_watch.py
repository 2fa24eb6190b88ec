"""Watch: every deadline, to the moment, and what moves it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import PeerViolation
from overlay_edge.proto.events import Body, Requested
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    EVENT,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    REQ,
    Frame,
)
from overlay_edge.proto.watch import MIN_BURST, MIN_FRAME_RATE, Patience, Watch
from tests.support.pair import settings

START = 50.0
WAITS = settings(handshake_timeout_s=3.0, idle_timeout_s=15.0, read_timeout_s=5.0)
JUST = 0.001


def watch() -> Watch:
    return Watch(WAITS, now=START)


def test_hello_is_due_from_the_start_and_nothing_heard_moves_it() -> None:
    here = watch()
    here.heard(now=START + 2)
    here.moved(now=START + 2)
    here.check_hello(now=START + 3 - JUST)
    with pytest.raises(PeerViolation, match="no HELLO") as caught:
        here.check_hello(now=START + 3)
    assert (caught.value.code, caught.value.token) == (408, "timeout")


def test_silence_ends_at_the_idle_timeout_to_the_moment() -> None:
    here = watch()
    assert not here.check(pings=False, reads=True, now=START + 15 - JUST)
    with pytest.raises(PeerViolation, match="silence") as caught:
        here.check(pings=False, reads=True, now=START + 15)
    assert (caught.value.code, caught.value.token) == (408, "timeout")


@pytest.mark.parametrize("sign", ["heard", "moved"])
def test_bytes_either_way_break_the_silence(sign: str) -> None:
    here = watch()
    getattr(here, sign)(now=START + 10)
    assert here.idle_at == START + 25


def test_an_older_sign_of_life_does_not_shorten_a_newer_one() -> None:
    here = watch()
    here.moved(now=START + 10)
    here.heard(now=START + 4)
    assert here.idle_at == START + 25


def test_a_ping_is_due_three_times_an_idle_wait_and_once_each_time() -> None:
    here = watch()
    assert not here.check(pings=True, reads=True, now=START + 5 - JUST)
    assert here.check(pings=True, reads=True, now=START + 5)
    assert not here.check(pings=True, reads=True, now=START + 5)
    assert here.keepalive_at == START + 10


def test_who_hears_something_need_not_ping() -> None:
    here = watch()
    here.heard(now=START + 4)
    assert not here.check(pings=True, reads=True, now=START + 5)


def test_who_only_sends_still_pings_so_that_it_hears_something() -> None:
    here = watch()
    here.moved(now=START + 4)
    assert here.check(pings=True, reads=True, now=START + 5)


def test_the_listening_side_never_pings() -> None:
    assert not watch().check(pings=False, reads=True, now=START + 14)


def test_a_begun_frame_is_due_by_its_length_and_counts_from_its_first_part() -> None:
    here = watch()
    here.frame_unfinished(HEADER_BYTES, now=START + 1)
    here.heard(now=START + 2)
    here.frame_unfinished(MIN_FRAME_RATE, now=START + 2)
    due = START + 1 + 5 + 1
    assert here.frame_at == due
    assert not here.check(pings=False, reads=True, now=due - JUST)
    with pytest.raises(PeerViolation, match="begun and not finished") as caught:
        here.check(pings=False, reads=True, now=due)
    assert (caught.value.code, caught.value.token) == (408, "timeout")


def test_the_longest_frame_has_time_to_arrive_at_the_slowest_rate() -> None:
    here = watch()
    here.frame_unfinished(MAX_FRAME_BYTES, now=START)
    assert here.frame_at is not None
    assert (here.frame_at - START) * MIN_FRAME_RATE >= MAX_FRAME_BYTES


def test_a_finished_frame_is_due_no_more_and_the_next_counts_anew() -> None:
    here = watch()
    here.frame_unfinished(100, now=START)
    here.frame_finished()
    assert here.frame_at is None
    here.frame_unfinished(0, now=START + 9)
    assert here.frame_at == START + 14


def test_a_peer_we_do_not_read_from_is_not_late_with_its_frame() -> None:
    here = watch()
    here.frame_unfinished(0, now=START)
    assert not here.check(pings=False, reads=False, now=START + 6)
    assert here.deadline(pings=False, reads=False) == START + 15
    assert here.deadline(pings=False, reads=True) == START + 5


calls = st.lists(
    st.tuples(
        st.sampled_from(["heard", "moved", "begun", "whole"]), st.floats(0, 30), st.integers(0, 99)
    ),
    max_size=8,
)


@given(calls, st.booleans(), st.booleans())
def test_nothing_happens_before_the_deadline_and_something_at_it(
    script: list[tuple[str, float, int]], pings: bool, reads: bool
) -> None:
    here, now = watch(), START
    for call, later, size in script:
        now += later
        match call:
            case "heard":
                here.heard(now=now)
            case "moved":
                here.moved(now=now)
            case "begun":
                here.frame_unfinished(size, now=now)
            case _:
                here.frame_finished()
    due = here.deadline(pings=pings, reads=reads)
    assert not here.check(pings=pings, reads=reads, now=due - JUST)
    try:
        assert here.check(pings=pings, reads=reads, now=due)
    except PeerViolation as violation:
        assert violation.name == "Timeout"
        return
    assert here.deadline(pings=pings, reads=reads) > due  # a ping: the wait begins again


NOTHING = Frame(EVENT)


def test_patience_ends_with_a_debt_and_comes_back_with_time() -> None:
    patience = Patience(10, now=START)
    for _ in range(MIN_BURST):
        patience.took(NOTHING, None, now=START)
    assert not patience.is_out(now=START)
    patience.took(NOTHING, None, now=START)
    assert patience.until == pytest.approx(START + 0.15)
    assert patience.is_out(now=START + 0.1)
    assert patience.is_spent
    assert not patience.is_out(now=START + 0.2)
    assert not patience.is_spent


def test_what_brings_something_costs_no_patience() -> None:
    patience = Patience(1, now=START)
    chunk = Frame(REQ, payload=bytes(CHUNK_BYTES))
    for _ in range(1000):
        patience.took(chunk, Body(1, chunk.payload, False), now=START)
        patience.took(Frame(REQ), Requested(1, 0, 0, b"", b"", True), now=START)
        patience.took(NOTHING, None, now=START)
        patience.earned(now=START)
    assert not patience.is_out(now=START)


@pytest.mark.parametrize(
    ("frame", "event", "at_most"),
    [
        (Frame(REQ, payload=b"crumb"), Body(1, b"crumb", False), 257),
        (Frame(REQ, payload=bytes(CHUNK_BYTES)), None, 52),
        (Frame(REQ, payload=bytes(1 << 20)), Requested(1, 0, 0, b"", b"", True), 5),
    ],
)
def test_crumbs_and_bytes_outside_all_credit_cost_patience(
    frame: Frame, event: Body | Requested | None, at_most: int
) -> None:
    patience, taken = Patience(1, now=START), 0
    while not patience.is_out(now=START):
        patience.took(frame, event, now=START)
        taken += 1
    assert taken == at_most


def test_a_long_frame_without_room_costs_patience() -> None:
    patience, skipped = Patience(1, now=START), 0
    while not patience.is_out(now=START):
        patience.skipped(now=START)
        skipped += 1
    assert skipped == 5
