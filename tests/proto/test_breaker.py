"""Breaker: walk the table, one probe at a time, and no verdict from another time."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.breaker import MAX_COOLDOWN, TRANSITIONS, Breaker, Call, Sign, State


def always(value: float = 1.0) -> float:
    return value


def opened(failures: int = 1, cooldown_s: float = 1.0) -> Breaker:
    breaker = Breaker(failures, cooldown_s)
    for _ in range(failures):
        breaker.failed(let(breaker, 0.0), now=0.0, rng=always)
    return breaker


def let(breaker: Breaker, now: float) -> Call:
    call = breaker.admit(now=now)
    assert call is not None
    return call


def test_every_state_has_an_answer_to_every_sign_and_a_way_out() -> None:
    assert {(s, k) for s in TRANSITIONS for k in TRANSITIONS[s]} == set(product(State, Sign))
    for state in State:
        assert set(TRANSITIONS[state].values()) - {state}


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(3, 1.0)
    for good in (False, False, True, False, False):
        call = let(breaker, 0.0)
        if good:
            breaker.succeeded(call)
        else:
            breaker.failed(call, now=0.0, rng=always)
    assert breaker.state is State.CLOSED
    breaker.failed(let(breaker, 0.0), now=0.0, rng=always)
    assert (breaker.state, breaker.opened_total) == (State.OPEN, 1)


def test_open_it_refuses_at_once_and_says_for_how_long() -> None:
    breaker = opened(cooldown_s=4.0)
    assert breaker.admit(now=3.9) is None
    assert breaker.wait_s(now=1.0) == pytest.approx(3.0)
    let(breaker, 4.0)
    assert breaker.wait_s(now=4.0) == 0


def test_half_open_it_lets_one_probe_through() -> None:
    breaker = opened()
    probe = let(breaker, 1.0)
    assert breaker.state is State.HALF_OPEN
    assert breaker.admit(now=9.0) is None
    breaker.succeeded(probe)
    assert breaker.state is State.CLOSED
    let(breaker, 9.0)


def test_a_probe_nobody_waits_for_makes_room_for_the_next() -> None:
    breaker = opened()
    breaker.dropped(let(breaker, 1.0))
    assert breaker.state is State.HALF_OPEN
    assert let(breaker, 1.0)


def test_each_failed_probe_doubles_the_wait_up_to_a_limit() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(10):
        waits.append(breaker.wait_s(now=now))
        now += waits[-1]
        breaker.failed(let(breaker, now), now=now, rng=always)
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(waits) == MAX_COOLDOWN


def test_a_fleet_comes_back_spread_over_half_the_wait() -> None:
    breaker = Breaker(1, 1.0)
    breaker.failed(let(breaker, 0.0), now=0.0, rng=lambda: 0.0)
    assert breaker.wait_s(now=0.0) == 0.5


def test_an_answer_that_only_begins_is_on_probation() -> None:
    breaker = opened(failures=5)
    probe = let(breaker, 1.0)
    breaker.alive(probe)
    assert breaker.state is State.CLOSED
    breaker.failed(probe, now=1.0, rng=always)
    assert breaker.state is State.OPEN
    assert breaker.wait_s(now=1.0) == 2.0


def test_an_answer_seen_to_its_end_ends_the_probation() -> None:
    breaker = opened(failures=2)
    breaker.succeeded(let(breaker, 1.0))
    breaker.failed(let(breaker, 1.0), now=1.0, rng=always)
    assert breaker.state is State.CLOSED


def test_what_an_earlier_time_has_to_tell_is_ignored() -> None:
    breaker = Breaker(1, 1.0)
    late, first = let(breaker, 0.0), let(breaker, 0.0)
    breaker.failed(first, now=0.0, rng=always)
    breaker.succeeded(late)
    assert breaker.state is State.OPEN
    probe = let(breaker, 1.0)
    breaker.failed(late, now=1.0, rng=always)
    breaker.dropped(late)
    assert (breaker.state, breaker.admit(now=1.0)) == (State.HALF_OPEN, None)
    breaker.succeeded(probe)
    assert breaker.state is State.CLOSED


@given(st.lists(st.tuples(st.sampled_from("asfdt"), st.integers(0, 3)), max_size=60))
def test_in_any_order_there_is_one_probe_at_most_and_always_a_way_back(
    steps: list[tuple[str, int]],
) -> None:
    breaker, now = Breaker(2, 1.0), 0.0
    calls: list[Call] = []
    probe: Call | None = None
    for verb, which in steps:
        call = calls[which] if which < len(calls) else None
        if verb == "t":
            now += 1.0
        elif verb == "a":
            new = breaker.admit(now=now)
            assert new is None or breaker.state is not State.OPEN
            if new is not None and breaker.state is State.HALF_OPEN:
                assert probe is None
                probe = new
            calls = [*calls, new][-4:] if new else calls
        elif call is not None:
            probe = None if call is probe else probe
            calls.remove(call)
            match verb:
                case "s":
                    breaker.succeeded(call)
                case "f":
                    breaker.failed(call, now=now, rng=always)
                case _:
                    breaker.dropped(call)
        if breaker.state is not State.HALF_OPEN:
            probe = None
    if probe is not None:
        breaker.dropped(probe)
    breaker.succeeded(let(breaker, now + MAX_COOLDOWN))
    assert breaker.state is State.CLOSED
