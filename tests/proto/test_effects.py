"""Effects: the dice the rooms share."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.effects import Lane, pick, sample
from tests.support.swarm import dice


@given(st.lists(st.integers(), unique=True), st.integers(0, 20), st.integers())
def test_a_sample_has_no_more_than_asked_and_nobody_twice(
    items: list[int], most: int, seed: int
) -> None:
    taken = sample(items, most, dice(seed))
    assert len(taken) == len(set(taken)) == min(most, len(items))
    assert set(taken) <= set(items)


def test_everybody_is_picked_sometimes_and_the_last_dice_is_in_range() -> None:
    rng = dice(1)
    assert {pick("abc", rng) for _ in range(100)} == set("abc")
    assert pick("abc", lambda: 1 - 2**-53) == "c"


def test_what_is_shed_first_has_the_highest_number() -> None:
    assert Lane.CONTROL < Lane.EAGER < Lane.LAZY
