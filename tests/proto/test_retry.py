"""Retry: a line for every outcome, and never more retries than the budget has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.retry import (
    BASE_S,
    MAX_WAIT_S,
    RULES,
    Again,
    Outcome,
    RetryBudget,
    wait_before,
)

CODES = {200, 404, 413, 500, 503, 504}


def wait(outcome: Outcome, attempt: int = 0, **changes: float) -> float | None:
    given_ = {"most": 3, "is_safe": True, "asked_s": 0.0, "left_s": 60.0, **changes}
    rng = given_.pop("rng", 0.5)
    return wait_before(outcome, attempt, rng=lambda: rng, **given_)  # type: ignore[arg-type]


def test_every_outcome_has_its_rule() -> None:
    assert set(RULES) == set(Outcome)
    assert {rule.code for rule in RULES.values()} == CODES
    for outcome, rule in RULES.items():
        assert bool(rule.token) == (outcome is not Outcome.ANSWERED)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_failure_is_worth_another_attempt(outcome: Outcome) -> None:
    assert (wait(outcome) is not None) == RULES[outcome].is_failure


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_does_harm_twice_is_repeated_only_if_it_was_not_done(outcome: Outcome) -> None:
    repeated = wait(outcome, is_safe=False) is not None
    assert repeated == (RULES[outcome].again is Again.ALWAYS)


def test_attempts_and_time_are_bounded() -> None:
    assert wait(Outcome.CUT, 2) is not None
    assert wait(Outcome.CUT, 3) is None
    assert wait(Outcome.CUT, left_s=BASE_S / 2) is None


def test_waits_grow_and_are_drawn_whole() -> None:
    longest = [wait(Outcome.CUT, n, rng=1.0, most=9) for n in range(8)]
    assert longest[:3] == [BASE_S, 2 * BASE_S, 4 * BASE_S]
    assert longest[-1] == MAX_WAIT_S
    assert wait(Outcome.CUT, 2, rng=0.0) == 0


def test_a_service_that_asks_for_time_gets_it_if_somebody_still_waits() -> None:
    assert wait(Outcome.BUSY, asked_s=3.0, rng=0.0) == 3.0
    assert wait(Outcome.BUSY, asked_s=61.0) is None


def test_a_burst_of_retries_is_followed_by_a_tenth() -> None:
    budget = RetryBudget(0.1, 10.0)
    taken = 0
    for _ in range(1000):
        budget.called()
        taken += budget.take()
    assert 100 <= taken <= 110
    assert budget.denied_total == 1000 - taken


@given(st.lists(st.booleans(), max_size=300))
def test_in_any_order_retries_stay_within_the_budget(steps: list[bool]) -> None:
    budget = RetryBudget(0.1, 3.0)
    calls = retries = 0
    for is_call in steps:
        if is_call:
            budget.called()
            calls += 1
        else:
            retries += budget.take()
        assert retries <= 3 + 0.1 * calls + 1e-6
