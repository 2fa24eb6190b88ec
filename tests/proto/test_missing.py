"""Missing: who is asked for what was only heard of, in which order, and who broke a promise."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.missing import (
    AGAIN_S,
    GRAFT_S,
    MAX_FROM_ONE,
    MAX_MISSING,
    MAX_SOURCES,
    PROMISE_S,
    Ask,
    Missing,
)

A, B, C = b"a", b"b", b"c"
ID = b"i" * 16


def told(*peers: bytes, rtt_s: float = 0.0) -> Missing:
    table = Missing()
    for peer in peers:
        table.announced(peer, "t", ID, 1, rtt_s, now=0.0)
    return table


def test_a_push_has_time_before_anybody_is_asked() -> None:
    table = told(A)
    assert table.deadline() == GRAFT_S
    assert table.due(now=GRAFT_S - 0.001) == []
    assert table.due(now=GRAFT_S) == [Ask(A, "t", ID)]


def test_a_slow_link_has_more_time() -> None:
    assert told(A, rtt_s=0.2).deadline() == 3 * 0.2


def test_who_told_next_is_asked_next_and_then_it_is_given_up() -> None:
    table = told(A, B)
    assert table.due(now=GRAFT_S) == [Ask(A, "t", ID)]
    assert table.deadline() == GRAFT_S + AGAIN_S
    assert table.due(now=GRAFT_S + AGAIN_S) == [Ask(B, "t", ID)]
    assert table.due(now=GRAFT_S + AGAIN_S + PROMISE_S) == []
    assert (len(table), table.broken_total) == (0, 1)
    assert table.take_broken() == [A, B]
    assert table.take_broken() == []


def test_who_tells_after_all_others_were_asked_is_asked_soon() -> None:
    table = told(A)
    table.due(now=GRAFT_S)
    table.announced(B, "t", ID, 1, 0.0, now=1.0)
    assert table.deadline() == 1.0 + AGAIN_S
    assert table.due(now=1.0 + AGAIN_S) == [Ask(B, "t", ID)]


def test_a_message_that_comes_ends_it_and_a_promise_kept_is_told() -> None:
    table = told(A, B)
    table.due(now=GRAFT_S)
    entry = table.arrived(ID, A)
    assert entry is not None
    assert list(entry.sources) == [A, B]
    assert table.take_kept() == [A]
    assert table.deadline() == float("inf")
    assert table.arrived(ID, A) is None


def test_a_push_of_somebody_else_keeps_no_promise_and_breaks_none() -> None:
    table = told(A)
    table.due(now=GRAFT_S)
    table.arrived(ID, C)
    assert table.take_kept() == []
    assert table.due(now=100.0) == []
    assert table.take_broken() == []


def test_a_neighbour_that_is_lost_is_not_waited_for_and_not_blamed() -> None:
    table = told(A, B)
    table.due(now=GRAFT_S)
    table.gone(A, now=GRAFT_S + 0.01)
    assert table.due(now=GRAFT_S + 0.01) == [Ask(B, "t", ID)]
    table.gone(B, now=0.2)
    table.due(now=0.2)
    assert (len(table), table.take_broken()) == (0, [])


def test_the_table_and_its_sources_are_bounded() -> None:
    table = Missing()
    for number in range(MAX_MISSING + 10):
        for peer in range(number % 50, number % 50 + MAX_SOURCES + 3):
            table.announced(bytes([peer]), "t", number.to_bytes(16, "big"), 1, 0.0, now=0.0)
    assert len(table) == MAX_MISSING
    assert table.full_total == 10 * (MAX_SOURCES + 3)
    assert len(table.due(now=GRAFT_S)) == MAX_MISSING


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(0, 1)), max_size=200))
def test_every_id_comes_to_an_end_and_timers_do_not_pile_up(
    steps: list[tuple[int, int, float]],
) -> None:
    table, now = Missing(), 0.0
    for what, number, passes in steps:
        now += passes
        id = number.to_bytes(16, "big")
        match what:
            case 0:
                table.arrived(id, A)
            case 1:
                table.gone(bytes([number]), now=now)
            case 2:
                table.due(now=now)
            case _:
                table.announced(bytes([what]), "t", id, 1, 0.0, now=now)
        assert len(table._timers) <= 8 * MAX_MISSING + 1
    for _ in range(MAX_SOURCES + 1):
        now += PROMISE_S
        table.due(now=now)
    assert len(table) == 0


def test_one_neighbour_cannot_fill_the_table() -> None:
    table = Missing()
    for number in range(2 * MAX_FROM_ONE):
        table.announced(A, "t", number.to_bytes(16, "big"), 1, 0.0, now=0.0)
    assert len(table) == MAX_FROM_ONE
    assert table.announced(B, "t", b"x" * 16, 1, 0.0, now=0.0)
    table.arrived((0).to_bytes(16, "big"), B)
    assert table.announced(A, "t", b"y" * 16, 1, 0.0, now=0.0)
    table.due(now=10.0)
    table.due(now=20.0)
    assert len(table) == 0
    assert table._brought == {}
