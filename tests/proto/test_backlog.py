"""Backlog: never more than its bounds, and what gave way is told."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.backlog import Backlog


def test_the_oldest_gives_way() -> None:
    backlog: Backlog[str] = Backlog(2, 100)
    assert backlog.add("a", 1) == backlog.add("b", 1) == []
    assert backlog.add("c", 1) == ["a"]
    assert [backlog.take(), backlog.take()] == ["b", "c"]
    assert backlog.held_bytes == 0


def test_what_can_never_fit_is_given_back_and_costs_nobody_his_place() -> None:
    backlog: Backlog[str] = Backlog(2, 10)
    backlog.add("a", 9)
    assert backlog.add("b", 11) == ["b"]
    assert len(backlog) == 1


def test_what_was_taken_and_did_not_arrive_is_first_again() -> None:
    backlog: Backlog[str] = Backlog(3, 100)
    for name in "abc":
        backlog.add(name, 1)
    taken = [(backlog.take(), 1), (backlog.take(), 1)]
    backlog.add("d", 1)
    assert backlog.put_back(taken) == ["a"]
    assert [backlog.take() for _ in range(3)] == ["b", "c", "d"]


@given(st.lists(st.integers(0, 12)))
def test_the_bounds_hold_whatever_comes(sizes: list[int]) -> None:
    backlog: Backlog[int] = Backlog(4, 20)
    given_way = 0
    for size in sizes:
        given_way += len(backlog.add(size, size))
        assert len(backlog) <= 4
        assert backlog.held_bytes <= 20
    assert given_way + len(backlog) == len(sizes)
