"""Which time is believed on a board without a clock."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.clock import MAX_AHEAD_S, ClockFloor, built_time

BUILT = 1_790_000_000.0


def test_a_clock_that_is_set_is_believed() -> None:
    assert ClockFloor(BUILT).judge(BUILT + 5) == (BUILT + 5, True, "")


def test_a_clock_in_1970_is_wrong_and_the_floor_is_the_time() -> None:
    now, is_trusted, reason = ClockFloor(BUILT).judge(12.0)
    assert (now, is_trusted) == (BUILT, False)
    assert reason == "the clock is 1789999988 s before the newest signed time seen: set it"


def test_a_clock_ten_years_ahead_is_wrong_too() -> None:
    now, is_trusted, reason = ClockFloor(BUILT).judge(BUILT + MAX_AHEAD_S + 1)
    assert (now, is_trusted) == (BUILT, False)
    assert "ahead" in reason


def test_what_was_signed_raises_the_floor_and_nothing_lowers_it() -> None:
    floor = ClockFloor(BUILT)
    floor.saw(BUILT + 1000)
    floor.saw(BUILT)
    assert not floor.judge(BUILT + 1000 - floor.leeway_s - 1).is_trusted


def test_a_little_late_is_believed_but_never_below_the_floor() -> None:
    assert ClockFloor(BUILT).judge(BUILT - 100) == (BUILT, True, "")


def test_a_clock_that_is_set_later_heals() -> None:
    floor = ClockFloor(BUILT)
    assert not floor.judge(0).is_trusted
    assert floor.judge(BUILT + 60).is_trusted


def test_without_any_floor_every_clock_is_believed() -> None:
    assert ClockFloor().judge(5.0) == (5.0, True, "")


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_the_time_is_never_below_the_floor(signed: float, now: float) -> None:
    floor = ClockFloor(BUILT)
    floor.saw(signed)
    assert floor.judge(now).now >= max(BUILT, signed)


def test_a_build_tells_when_it_was_made_or_nothing() -> None:
    assert built_time("2026-11-23T12:00:00Z") == built_time("2026-11-23T12:00:00") == 1_795_435_200
    assert built_time("source") == built_time("") == 0.0
