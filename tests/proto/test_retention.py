"""Retention: bytes and age for messages, numbers and time for ids."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.gossip_message import Gossip, message_id
from overlay_edge.proto.retention import (
    ENTRY_BYTES,
    GENERATION_S,
    ID_BYTES,
    Cache,
    Seen,
    cost_of,
)

NODE = b"n" * 32


def message(seq: int, size: int = 100) -> Gossip:
    return Gossip(message_id(NODE, 1, seq), "t", NODE, 1, seq, 0, 0, bytes(size))


def test_the_oldest_messages_make_room() -> None:
    cache = Cache(3 * (ENTRY_BYTES + 100), 60.0)
    for seq in range(1, 6):
        cache.add(message(seq), now=0.0)
    assert [one.seq for one in cache] == [3, 4, 5]
    assert (len(cache), cache.evicted_total) == (3, 2)
    assert cache.get(message(2).id, now=0.0) is None
    assert cache.get(message(5).id, now=0.0) == message(5)


def test_a_message_is_kept_for_its_age_and_no_longer() -> None:
    cache = Cache(1 << 20, 60.0)
    cache.add(message(1), now=0.0)
    cache.add(message(2), now=30.0)
    assert cache.get(message(1).id, now=59.9)
    assert cache.get(message(1).id, now=60.0) is None
    cache.purge(now=60.0)
    assert [one.seq for one in cache] == [2]
    assert cache.held_bytes == cost_of(message(2))


def test_what_does_not_fit_at_all_is_not_kept() -> None:
    cache = Cache(1000, 60.0)
    cache.add(message(1, 100), now=0.0)
    cache.add(message(2, 1000), now=0.0)
    assert [one.seq for one in cache] == [1]


def test_a_message_kept_twice_counts_once() -> None:
    cache = Cache(1 << 20, 60.0)
    for _ in range(3):
        cache.add(message(1), now=0.0)
    assert cache.held_bytes == cost_of(message(1))


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3000), st.floats(0, 5))))
def test_bytes_are_counted_exactly_and_never_over_the_limit(
    steps: list[tuple[int, int, float]],
) -> None:
    cache, now = Cache(8000, 20.0), 0.0
    for seq, size, passes in steps:
        now += passes
        cache.add(message(seq, size), now=now)
        assert cache.held_bytes == sum(map(cost_of, cache)) <= 8000


def test_ids_live_for_one_generation_at_least() -> None:
    seen = Seen(1000, 60.0, now=0.0)
    seen.add(b"a", now=GENERATION_S - 1)
    seen.add(b"b", now=GENERATION_S)
    assert b"a" in seen
    seen.add(b"c", now=2 * GENERATION_S - 1)
    assert b"a" in seen
    seen.add(b"d", now=2 * GENERATION_S)
    assert b"a" not in seen
    assert b"b" in seen


def test_a_generation_is_three_ages_of_the_cache_long() -> None:
    seen = Seen(1000, 1000.0, now=0.0)
    seen.add(b"a", now=1.0)
    seen.add(b"b", now=2999.0)
    seen.add(b"c", now=3000.0)
    assert b"a" in seen


def test_the_number_of_ids_is_bounded_whatever_the_time() -> None:
    seen = Seen(10, 60.0, now=0.0)
    for number in range(1000):
        seen.add(number.to_bytes(16, "big"), now=0.0)
        assert number.to_bytes(16, "big") in seen
        assert len(seen) <= 20
    assert seen.early_total == 99
    assert seen.held_bytes == ID_BYTES * len(seen)
