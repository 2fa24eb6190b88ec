"""The lane of events: bounded, the least thrown away first, and never in the way of control."""

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import budget
from overlay_edge.proto.events import CaughtUp, Notified
from overlay_edge.proto.frame import CHUNK_BYTES, App
from overlay_edge.proto.lane import EMPTY_BYTES, FULL_BYTES, LANE_BYTES, EventLane
from tests.support.pair import Bytes, Pair


def test_what_matters_more_goes_first_and_within_a_rank_in_order() -> None:
    lane = EventLane()
    for rank, word in ((3, b"ids"), (2, b"one"), (0, b"join"), (2, b"two")):
        lane.push(App.GOSSIP, word, rank)
    assert [lane.pop().payload for _ in range(4)] == [b"join", b"one", b"two", b"ids"]  # type: ignore[union-attr]
    assert lane.pop() is None
    assert lane.held_bytes == 0


def test_a_full_lane_throws_the_least_away_oldest_first_and_counts_it() -> None:
    lane = EventLane()
    lane.push(App.GOSSIP, b"control", 0)
    whole = LANE_BYTES // CHUNK_BYTES - 1  # with their headers
    for number in range(whole):
        lane.push(App.GOSSIP, bytes([number]) * CHUNK_BYTES, 3)
    for number in range(whole):
        lane.push(App.GOSSIP, bytes([number]) * CHUNK_BYTES, 2)
    assert lane.shed == {3: whole}
    for _ in range(3):
        lane.push(App.GOSSIP, bytes(CHUNK_BYTES), 2)
    assert lane.shed[2] == 3
    assert lane.pop().payload == b"control"  # type: ignore[union-attr]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, CHUNK_BYTES)), max_size=60))
def test_it_never_holds_more_than_its_limit_and_always_knows_how_much(
    pushed: list[tuple[int, int]],
) -> None:
    lane = EventLane()
    for rank, size in pushed:
        lane.push(App.GOSSIP, bytes(size), rank)
        assert lane.held_bytes <= LANE_BYTES
    taken = 0
    while lane.pop() is not None:
        taken += 1
    assert (lane.held_bytes, taken + sum(lane.shed.values())) == (0, len(pushed))


def test_the_budget_counts_with_its_limit() -> None:
    assert budget.GOSSIP_LANE_BYTES == LANE_BYTES


def test_a_lane_that_was_full_says_once_that_the_peer_has_caught_up() -> None:
    lane = EventLane()
    while not lane.is_full:
        lane.push(App.GOSSIP, bytes(1000), 2)
    assert lane.held_bytes >= FULL_BYTES
    while not lane.caught_up():
        assert lane.pop() is not None
    assert lane.held_bytes <= EMPTY_BYTES
    assert not lane.caught_up()


def test_what_is_dropped_is_counted_and_what_matters_more_stays() -> None:
    lane = EventLane()
    lane.push(App.GOSSIP, b"join", 0)
    lane.push(App.GOSSIP, b"abc", 2)
    assert lane.drop(2) == (1, 3 + 38)
    assert len(lane) == 1


def test_a_pong_never_waits_behind_gossip_and_bulk_has_its_turn() -> None:
    pair = Pair().greet()
    for _ in range(4):
        pair.dialler.notify(App.GOSSIP, bytes(CHUNK_BYTES - 100), 2)
    pair.dialler.request(App.ECHO, b"", source=Bytes(bytes(4 * CHUNK_BYTES)))
    pair.dialler.ping()
    data, _ = pair.dialler.take_output(now=pair.now)
    assert data[38:47] == b'{"ping":1'
    assert len(data) < 2 * CHUNK_BYTES
    kinds = []
    for _ in range(12):
        frames, _ = pair.dialler.take_output(now=pair.now)
        kinds.append(int.from_bytes(frames[10:12], "big") if frames else 0)
    first = kinds[:4]
    assert {int(App.GOSSIP), int(App.ECHO)} <= set(first)


def test_a_peer_hears_events_and_the_sender_hears_when_it_caught_up() -> None:
    pair = Pair().greet()
    pair.listener.patience.expect_gossip(10_000.0, now=pair.now)
    for _ in range(5):
        pair.dialler.notify(App.GOSSIP, bytes(CHUNK_BYTES - 100), 2)
    assert pair.dialler.lane.is_full
    pair.settle()
    assert [type(event) for event in pair.take(pair.listener)] == [Notified] * 5
    assert pair.take(pair.dialler) == [CaughtUp()]
    assert pair.dialler.is_idle


def test_nodes_may_gossip_far_faster_than_strangers_and_not_without_end() -> None:
    pair = Pair().greet()
    pair.listener.patience.expect_gossip(5000.0, now=pair.now)
    for _ in range(6000):
        pair.dialler.notify(App.GOSSIP, b"x", 2)
        if len(pair.dialler.lane) > 1000:
            pair.carry()
    pair.settle()
    assert len(pair.take(pair.listener)) <= 5001
    pair.now += 1.0
    pair.listener.wake(now=pair.now)
    assert pair.listener.wants_input
