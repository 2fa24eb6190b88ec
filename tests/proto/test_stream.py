"""Stream: every number is delivered, gapped or missing, and few things are remembered."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.gossip_message import MAX_HOLES, Held
from overlay_edge.proto.stream import MAX_BEHIND, MAX_GAPS, Stream

PEER = b"p" * 32


def holes(stream: Stream) -> list[tuple[int, int]]:
    return [(hole.first, hole.last) for hole in stream.holes]


def arrived(*numbers: int) -> Stream:
    stream = Stream(1)
    for seq in numbers:
        stream.arrive(seq, now=0.0)
    return stream


def test_in_order_nothing_is_remembered() -> None:
    stream = arrived(1, 2, 3)
    assert (stream.top, stream.delivered_total, stream.holes) == (3, 3, [])
    assert stream.has(3)
    assert not stream.has(4)


def test_a_jump_leaves_a_hole_that_shrinks_from_both_ends_and_the_middle() -> None:
    stream = arrived(1, 10)
    assert holes(stream) == [(2, 9)]
    for seq, left in ((2, [(3, 9)]), (9, [(3, 8)]), (5, [(3, 4), (6, 8)]), (3, [(4, 4), (6, 8)])):
        stream.arrive(seq, now=0.0)
        assert holes(stream) == left
        assert stream.has(seq)


def test_numbers_learnt_of_are_one_hole_with_what_is_missing_already() -> None:
    stream = arrived(1)
    stream.rise(5, now=1.0)
    stream.rise(8, now=1.0)
    assert holes(stream) == [(2, 8)]
    stream.rise(9, now=2.0)
    assert holes(stream) == [(2, 8), (9, 9)]  # it is waited for from later on


def test_what_is_too_far_behind_is_given_up_at_once() -> None:
    stream = Stream(1)
    assert stream.arrive(1_000_000, now=0.0) == ((1, 999_999 - MAX_BEHIND),)
    assert holes(stream) == [(1_000_000 - MAX_BEHIND, 999_999)]
    assert stream.is_gapped(5)
    assert stream.gapped_total + stream.missing_total + 1 == stream.top


def test_of_too_many_holes_the_oldest_is_given_up() -> None:
    stream = arrived(*range(2, 2 * MAX_HOLES + 3, 2))
    assert len(stream.holes) == MAX_HOLES + 1
    assert stream.squeeze() == ((1, 1),)
    assert len(stream.holes) == MAX_HOLES
    assert stream.is_gapped(1)


def test_a_hole_expires_from_when_it_was_known() -> None:
    stream = arrived(2)
    stream.arrive(4, now=5.0)
    assert stream.expire(10.0, now=9.9) == []
    (old,) = stream.expire(10.0, now=10.0)
    assert (old.first, old.last) == (1, 1)
    assert holes(stream) == [(3, 3)]
    assert (stream.gapped_total, stream.gaps) == (1, [(1, 1)])


def test_who_does_not_have_it_is_not_asked_again() -> None:
    stream = arrived(1, 10)
    offer = Held(1, 10)
    assert stream.wanted(PEER, offer, 64) == ((2, 9),)
    stream.deny(4, 6, PEER)
    assert stream.wanted(PEER, offer, 64) == ((2, 3), (7, 9))
    assert stream.wanted(b"o" * 32, offer, 64) == ((2, 3), (4, 6), (7, 9))


def test_only_what_the_other_holds_is_wanted_and_no_more_than_asked() -> None:
    stream = arrived(20)
    assert stream.wanted(PEER, Held(1, 15, ((3, 5), (9, 9))), 64) == ((1, 2), (6, 8), (10, 15))
    assert stream.wanted(PEER, Held(1, 15, ((3, 5),)), 4) == ((1, 2), (6, 7))
    assert stream.wanted(PEER, Held(1, 0), 64) == ()


def test_it_lacks_what_the_other_has() -> None:
    stream = arrived(1, 5)
    assert stream.lacks(Held(1, 6))
    assert stream.lacks(Held(1, 3))
    assert not stream.lacks(Held(1, 1))
    assert not stream.lacks(Held(1, 5, ((2, 4),)))


def test_what_was_of_no_use_is_given_up_instead() -> None:
    stream = arrived(1, 2)
    stream.undo(2)
    assert (stream.delivered_total, stream.gapped_total) == (1, 1)
    assert stream.is_gapped(2)


def test_a_digest_says_top_and_holes() -> None:
    assert arrived(1, 3, 6).held() == Held(1, 6, ((2, 2), (4, 5)))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "rise", "expire", "deny", "squeeze"]),
        st.integers(1, 200) | st.integers(1, 1 << 40),
        st.floats(0, 5),
    ),
    max_size=80,
)


@given(STEPS)
def test_whatever_comes_it_adds_up(steps: list[tuple[str, int, float]]) -> None:
    stream, now = Stream(1), 0.0
    here: set[int] = set()
    for step, number, passes in steps:
        now += passes
        match step:
            case "arrive" if not stream.has(number):
                stream.arrive(number, now=now)
                here.add(number)
            case "rise":
                stream.rise(number, now=now)
            case "expire":
                stream.expire(10.0, now=now)
            case "deny":
                stream.deny(number, number + 5, PEER)
        stream.squeeze()
        assert stream.delivered_total == len(here)
        assert stream.delivered_total + stream.gapped_total + stream.missing_total == stream.top
        assert len(stream.holes) <= MAX_HOLES
        assert len(stream.gaps) <= MAX_GAPS
        assert holes(stream) == sorted(holes(stream))
        assert not any(first <= seq <= last for first, last in holes(stream) for seq in here)
