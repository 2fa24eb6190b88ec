"""Neighbour: attempts, their time, and what the breaker is told."""

import asyncio
from dataclasses import replace

import pytest

from overlay_edge.bridge.neighbour import Failed, Neighbour
from overlay_edge.host.clock import monotonic
from overlay_edge.proto.breaker import State
from overlay_edge.proto.retry import RULES, Outcome
from tests.support.neighbours import QUICK


def neighbour(**changes: float) -> Neighbour:
    config = replace(QUICK, **changes)  # type: ignore[arg-type]
    return Neighbour("storage", config, lambda: 0.0, lambda: None)


async def stall() -> None:
    await asyncio.Event().wait()


async def fine() -> str:
    return "fine"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_failure_is_told_to_peers_by_its_rule(outcome: Outcome) -> None:
    refused = Failed(outcome, "storage: no", asked_s=3.0).as_refused()
    rule = RULES[outcome]
    assert (refused.code, refused.token) == (rule.code, rule.token)
    assert refused.retry_after_ms == (3000 if rule.code in (503, 504) else None)


async def test_an_attempt_that_stalls_is_given_up_in_time() -> None:
    one = neighbour(timeout_s=0.01, retries=1)
    with pytest.raises(Failed, match="no answer") as caught:
        await one.ask(stall, is_safe=True, until=monotonic() + 5)
    assert caught.value.outcome is Outcome.TIMEOUT
    assert (one.outcomes[Outcome.TIMEOUT], one.retries_total) == (2, 1)
    started = monotonic()
    with pytest.raises(Failed):
        await one.ask(stall, is_safe=False, until=started + 0.001, timeout_s=9.0)
    assert monotonic() - started < 1


async def test_it_is_not_well_before_it_answered_and_not_while_it_is_left_alone() -> None:
    one = neighbour(failures=1, retries=0, timeout_s=0.005, cooldown_s=60.0)
    assert one.health.reason == "has not answered yet"
    assert await one.ask(fine, is_safe=True, until=monotonic() + 5) == "fine"
    assert one.health.ok
    with pytest.raises(Failed):
        await one.ask(stall, is_safe=True, until=monotonic() + 5)
    assert (one.health.ok, one.breaker.state) == (False, State.OPEN)
    with pytest.raises(Failed) as caught:
        await one.ask(fine, is_safe=True, until=monotonic() + 5)
    assert caught.value.outcome is Outcome.OPEN
    retry_after_ms = caught.value.as_refused().retry_after_ms
    assert retry_after_ms is not None
    assert 29_000 < retry_after_ms <= 30_000


async def test_a_call_nobody_waits_for_any_more_says_nothing() -> None:
    one = neighbour(failures=1)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(one.ask(stall, is_safe=True, until=monotonic() + 5))
        await asyncio.sleep(0)
        task.cancel()
    assert (one.breaker.state, one.outcomes.total()) == (State.CLOSED, 0)


async def test_an_answer_that_breaks_off_counts_as_a_failure() -> None:
    one = neighbour(failures=1)
    _, call = await one.call(fine, is_safe=True, until=monotonic() + 5)
    with pytest.raises(Failed), one.judged(call):
        raise Failed(Outcome.CUT, "storage: the connection broke")
    assert one.breaker.state is State.OPEN
