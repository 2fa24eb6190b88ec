"""The pool: never more than its limit, nothing lost, first come first served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import LocalMisuse
from overlay_edge.proto.pool import Pool, Share


def test_bytes_are_taken_whole_or_not_at_all() -> None:
    pool = Pool(10)
    assert pool.take(6)
    assert not pool.take(5)
    assert (pool.used_bytes, pool.refused_total) == (6, 1)
    assert pool.take(4)


def test_giving_back_more_than_was_taken_is_our_own_misuse() -> None:
    with pytest.raises(LocalMisuse):
        Pool(10).give(1)


def test_who_waits_longest_is_called_first_and_once() -> None:
    pool, called = Pool(10), []
    pool.take(10)

    def first() -> None:
        called.append("first")

    def second() -> None:
        called.append("second")

    for _ in range(3):
        pool.wait(first)
        pool.wait(second)
    pool.give(10)
    pool.take(10)
    pool.give(10)
    assert called == ["first", "second"]


def test_nobody_is_called_while_there_is_no_room() -> None:
    pool, called = Pool(10), []
    pool.take(10)

    def grab() -> None:
        called.append(pool.take(10))

    pool.wait(grab)
    pool.wait(lambda: called.append(True))
    pool.give(10)
    assert called == [True]


def test_who_waits_again_when_called_goes_to_the_end_of_the_line() -> None:
    pool, called = Pool(10), []
    pool.take(2)

    def again() -> None:
        called.append("again")
        pool.wait(again)

    pool.wait(again)
    pool.wait(lambda: called.append("other"))
    pool.give(1)
    assert called == ["again", "other"]


def test_who_left_the_line_is_not_called() -> None:
    pool, called = Pool(10), []
    pool.take(1)

    def gone() -> None:
        called.append("gone")

    pool.wait(gone)
    pool.leave(gone)
    pool.leave(gone)
    pool.give(1)
    assert called == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8), st.booleans()), max_size=60))
def test_the_sum_of_all_shares_is_what_is_used_and_never_over_the_limit(
    steps: list[tuple[int, int, bool]],
) -> None:
    pool = Pool(16)
    shares = [Share(pool) for _ in range(3)]
    for index, amount, is_take in steps:
        share = shares[index]
        if is_take:
            share.take(amount)
        elif amount <= share.held_bytes:
            share.give(amount)
        else:
            share.close()
        assert pool.used_bytes == sum(s.held_bytes for s in shares) <= pool.limit_bytes
    for share in shares:
        share.close()
        share.close()
    assert pool.used_bytes == 0
