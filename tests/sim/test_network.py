"""Network: time, order, loss and death as they are asked for."""

from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.sim.network import Board, Network, Weather
from tests.support.swarm import CONFIG

ADDRS = ("board-0:9444", "board-1:9444")
TOPICS = ("t",)


class Ear:
    """Keeps what boards are told."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []

    def __call__(self, board: Board, what: Deliver | Gapped) -> None:
        if isinstance(what, Deliver):
            self.heard.append((board.index, what.seq))


def network(size: int, seed: int = 1, **weather: float) -> tuple[Network, Ear]:
    ear = Ear()
    made = Network(CONFIG, Weather(**weather), seed=seed, watch=ear)  # type: ignore[arg-type]
    for _ in range(size):
        made.add(peers=ADDRS, topics=TOPICS)
        made.run(made.now + 0.1)
    made.run(made.now + 5.0)
    return made, ear


def test_boards_find_each_other_and_hear_each_other() -> None:
    made, ear = network(5)
    made.publish(made.boards[0], "t", b"x")
    made.run(made.now + 1.0)
    assert sorted(ear.heard) == [(index, 1) for index in range(5)]


def test_the_same_seed_is_the_same_run_and_another_is_not() -> None:
    def events(seed: int) -> tuple[int, int]:
        made, _ = network(12, seed)
        made.publish(made.boards[3], "t", bytes(3000))
        made.run(made.now + 30.0)
        return made.events_total, sum(board.sent_bytes for board in made.boards)

    assert events(1) == events(1)
    assert events(1) != events(2)


def test_payloads_of_a_link_arrive_in_order_whatever_their_jitter() -> None:
    made, ear = network(2, jitter=1.9)
    for _ in range(50):
        made.publish(made.boards[0], "t", b"x")
    made.run(made.now + 2.0)
    assert [seq for index, seq in ear.heard if index == 1] == list(range(1, 51))


def test_what_is_dropped_is_counted() -> None:
    made, _ = network(6, drop=0.5)
    sent = sum(board.sent_total for board in made.boards)
    assert 0.3 * sent < made.dropped_total < 0.7 * sent


def test_a_crashed_board_hears_nothing_and_its_neighbours_find_out() -> None:
    made, ear = network(4)
    gone = made.boards[3]
    made.crash(gone)
    assert not gone.links
    made.run(made.now + 2.0)
    for board in made.boards[:3]:
        assert gone.contact.node not in board.mesh.members.active
    made.publish(made.boards[0], "t", b"x")
    made.run(made.now + 1.0)
    assert {index for index, _ in ear.heard} == {0, 1, 2}


def test_a_board_that_is_plugged_in_again_hears_what_others_still_keep() -> None:
    made, ear = network(4)
    made.publish(made.boards[0], "t", b"x")
    made.run(made.now + 1.0)
    made.crash(made.boards[3])
    made.run(made.now + 2.0)
    made.restart(made.boards[3], peers=ADDRS, topics=TOPICS)
    made.run(made.now + 10.0)
    assert ear.heard.count((3, 1)) == 2  # once in each life


def test_a_cut_network_is_two_and_grows_together_again() -> None:
    made, ear = network(6)
    made.part(lambda board: board.index % 2)
    made.run(made.now + 5.0)
    made.publish(made.boards[0], "t", b"x")
    made.run(made.now + 2.0)
    assert {index for index, _ in ear.heard} == {0, 2, 4}
    made.part(lambda _: 0)
    made.run(made.now + 60.0)
    assert {index for index, _ in ear.heard} == set(range(6))


def test_an_object_is_fetched_by_all_after_a_while() -> None:
    made, ear = network(4)
    board = made.boards[0]
    _, effects = board.mesh.publish("t", addr="b3:" + "0" * 64, size=9, ts_ms=0, now=made.now)
    made._carry(board, effects)
    made.run(made.now + 5.0)
    assert {index for index, _ in ear.heard} == set(range(4))
