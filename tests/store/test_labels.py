"""Labels: who stored what, under which topics; over a bound they err towards wiping."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.store.labels import (
    MAX_DEPOSITORS,
    MAX_LABELS_BYTES,
    MAX_TOPICS,
    Labels,
    mark,
)

ONE, TWO = ("a" * 128,), ("b" * 128, "c" * 128)


def revoke(labels: Labels, *ids: str) -> bool:
    return labels.revoke({mark(number) for number in ids})


def test_the_only_depositor_takes_the_object_with_it() -> None:
    labels = Labels(ONE)
    assert not revoke(labels, "b" * 128)
    assert revoke(labels, "a" * 128)


def test_any_block_of_a_capability_revokes_it() -> None:
    for number in TWO:
        assert revoke(Labels(TWO), number)


def test_the_object_stays_while_somebody_else_has_stored_it_too() -> None:
    labels = Labels(ONE)
    labels.merge(Labels(TWO))
    labels.merge(Labels(TWO))
    assert labels.depositors == 2
    assert not revoke(labels, *ONE)
    assert revoke(labels, TWO[1])


def test_nobody_can_revoke_who_came_without_a_capability() -> None:
    labels = Labels()
    labels.merge(Labels(ONE))
    assert not revoke(labels, *ONE, *TWO)


def test_a_ninth_depositor_is_not_remembered_so_the_object_goes_with_the_eight() -> None:
    labels = Labels(("0" * 128,))
    for number in range(1, MAX_DEPOSITORS + 1):
        labels.merge(Labels((f"{number:0128x}",)))
    assert labels.depositors == MAX_DEPOSITORS
    assert revoke(labels, *(f"{number:0128x}" for number in range(MAX_DEPOSITORS)))


def test_a_topic_is_found_by_its_whole_name() -> None:
    labels = Labels(topic="site/heat")
    assert labels.has_topic(mark("site/heat"))
    assert not labels.has_topic(mark("site"))
    assert not Labels().has_topic(mark("site/heat"))


def test_topics_add_up_and_one_too_many_makes_it_one_of_all() -> None:
    labels = Labels(topic="t0")
    for number in range(1, MAX_TOPICS):
        labels.merge(Labels(topic=f"t{number}"))
    assert all(labels.has_topic(mark(f"t{number}")) for number in range(MAX_TOPICS))
    assert not labels.has_topic(mark("another"))
    labels.merge(Labels(topic="t0"))
    assert not labels.has_topic(mark("another"))
    labels.merge(Labels(topic="one more"))
    assert labels.has_topic(mark("another"))
    labels.merge(Labels())
    assert labels.has_topic(mark("another"))


def test_the_largest_labels_are_no_larger_than_the_budget_says() -> None:
    def held(value: object) -> int:
        import sys

        inner = sum(map(held, value)) if isinstance(value, tuple) else 0
        return sys.getsizeof(value) + inner

    labels = Labels()
    for number in range(MAX_DEPOSITORS):
        labels.merge(Labels([f"{number * 16 + block:0128x}" for block in range(16)], f"t{number}"))
    for number in range(MAX_TOPICS):
        labels.merge(Labels(topic=f"t{number}"))
    size = held(labels._depositors) + held(labels._topics) + 64
    assert size <= MAX_LABELS_BYTES


@given(st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=8), st.integers(0, 5))
def test_who_is_left_is_who_has_not_the_id(depositors: list[list[int]], number: int) -> None:
    labels = Labels(list(map(str, depositors[0])))
    for depositor in depositors[1:]:
        labels.merge(Labels(list(map(str, depositor))))
    assert revoke(labels, str(number)) == all(number in found for found in depositors)
