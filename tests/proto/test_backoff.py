"""Backoff: bounded waits, an end, and forgiveness."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.backoff import REDIAL_S, RESTART_S, Backoff

dice = st.floats(0, 1)


def test_five_waits_in_a_row_then_it_gives_up() -> None:
    backoff = Backoff()
    waits = [backoff.failed(dice=0) for _ in range(6)]
    assert waits == [*RESTART_S, None]
    assert backoff.failed(dice=0) is None


@given(st.lists(dice, min_size=5, max_size=5))
def test_no_throw_of_the_dice_leaves_100_ms_to_2_s(throws: list[float]) -> None:
    backoff = Backoff()
    for throw in throws:
        wait = backoff.failed(dice=throw)
        assert wait is not None
        assert 0.1 <= wait <= 2.0


def test_who_lived_a_minute_begins_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.failed(dice=0)
    assert backoff.failed(lived_s=60.0, dice=0) == RESTART_S[0]
    assert backoff.failures == 1


def test_who_lived_a_little_less_does_not() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.failed(dice=0)
    assert backoff.failed(lived_s=59.9, dice=0) is None


def test_an_endless_one_stays_at_its_last_wait_until_it_succeeds() -> None:
    backoff = Backoff(REDIAL_S, is_endless=True)
    waits = [backoff.failed(dice=0) for _ in range(100)]
    assert waits[-1] == REDIAL_S[-1]
    backoff.succeeded()
    assert backoff.failed(dice=0) == REDIAL_S[0]
