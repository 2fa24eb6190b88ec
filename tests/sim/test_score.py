"""Score: every delivery is counted once, and what is open, missed or gapped is told apart."""

from types import SimpleNamespace
from typing import Any, cast

from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.sim.network import Board
from overlay_edge.sim.score import Score

NODE = b"n" * 32


def board(index: int, node: bytes = NODE) -> Board:
    return cast(Board, SimpleNamespace(index=index, contact=SimpleNamespace(node=node)))


HERE, THERE = board(0), board(1, b"t" * 32)


def delivered(seq: int, hop: int = 1, node: bytes = NODE) -> Deliver:
    return Deliver("t", node, 1, seq, b"", "", 0, hop)


def score(*seqs: int) -> Score:
    made: Any = Score(2)
    for seq in seqs:
        made.published((NODE, 1, seq), 0, float(seq))
    return cast(Score, made)


def test_a_delivery_is_counted_with_its_time_and_hop() -> None:
    made = score(1)
    made.told(HERE, delivered(1, 0), 1.0)
    made.told(THERE, delivered(1, 3), 1.5)
    (message,) = made.messages.values()
    assert (message.last_at, message.last_hop, made.awaited([HERE, THERE])) == (1.5, 3, 0)
    assert made.times == [(1.0, 0.0), (1.5, 0.5)]


def test_a_publisher_hears_itself_before_it_knows_the_number() -> None:
    made = score()
    made.told(HERE, delivered(1, 0), 1.0)
    made.published((NODE, 1, 1), 0, 1.0)
    assert made.awaited([HERE]) == 0
    assert made.strangers == 0


def test_twice_is_twice_and_what_nobody_published_is_strange() -> None:
    made = score(1)
    for _ in range(2):
        made.told(THERE, delivered(1), 2.0)
    made.told(THERE, delivered(9), 2.0)
    assert (made.doubles, made.strangers) == (1, 1)


def test_a_gap_is_no_delivery_and_not_open_and_a_delivery_after_it_is_wrong() -> None:
    made = score(1, 2)
    made.told(HERE, delivered(1), 2.0)
    made.told(HERE, delivered(2), 2.0)
    made.told(THERE, Gapped("t", NODE, 1, 1, 5, "lost"), 3.0)
    assert (made.awaited([HERE, THERE]), made.gapped([HERE, THERE])) == (0, 2)
    made.told(THERE, delivered(1), 4.0)
    assert made.doubles == 1


def test_what_nobody_who_lives_has_heard_of_was_never_published() -> None:
    made = score(1, 2)
    made.told(HERE, delivered(1), 1.0)
    made.told(THERE, delivered(2), 1.0)
    assert made.awaited([HERE]) == 0
    assert made.awaited([HERE, THERE]) == 2
