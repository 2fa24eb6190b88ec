"""Quotas: never more than a rate allows, debts are paid, and strangers cannot fill the memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import QuotaConfig
from overlay_edge.errors import Refused
from overlay_edge.proto.quota import Quotas, TokenBucket

START = 100.0


def quotas(requests: int = 10, traffic: int = 1000, streams: int = 4, keys: int = 8) -> Quotas:
    return Quotas(QuotaConfig(requests, traffic, streams, keys))


def refusal_of(accounts: Quotas, key: str, now: float = START) -> Refused:
    refusal = accounts.admit(key, now=now)
    assert refusal is not None
    assert (refusal.code, refusal.token) == (429, "quota_exhausted")
    return refusal


# -- buckets ----------------------------------------------------------------------------


def test_a_bucket_starts_full_and_a_take_it_cannot_serve_spends_nothing() -> None:
    bucket = TokenBucket(1.0, 5.0, now=START)
    assert not bucket.take(6.0, now=START)
    assert bucket.take(5.0, now=START)
    assert not bucket.take(now=START)


def test_a_bucket_never_saves_up_more_than_its_burst() -> None:
    bucket = TokenBucket(1.0, 2.0, now=START)
    assert not bucket.take(3.0, now=START + 1e6)
    assert bucket.take(2.0, now=START + 1e6)


def test_a_debt_is_paid_before_anything_is_given() -> None:
    bucket = TokenBucket(10.0, 10.0, now=START)
    bucket.spend(30.0, now=START)
    assert bucket.wait_s(0.0) == 2.0
    assert not bucket.take(0.0, now=START + 1.9)
    assert bucket.take(0.0, now=START + 2.0)


def test_a_lower_limit_holds_at_once_and_a_higher_one_gives_nothing_away() -> None:
    bucket = TokenBucket(100.0, 100.0, now=START)
    bucket.limit(2.0, 2.0)
    bucket.limit(100.0, 100.0)
    assert not bucket.take(3.0, now=START)
    assert bucket.take(3.0, now=START + 1)


rates = st.floats(0.5, 1000)


@given(rates, st.floats(1, 1000), st.lists(st.floats(0, 10), max_size=30))
def test_no_pattern_of_takes_gets_more_than_the_burst_and_the_rate(
    rate: float, burst: float, pauses: list[float]
) -> None:
    bucket, now, taken = TokenBucket(rate, burst, now=START), START, 0
    for pause in pauses:
        now += pause
        while bucket.take(now=now):
            taken += 1
        assert taken <= burst + rate * (now - START) + 1e-6


@given(rates, st.floats(1, 1000), st.floats(0, 1e6), st.floats(0, 1))
def test_who_waits_as_long_as_it_is_told_is_served(
    rate: float, burst: float, spent: float, amount: float
) -> None:
    bucket = TokenBucket(rate, burst, now=START)
    bucket.spend(spent, now=START)
    assert bucket.take(amount, now=START + bucket.wait_s(amount) + 0.001)


# -- accounts ---------------------------------------------------------------------------


def test_one_more_stream_is_refused_until_one_is_released() -> None:
    accounts = quotas(streams=2)
    for _ in range(2):
        assert accounts.admit("a", now=START) is None
    assert str(refusal_of(accounts, "a")) == "2 requests open"
    accounts.release("a")
    assert accounts.admit("a", now=START) is None
    assert accounts.exhausted_total == 1


def test_a_rate_that_is_used_up_says_when_to_come_again() -> None:
    accounts = quotas(requests=2, streams=99)
    for _ in range(2):
        accounts.admit("a", now=START)
    refusal = refusal_of(accounts, "a")
    assert str(refusal) == "requests per second used up"
    assert refusal.retry_after_ms is not None
    assert accounts.admit("a", now=START + refusal.retry_after_ms / 1000) is None


def test_bytes_are_paid_afterwards_and_a_debtor_waits() -> None:
    accounts = quotas(traffic=1000)
    accounts.charge("a", 3000, now=START)
    refusal = refusal_of(accounts, "a")
    assert (str(refusal), refusal.retry_after_ms) == ("bytes per second used up", 2001)
    assert accounts.admit("a", now=START + 2.001) is None


def test_a_refused_request_costs_no_stream_and_no_token() -> None:
    accounts = quotas(requests=1, traffic=10)
    accounts.charge("a", 20, now=START)
    for _ in range(5):
        refusal_of(accounts, "a")
    assert accounts.admit("a", now=START + 1) is None


def test_nobody_pays_for_another() -> None:
    accounts = quotas(requests=1, streams=1)
    accounts.admit("a", now=START)
    accounts.charge("a", 1 << 40, now=START)
    refusal_of(accounts, "a")
    assert accounts.admit("b", now=START) is None


def test_a_capability_may_lower_its_rate_and_never_raise_it() -> None:
    accounts = quotas(requests=3, streams=99)
    assert accounts.admit("low", rates=[("mint", 1)], now=START) is None
    assert accounts.admit("low", rates=[("mint", 1)], now=START) is not None
    for _ in range(3):
        assert accounts.admit("high", rates=[("other", 1000)], now=START) is None
    assert accounts.admit("high", rates=[("other", 1000)], now=START) is not None


def test_releasing_what_was_never_admitted_opens_no_room() -> None:
    accounts = quotas(streams=1)
    accounts.release("nobody")
    accounts.admit("a", now=START)
    for _ in range(3):
        accounts.release("a")
    assert accounts.admit("a", now=START) is None
    assert str(refusal_of(accounts, "a")) == "1 requests open"


def test_other_limits_hold_for_those_who_are_known_already() -> None:
    accounts = quotas(requests=100, traffic=1000, streams=4)
    for key in ("a", "b"):
        accounts.admit(key, now=START)
    accounts.configure(QuotaConfig(1, 10, 4, 8))
    assert accounts.admit("a", now=START) is None
    assert str(refusal_of(accounts, "a")) == "requests per second used up"
    accounts.charge("b", 20, now=START)
    assert refusal_of(accounts, "b").retry_after_ms == 1001
    accounts.configure(QuotaConfig(100, 1000, 1, 8))
    assert "requests open" in str(refusal_of(accounts, "a", START + 60))


def test_the_longest_unused_is_forgotten_first_and_who_is_busy_is_kept() -> None:
    accounts = quotas(requests=100, streams=1, keys=2)
    accounts.admit("busy", now=START)
    accounts.admit("idle", now=START)
    accounts.release("idle")
    accounts.admit("new", now=START)
    assert len(accounts) == 2
    assert "1 requests open" in str(refusal_of(accounts, "busy"))


def test_who_is_forgotten_while_busy_may_still_be_released() -> None:
    accounts = quotas(streams=1, keys=1)
    accounts.admit("a", now=START)
    accounts.admit("b", now=START)
    accounts.release("a")
    assert str(refusal_of(accounts, "b")) == "1 requests open"


@pytest.mark.parametrize("streams", [0, 1])
def test_strangers_without_number_fill_no_memory(streams: int) -> None:
    accounts = quotas(keys=16)
    for number in range(500):
        accounts.admit(f"stranger {number}", now=START)
        if not streams:
            accounts.release(f"stranger {number}")
        assert len(accounts) <= 16


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "release", "charge"]), st.sampled_from("abc")),
        max_size=60,
    )
)
def test_no_order_of_calls_opens_more_streams_than_are_allowed(
    script: list[tuple[str, str]],
) -> None:
    accounts = quotas(requests=1000, traffic=1 << 20, streams=2)
    open_streams = dict.fromkeys("abc", 0)
    for verb, key in script:
        if verb == "admit":
            admitted = accounts.admit(key, now=START) is None
            assert admitted == (open_streams[key] < 2)
            open_streams[key] += admitted
        elif verb == "release":
            accounts.release(key)
            open_streams[key] = max(0, open_streams[key] - 1)
        else:
            accounts.charge(key, 1, now=START)
