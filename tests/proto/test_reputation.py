"""Reputation: faults add up, fade, and have names."""

import pytest

from overlay_edge.proto.reputation import (
    COSTS,
    GRAYLIST,
    GRAYLIST_S,
    HALF_LIFE_S,
    IHAVES_PER_S,
    MAX_FAULTS,
    MAX_GRAYLISTED,
    MAX_SCORE,
    NO_PUSH,
    PASSED_ON,
    Fault,
    Reputation,
)

PEER = b"p" * 32


def known() -> Reputation:
    here = Reputation(rate=100)
    assert here.linked(PEER, now=0.0)
    return here


def test_every_fault_has_a_cost() -> None:
    assert set(COSTS) == set(Fault)


@pytest.mark.parametrize("fault", Fault)
def test_one_fault_never_matters(fault: Fault) -> None:
    here = known()
    here.fault(PEER, fault, now=0.0)
    assert NO_PUSH <= here.score(PEER, now=0.0) < 0


@pytest.mark.parametrize("fault", sorted(set(Fault) - PASSED_ON, key=str))
def test_a_flood_of_faults_ends_with_the_graylist(fault: Fault) -> None:
    here = known()
    for _ in range(1000):
        here.fault(PEER, fault, now=0.0)
    assert here.score(PEER, now=0.0) < GRAYLIST


@pytest.mark.parametrize("fault", sorted(PASSED_ON, key=str))
def test_what_may_be_anothers_doing_never_costs_the_link(fault: Fault) -> None:
    here = known()
    for tick in range(100_000):
        here.fault(PEER, fault, now=tick / 100)
    assert GRAYLIST < here.score(PEER, now=1000.0) < NO_PUSH


def test_a_score_halves_each_minute_both_ways() -> None:
    here = known()
    here.fault(PEER, Fault.INVALID, now=0.0)
    assert here.score(PEER, now=HALF_LIFE_S) == pytest.approx(-5.0)
    here.earn(PEER, 100.0, now=HALF_LIFE_S)
    assert here.score(PEER, now=HALF_LIFE_S) == MAX_SCORE
    assert here.score(PEER, now=2 * HALF_LIFE_S) == pytest.approx(MAX_SCORE / 2)


def test_promises_kept_outweigh_those_that_a_lossy_link_breaks() -> None:
    here = known()
    for tick in range(1000):
        here.earn(PEER, 1.0, now=tick / 10)
        if tick % 4 == 0:
            here.fault(PEER, Fault.PROMISE, now=tick / 10)
    assert here.score(PEER, now=100.0) > 0


def test_the_last_faults_are_kept_by_name() -> None:
    here = known()
    for tick in range(20):
        here.fault(PEER, Fault.PROMISE, now=float(tick))
    faults = here.records[PEER].faults
    assert len(faults) == MAX_FAULTS
    assert faults[-1] == ("promise", 19.0)
    assert here.records[PEER].totals == {"promise": 20}
    assert here.counts == {"promise": 20}
    assert here.take_faulted() == {PEER}
    assert here.take_faulted() == set()


def test_who_is_graylisted_stays_out_for_ten_minutes() -> None:
    here = known()
    here.fault(PEER, Fault.INVALID, now=0.0)
    assert here.graylist(PEER, now=0.0) == "invalid"
    assert PEER not in here.records
    assert not here.linked(PEER, now=GRAYLIST_S - 1)
    assert here.linked(PEER, now=GRAYLIST_S)
    assert here.score(PEER, now=GRAYLIST_S) == 0.0
    assert here.graylisted == 0


def test_the_graylist_is_bounded() -> None:
    here = Reputation(rate=100)
    for number in range(MAX_GRAYLISTED + 50):
        here.graylist(number.to_bytes(32, "big"), now=0.0)
    assert here.graylisted == MAX_GRAYLISTED


def test_a_full_frame_of_ids_passes_a_fresh_bucket_and_the_rate_holds() -> None:
    here = known()
    bucket = here.records[PEER].ihaves
    taken = sum(64 for _ in range(100) if bucket.take(64, now=0.0))
    assert IHAVES_PER_S <= taken <= 1.1 * IHAVES_PER_S


def test_a_fault_of_nobody_is_only_counted() -> None:
    here = Reputation(rate=1)
    here.fault(PEER, Fault.INVALID, now=0.0)
    here.earn(PEER, 1.0, now=0.0)
    assert here.score(PEER, now=0.0) == 0.0
    assert here.counts == {"invalid": 1}
    assert here.held_bytes == 0
