"""What all links share: counted once, given back once, changed without losing count."""

from dataclasses import replace

from overlay_edge.config import DEFAULTS
from overlay_edge.node import limits_of
from overlay_edge.shared import Limits, Shared

LIMITS = limits_of(DEFAULTS)


def limits(inflight: int = 3, streams: int = 2, requests: int = 1000) -> Limits:
    return replace(
        LIMITS,
        transport=replace(LIMITS.transport, max_inflight=inflight),
        quota=replace(LIMITS.quota, streams=streams, requests=requests),
    )


def test_the_whole_node_has_one_limit_whoever_asks() -> None:
    shared = Shared(limits(inflight=2), now=0.0)
    assert shared.admit("a", now=0.0) is None
    assert shared.admit("", now=0.0) is None
    refusal = shared.admit("b", now=0.0)
    assert refusal is not None
    assert (refusal.code, refusal.token, refusal.retry_after_ms) == (503, "busy", 1000)
    shared.release("a")
    assert shared.admit("b", now=0.0) is None


def test_a_key_at_its_quota_is_refused_and_counts_nowhere() -> None:
    shared = Shared(limits(streams=1), now=0.0)
    assert shared.admit("a", now=0.0) is None
    refusal = shared.admit("a", now=0.0)
    assert refusal is not None
    assert (refusal.code, refusal.token) == (429, "quota_exhausted")
    assert shared.inflight == 1
    shared.release("a")
    assert shared.inflight == 0
    assert shared.admit("a", now=0.0) is None


def test_without_a_key_no_quota_is_drawn_on() -> None:
    shared = Shared(limits(inflight=50, streams=1), now=0.0)
    assert all(shared.admit("", now=0.0) is None for _ in range(50))
    assert len(shared.quotas) == 0


def test_other_limits_take_hold_and_what_is_open_stays_counted() -> None:
    shared = Shared(limits(inflight=3), now=0.0)
    for _ in range(3):
        assert shared.admit("", now=0.0) is None
    shared.configure(limits(inflight=5))
    assert shared.admit("", now=0.0) is None
    shared.configure(limits(inflight=1))
    assert shared.admit("", now=0.0) is not None
    for _ in range(4):
        shared.release("")
    assert shared.inflight == 0
    assert shared.admit("", now=0.0) is None
