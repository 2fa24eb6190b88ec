"""Readiness: nothing is taken for granted, pressure has hysteresis, flips are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import ReadinessConfig
from overlay_edge.errors import LocalMisuse
from overlay_edge.proto.readiness import CHECKS, RETRY_S, RETRY_STARTING_S, STARTING, Readiness

NAMES = [check.name for check in CHECKS]
GAUGES = ["inflight", "store_space"]


def starting() -> Readiness:
    return Readiness(ReadinessConfig(high=0.8, low=0.5), now=0.0)


def started() -> Readiness:
    readiness = starting()
    for name in NAMES:
        if name in GAUGES:
            readiness.gauge(name, 0, 100, now=1.0)
        else:
            readiness.set(name, True, now=1.0)
    return readiness


def test_everything_declared_is_missing_until_it_was_said() -> None:
    snapshot = starting().snapshot(now=0.5)
    assert not snapshot.ready
    assert not snapshot.degraded
    assert snapshot.missing == tuple(name for name in NAMES if name != "draining")
    assert snapshot.retry_after_s == RETRY_STARTING_S
    assert {check.reason for check in snapshot.checks} == {STARTING, ""}


def test_one_check_left_out_keeps_the_node_out() -> None:
    for left_out in NAMES[:-1]:
        readiness = starting()
        for name in NAMES:
            if name != left_out:
                readiness.set(name, True, now=1.0)
        assert readiness.snapshot(now=1.0).missing == (left_out,)


def test_the_last_check_turns_the_node_ready_and_says_so() -> None:
    readiness = starting()
    flips = [readiness.set(name, True, now=1.0) for name in NAMES[:-1]]
    assert flips == [False] * (len(flips) - 1) + [True]
    snapshot = readiness.snapshot(now=2.0)
    assert (snapshot.ready, snapshot.degraded, snapshot.missing) == (True, False, ())
    assert (snapshot.retry_after_s, snapshot.at) == (0, 2.0)


def test_saying_the_same_again_is_no_change() -> None:
    readiness = started()
    assert not readiness.set("bus", True, now=2.0)
    assert readiness.set("bus", False, "closed", now=3.0)
    assert not readiness.set("bus", False, "closed", now=4.0)
    assert not readiness.set("tls", False, "expired", now=5.0)
    assert not readiness.set("bus", True, now=6.0)
    assert readiness.set("tls", True, now=7.0)


def test_since_is_when_ok_changed_not_when_it_was_repeated() -> None:
    readiness = started()
    readiness.set("bus", False, "closed", now=3.0)
    readiness.set("bus", False, "still closed", now=4.0)
    (bus,) = [check for check in readiness.snapshot(now=5.0).checks if check.name == "bus"]
    assert (bus.ok, bus.reason, bus.since) == (False, "still closed", 3.0)


@pytest.mark.parametrize("name", ["listeners", "bus", "store", "tls", "admin", "draining"])
def test_a_vital_check_that_fails_is_down_not_degraded(name: str) -> None:
    readiness = started()
    readiness.set(name, False, "gone", now=2.0)
    snapshot = readiness.snapshot(now=2.0)
    assert (snapshot.ready, snapshot.degraded, snapshot.missing) == (False, False, (name,))
    assert snapshot.retry_after_s == RETRY_S


@pytest.mark.parametrize("name", ["config", "inflight", "store_space"])
def test_a_soft_check_that_fails_is_degraded(name: str) -> None:
    readiness = started()
    readiness.set(name, False, "pressed", now=2.0)
    snapshot = readiness.snapshot(now=2.0)
    assert (snapshot.ready, snapshot.degraded, snapshot.missing) == (False, True, (name,))
    readiness.set("bus", False, now=2.0)
    assert not readiness.snapshot(now=2.0).degraded


def test_a_gauge_leaves_at_high_and_comes_back_below_low() -> None:
    readiness = started()
    told = [(value, readiness.gauge("inflight", value, 100, now=2.0), readiness.is_ready)
            for value in (79, 80, 99, 60, 50, 49, 60, 79, 80)]  # fmt: skip
    assert told == [
        (79, False, True), (80, True, False), (99, False, False), (60, False, False),
        (50, False, False), (49, True, True), (60, False, True), (79, False, True),
        (80, True, False),
    ]  # fmt: skip


def test_a_gauge_that_fails_says_its_numbers() -> None:
    readiness = started()
    readiness.gauge("inflight", 90, 100, now=2.0)
    (check,) = [c for c in readiness.snapshot(now=2.0).checks if not c.ok]
    assert check.reason == "90 of 100, ready again below 50"
    assert (check.value, check.limit) == (90, 100)


def test_a_first_reading_between_low_and_high_is_ok() -> None:
    readiness = starting()
    readiness.gauge("inflight", 60, 100, now=1.0)
    assert "inflight" not in readiness.snapshot(now=1.0).missing


def test_a_check_nobody_declared_is_our_own_mistake() -> None:
    with pytest.raises(LocalMisuse, match="never declared"):
        started().set("weather", True, now=2.0)
    with pytest.raises(LocalMisuse, match="never declared"):
        started().gauge("weather", 1, 2, now=2.0)
    with pytest.raises(LocalMisuse, match="expected above 0"):
        started().gauge("inflight", 1, 0, now=2.0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.sampled_from(GAUGES), st.integers(0, 120)),
    )
)


@given(STEPS)
def test_any_order_of_calls_tells_every_flip_and_only_flips(
    steps: list[tuple[str, bool | int]],
) -> None:
    readiness = starting()
    before = readiness.is_ready
    for now, (name, value) in enumerate(steps, start=1):
        if isinstance(value, bool):
            flipped = readiness.set(name, value, now=now)
        else:
            flipped = readiness.gauge(name, value, 100, now=now)
        snapshot = readiness.snapshot(now=now)
        assert flipped == (snapshot.ready != before)
        assert snapshot.ready == (not snapshot.missing) == readiness.is_ready
        assert not (snapshot.ready and snapshot.degraded)
        assert [c.name for c in snapshot.checks] == NAMES
        before = snapshot.ready
