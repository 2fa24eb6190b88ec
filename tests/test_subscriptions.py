"""Subscriptions: bounded, nobody is waited for, and what is lost is told in its place."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import budget
from overlay_edge.errors import Refused
from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.subscriptions import (
    ENTRY_BYTES,
    MAX_ALL_BYTES,
    MAX_BYTES,
    MAX_GAPS,
    MAX_MESSAGES,
    MAX_SUBSCRIPTIONS,
    Subscription,
    Subscriptions,
    Told,
)

ONE, TWO = b"1" * 32, b"2" * 32


def message(seq: int, size: int = 1, *, publisher: bytes = ONE, topic: str = "t") -> Deliver:
    return Deliver(topic, publisher, 1, seq, bytes(size), "", 0, 1)


def taken(subscription: Subscription) -> list[Told]:
    found = []
    while (event := subscription.take()) is not None:
        found.append(event)
    return found


def lost(events: list[Told]) -> int:
    return sum(e.last - e.first + 1 for e in events if isinstance(e, Gapped))


async def test_what_is_offered_is_read_in_order_by_every_subscriber_of_the_topic() -> None:
    subscriptions = Subscriptions()
    first, second, other = (subscriptions.add(topic) for topic in ("t", "t", "u"))
    for seq in (1, 2):
        subscriptions.offer(message(seq))
    for one in (first, second):
        assert [await anext(one), await anext(one)] == [message(1), message(2)]
    assert other.take() is None
    assert subscriptions.held_bytes == 0


async def test_a_reader_waits_and_the_end_comes_after_what_is_held() -> None:
    subscriptions = Subscriptions()
    one = subscriptions.add("t")
    waiting = asyncio.create_task(anext(one))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    subscriptions.offer(message(1))
    assert await waiting == message(1)
    subscriptions.offer(message(2))
    one.close()
    one.close()
    subscriptions.offer(message(3))
    assert [event async for event in one] == [message(2)]
    assert subscriptions.topics == []


def test_too_many_messages_are_told_as_one_gap_before_those_that_are_left() -> None:
    subscriptions = Subscriptions()
    one = subscriptions.add("t")
    for seq in range(1, MAX_MESSAGES + 4):
        subscriptions.offer(message(seq, 0))
    found = taken(one)
    assert found[0] == Gapped("t", ONE, 1, 1, 3, "slow")
    assert found[1] == message(4, 0)
    assert subscriptions.lost_total == 3


def test_too_many_bytes_are_told_too_and_a_gap_that_is_lost_stays_a_gap_with_its_reason() -> None:
    subscriptions = Subscriptions()
    one = subscriptions.add("t")
    subscriptions.offer(Gapped("t", TWO, 1, 5, 9, "lost"))
    for seq in range(1, 20):
        subscriptions.offer(message(seq, 64 << 10))
        assert one.held_bytes <= MAX_BYTES
    found = taken(one)
    assert found[0] == Gapped("t", TWO, 1, 5, 9, "lost")
    assert isinstance(found[1], Gapped)
    assert lost(found[1:]) + sum(isinstance(e, Deliver) for e in found) == 19


def test_of_all_who_hold_much_the_slowest_loses_first() -> None:
    subscriptions = Subscriptions()
    slow = [subscriptions.add("t") for _ in range(3)]
    fast = subscriptions.add("t")
    for seq in range(1, 15):
        subscriptions.offer(message(seq, 64 << 10))
        assert taken(fast) == [message(seq, 64 << 10)]
        assert subscriptions.held_bytes <= MAX_ALL_BYTES
    assert all(lost(taken(one)) for one in slow)
    assert budget.GOSSIP_SUBSCRIBERS_BYTES == MAX_ALL_BYTES


def test_gaps_of_too_many_publishers_are_counted_and_not_named() -> None:
    subscriptions = Subscriptions()
    one = subscriptions.add("t")
    total = MAX_MESSAGES + MAX_GAPS + 10
    for number in range(total):
        subscriptions.offer(message(1, 0, publisher=number.to_bytes(32, "big")))
    found = taken(one)
    assert found[MAX_GAPS] == Gapped("t", bytes(32), 0, 1, 10, "slow")
    assert lost(found) + sum(isinstance(e, Deliver) for e in found) == total


def test_a_purge_takes_what_waits_and_says_so() -> None:
    subscriptions = Subscriptions()
    one, other = subscriptions.add("t"), subscriptions.add("u")
    for seq in (1, 2):
        subscriptions.offer(message(seq, 100))
    subscriptions.offer(message(1, 100, topic="u"))
    assert subscriptions.purge("t") == (2, 2 * (ENTRY_BYTES + 100))
    assert taken(one) == [Gapped("t", ONE, 1, 1, 2, "purged")]
    assert taken(other) == [message(1, 100, topic="u")]
    assert subscriptions.lost_total == 0


def test_a_topic_is_unwanted_when_the_last_who_heard_it_is_gone() -> None:
    unwanted: list[str] = []
    subscriptions = Subscriptions(unwanted.append)
    first, second = subscriptions.add("t"), subscriptions.add("t")
    first.close()
    assert unwanted == []
    second.close()
    second.close()
    assert unwanted == ["t"]


def test_there_is_room_for_so_many_and_one_that_ends_makes_room() -> None:
    subscriptions = Subscriptions()
    first, *_ = [subscriptions.add("t") for _ in range(MAX_SUBSCRIPTIONS)]
    with pytest.raises(Refused) as caught:
        subscriptions.add("t")
    assert (caught.value.code, caught.value.token) == (503, "busy")
    subscriptions.offer(message(1))
    first.discard()
    assert subscriptions.add("t").take() is None
    subscriptions.close()
    assert len(subscriptions) == 0


@given(
    st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.integers(0, 200_000)), max_size=60),
    st.integers(1, 9),
)
def test_delivered_and_gapped_are_always_all_that_was_offered(
    offered: list[tuple[bytes, int]], every: int
) -> None:
    subscriptions = Subscriptions()
    one = subscriptions.add("t")
    seqs = {ONE: 0, TWO: 0}
    found: list[Told] = []
    for number, (publisher, size) in enumerate(offered):
        seqs[publisher] += 1
        subscriptions.offer(message(seqs[publisher], size, publisher=publisher))
        if number % every == 0 and (event := one.take()) is not None:
            found.append(event)
    found += taken(one)
    for publisher, top in seqs.items():
        numbers = [
            seq
            for e in found
            if e.publisher == publisher
            for seq in (range(e.first, e.last + 1) if isinstance(e, Gapped) else (e.seq,))
        ]
        assert sorted(numbers) == list(range(1, top + 1))
    assert subscriptions.held_bytes == 0
