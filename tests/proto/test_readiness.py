"""Readiness: nothing is taken for granted, pressure has hysteresis, flips are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import ReadinessConfig
from overlay_edge.errors import LocalMisuse
from overlay_edge.proto.checks import CHECKS, CLOCK, SAMPLED, Check, Dwell, Weight, downstream
from overlay_edge.proto.readiness import (
    HOLDING,
    RETRY_S,
    RETRY_STARTING_S,
    STALE_S,
    STARTING,
    TRANSITIONS,
    CheckState,
    Phase,
    Readiness,
    Signal,
    State,
)

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


# -- one check, all its phases ----------------------------------------------------------

GAUGE = Check("gauge", Weight.SOFT, starts_ok=True, dwell=Dwell.BOTH)
MARKS = ReadinessConfig(high=0.8, low=0.5, dwell_s=1.0, dwell_down_s=2.0, dwell_up_s=5.0)
READINGS = {  # a value that gives the signal, and the seconds it has to last
    Signal.GOOD: (10, 0.0),
    Signal.GOOD_LASTING: (10, 5.0),
    Signal.BETWEEN: (60, 0.0),
    Signal.BAD: (90, 0.0),
    Signal.BAD_LASTING: (90, 2.0),
}
WAYS: dict[Phase, list[tuple[float, int]]] = {  # readings that lead to a phase: seconds, value
    Phase.STARTING: [],
    Phase.OK: [(0, 60)],
    Phase.LEAVING: [(0, 60), (1, 90)],
    Phase.FAILED: [(0, 90), (2, 90), (3, 60)],
    Phase.RETURNING: [(0, 90), (2, 90), (3, 10)],
}


def only(check: Check, config: ReadinessConfig = MARKS) -> Readiness:
    return Readiness(config, now=0.0, checks=(check,))


def state(readiness: Readiness, *, now: float, name: str = "") -> CheckState:
    checks = readiness.snapshot(now=now).checks
    return next(check for check in checks if name in {"", check.name})


def test_every_phase_has_an_answer_to_every_signal_and_a_way_out() -> None:
    assert set(TRANSITIONS) == set(Phase)
    for phase, answers in TRANSITIONS.items():
        assert set(answers) == set(Signal)
        assert set(answers.values()) != {phase}


def test_every_phase_but_the_first_can_be_reached_from_every_other() -> None:
    for start in Phase:
        seen = {start}
        while more := {to for phase in seen for to in TRANSITIONS[phase].values()} - seen:
            seen |= more
        assert seen >= set(Phase) - {Phase.STARTING}


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("phase", Phase)
def test_the_whole_table_is_walked_by_readings_alone(phase: Phase, signal: Signal) -> None:
    readiness, now = only(Check("gauge", Weight.SOFT, dwell=Dwell.BOTH)), 0.0
    for now, value in WAYS[phase]:
        readiness.gauge("gauge", value, 100, now=now)
    assert state(readiness, now=now).ok == (phase in HOLDING)
    value, lasting_s = READINGS[signal]
    for at in sorted({now + 0.5, now + 0.5 + lasting_s}):
        readiness.gauge("gauge", value, 100, now=at)
    there = state(readiness, now=now + 6.0)
    assert there.ok == (TRANSITIONS[phase][signal] in HOLDING)


def test_measured_pressure_leaves_after_two_seconds_and_comes_back_after_five() -> None:
    readiness = only(GAUGE)
    story = [(0.0, 10, True), (1.0, 90, True), (2.9, 90, True), (3.0, 90, False),
             (4.0, 60, False), (5.0, 10, False), (9.9, 10, False), (10.0, 10, True)]  # fmt: skip
    for now, value, ready in story:
        readiness.gauge("gauge", value, 100, now=now)
        assert readiness.is_ready == ready, now


def test_a_spike_shorter_than_its_dwell_is_nothing() -> None:
    readiness = only(GAUGE)
    for now, value in enumerate([90, 10, 90, 60, 90, 79, 90, 0]):
        assert not readiness.gauge("gauge", value, 100, now=now * 1.9)
        readiness.snapshot(now=now * 1.9)
    assert readiness.snapshot(now=20.0).turned[State.DEGRADED] == 0


def test_calm_that_is_interrupted_starts_over() -> None:
    readiness = only(GAUGE)
    for now, value in [(0, 90), (2, 90), (3, 10), (7, 60), (7.5, 10), (12.4, 10)]:
        readiness.gauge("gauge", value, 100, now=now)
        assert readiness.is_ready == (now < 2)
    assert readiness.gauge("gauge", 10, 100, now=12.5)


def test_an_exact_count_leaves_at_once_and_only_waits_to_come_back() -> None:
    readiness = only(Check("count", Weight.SOFT, dwell=Dwell.BACK))
    readiness.gauge("count", 0, 100, now=0.0)
    assert readiness.gauge("count", 80, 100, now=0.1)
    assert not readiness.gauge("count", 0, 100, now=0.2)
    assert not readiness.gauge("count", 0, 100, now=1.1)
    assert readiness.gauge("count", 0, 100, now=1.3)


def test_what_is_said_flips_at_once_whatever_the_dwell() -> None:
    readiness = only(GAUGE)
    assert readiness.set("gauge", False, "gone", now=0.0)
    assert readiness.set("gauge", True, now=0.0)


def test_a_gauge_says_what_clears_it_with_its_own_numbers() -> None:
    readiness = only(GAUGE)
    for now in (0.0, 2.0):
        readiness.gauge("gauge", 900_000_000, 1_000_000_000, now=now)
    failing = state(readiness, now=2.0)
    assert failing.clears == "below 500000000 for 5 s"
    assert failing.reason == "900000000 of 1000000000, ready again below 500000000 for 5 s"
    assert (failing.since, failing.weight) == (2.0, Weight.SOFT)


def test_other_marks_count_from_the_next_reading_on() -> None:
    readiness = only(GAUGE)
    readiness.configure(ReadinessConfig(high=0.3, low=0.2, dwell_down_s=0.0))
    assert readiness.gauge("gauge", 40, 100, now=0.0)
    assert state(readiness, now=0.0).clears == "below 20 for 5 s"


VALUES = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 120)))


@given(VALUES)
def test_between_the_marks_nothing_ever_flips(steps: list[tuple[float, int]]) -> None:
    readiness, now = only(GAUGE), 0.0
    for wait_s, value in steps:
        now += wait_s
        flipped = readiness.gauge("gauge", value, 100, now=now)
        if 50 <= value < 80:
            assert not flipped
        if flipped:
            assert readiness.is_ready == (value < 50)


@given(VALUES)
def test_two_flips_are_never_closer_than_the_dwell(steps: list[tuple[float, int]]) -> None:
    readiness, now, flipped_at = only(GAUGE), 0.0, float("-inf")
    for wait_s, value in steps:
        now += wait_s
        if readiness.gauge("gauge", value, 100, now=now):
            least_s = MARKS.dwell_up_s if readiness.is_ready else MARKS.dwell_down_s
            assert now - flipped_at >= least_s
            flipped_at = now


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30))))
def test_a_vital_check_is_never_late(steps: list[tuple[bool, float]]) -> None:
    readiness, now = only(Check("vital")), 0.0
    for ok, wait_s in steps:
        now += wait_s
        readiness.set("vital", ok, now=now)
        assert readiness.is_ready == ok


# -- the node ---------------------------------------------------------------------------


def test_a_notice_is_told_and_new_work_stays_welcome() -> None:
    readiness = only(CLOCK)
    assert readiness.snapshot(now=0.0).missing == ("clock",)
    readiness.set("clock", False, "before the build", now=1.0)
    snapshot = readiness.snapshot(now=1.0)
    assert snapshot.state is readiness.state
    assert (snapshot.ready, snapshot.degraded, snapshot.state) == (True, True, State.DEGRADED)
    assert (snapshot.missing, snapshot.retry_after_s) == (("clock",), 0)


@pytest.mark.parametrize("required", [True, False])
def test_a_shared_service_closes_the_node_at_start_and_only_degrades_it_later(
    required: bool,
) -> None:
    readiness = only(downstream("index", required=required, jitter_s=3.0))
    readiness.set("downstream.index", False, "refused", now=0.0)
    assert readiness.snapshot(now=900.0).state is State.DOWN
    assert readiness.set("downstream.index", True, now=900.0)
    assert not readiness.set("downstream.index", False, "refused", now=1000.0)
    assert readiness.snapshot(now=1032.9).ready
    later = readiness.snapshot(now=1033.0)
    assert (later.ready, later.degraded) == (not required, True)
    assert readiness.set("downstream.index", True, now=1034.0) == required
    assert readiness.snapshot(now=1034.0).state is State.READY


def test_time_alone_turns_a_required_service_against_the_node_and_says_so() -> None:
    readiness = only(downstream("index", required=True))
    readiness.set("downstream.index", True, now=0.0)
    readiness.set("downstream.index", False, "reset", now=10.0)
    assert not readiness.wake(now=39.9)
    assert readiness.wake(now=40.0)
    assert not readiness.is_ready
    assert not readiness.wake(now=50.0)


def test_samples_that_grow_stale_are_no_basis_for_a_yes() -> None:
    readiness = only(SAMPLED[0])
    assert not readiness.wake(now=100.0)  # nobody has begun yet
    assert readiness.sampled(now=100.0)
    assert readiness.snapshot(now=100.0 + STALE_S).age_s == STALE_S
    assert readiness.is_ready
    stale = readiness.snapshot(now=103.5)
    assert (stale.state, stale.age_s) == (State.DOWN, 3.5)
    assert stale.checks[0].reason == "sampler_stale: last look 3.5 s ago"
    assert readiness.sampled(now=104.0)


def test_a_forgotten_sampler_keeps_the_node_out_and_an_unknown_measure_does_not() -> None:
    readiness = Readiness(MARKS, now=0.0, checks=SAMPLED)
    assert readiness.snapshot(now=0.0).missing == ("sampler",)
    assert readiness.sampled(now=0.0)


def test_transitions_of_the_node_are_counted_by_where_they_lead() -> None:
    readiness = only(Check("bus"))
    assert set(readiness.snapshot(now=0.0).turned.values()) == {0}
    readiness = Readiness(MARKS, now=0.0, checks=(Check("bus"), Check("config", Weight.SOFT)))
    for name, ok in [("config", True), ("bus", True), ("config", False), ("bus", False),
                     ("bus", False), ("config", True), ("bus", True)]:  # fmt: skip
        readiness.set(name, ok, now=1.0)
    turned = readiness.snapshot(now=8.0).turned
    assert turned == {State.READY: 2, State.DEGRADED: 1, State.DOWN: 1}


def test_who_does_not_care_for_a_check_is_answered_without_it() -> None:
    readiness = started()
    readiness.gauge("inflight", 90, 100, now=2.0)
    readiness.set("bus", False, now=2.0)
    snapshot = readiness.snapshot(now=2.0)
    assert snapshot.without(()) == snapshot
    soft = snapshot.without({"bus", "weather"})
    assert (soft.state, soft.missing, soft.retry_after_s) == (
        State.DEGRADED,
        ("inflight",),
        RETRY_S,
    )
    calm = snapshot.without({"bus", "inflight"})
    assert (calm.ready, calm.missing, calm.retry_after_s) == (True, (), 0)
    assert "bus" not in {check.name for check in calm.checks}
