"""Eight nodes on eight hosts: wires are cut, nodes are killed, and no message is lost silently."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.netns.board import Board
from tests.netns.village import SIZE, Village, finished, said, spoken, village
from tests.netns.waiting import say, until
from tests.netns.wires import missing, wires
from tests.support.workstation import RAM

MIB = 1 << 20
GROWTH_MIB = 64  # of a victim: what the mesh may keep by default is 24 MiB of messages, and ids
FLAPS = 200
NINTH = SIZE + 1
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Village]:
    """One village for all scenarios: each finds what those before it have left."""
    if reason := missing():
        pytest.skip(reason)
    with (
        TemporaryDirectory(prefix="overlay-edge-netns-", dir=RAM) as name,
        wires(NINTH) as hosts,
        village(hosts, Path(name)) as made,
    ):
        yield made


@pytest.fixture
def home(shared: Village) -> Iterator[Village]:
    """The village, healed and quiet again afterwards."""
    print()
    yield shared
    shared.quiet()
    shared.wires.join(is_one=True)
    for board in shared.boards:
        shared.wires.plug(board.number, is_in=True)
        if not board.is_alive:
            board.start()


def names(boards: list[Board]) -> set[str]:
    """Their ids."""
    return {board.read("/peers")["id"] for board in boards}


def views(boards: list[Board]) -> set[str]:
    """The ids of all their neighbours."""
    return {row["id"] for board in boards for row in board.read("/peers")["peers"]}


def test_eight_nodes_join_by_two_and_each_message_is_heard_once_everywhere(home: Village) -> None:
    home.converge()
    for board in home.boards:
        code, status = board.ronctl("status")
        assert (code, status["ready"]) == (0, True)
    ears = {topic: home.hear(topic) for topic in ("one/heat", "one/light")}
    speakers = [
        *home.speak((1, 4, 7), "one/heat", 60, 10),
        *home.speak((1, 4, 7), "one/light", 60, 10),
    ]
    finished(speakers)
    home.converge()
    for topic, listening in ears.items():
        total = home.heard(listening, topic, names(home.boards))
        assert total == {"message": 3 * 60 * SIZE}


def test_a_host_whose_cable_is_pulled_in_a_burst_goes_on_and_catches_up(home: Village) -> None:
    cut, other = home.board(8), home.board(2)
    pin = cut.read("/version")["fingerprint"]
    echo = ("echo", "--addr", cut.oap, "--pin", pin, "--timeout", "1s")
    assert other.ronctl(*echo)[0] == 0
    ears = home.hear("two")
    speakers = home.speak((1, 3, 8), "two", 300, 40)
    until(lambda: said(speakers, 40), "the burst is under way")
    home.wires.plug(8, is_in=False)
    assert other.ronctl(*echo)[0] == 1
    until(lambda: not cut.read("/peers")["peers"], "the host without a cable has no neighbours")
    assert cut.is_up()
    home.wires.plug(8, is_in=True)
    finished(speakers)
    home.converge()
    assert other.ronctl(*echo)[0] == 0
    published = spoken(speakers)
    assert sum(published.values()) == 900
    home.heard(ears, "two", {publisher for publisher, _ in published})


def test_a_cable_that_flaps_two_hundred_times_costs_no_message(home: Village) -> None:
    ears = home.hear("flap")
    speakers = home.speak((2, 7), "flap", 200, 30)
    until(lambda: said(speakers, 20), "the burst is under way")
    for _ in range(FLAPS):
        home.wires.plug(7, is_in=False)
        home.wires.plug(7, is_in=True)
    finished(speakers)
    home.converge()
    published = spoken(speakers)
    assert sum(published.values()) == 400
    home.heard(ears, "flap", {publisher for publisher, _ in published})


def test_two_halves_go_on_for_themselves_and_are_one_again(home: Village) -> None:
    left, right = home.boards[:4], home.boards[4:]
    ears = home.hear("three")
    speakers = home.speak((2, 3, 6, 7), "three", 300, 40)
    until(lambda: said(speakers, 40), "the burst is under way")
    home.wires.join(is_one=False)

    def is_split() -> bool:
        return not any(views(here) & names(there) for here, there in ((left, right), (right, left)))

    until(is_split, "two meshes")
    finished(speakers)
    home.wires.join(is_one=True)
    home.converge()
    published = spoken(speakers)
    assert sum(published.values()) == 1200
    total = home.heard(ears, "three", {publisher for publisher, _ in published})
    assert total["message"] + total["gap"] == 1200 * SIZE


def test_nodes_that_are_killed_in_a_burst_come_back_and_losses_are_told(home: Village) -> None:
    killed = [home.board(3), home.board(7)]
    others = [one for one in home.boards if one not in killed]
    ears = home.hear("four")
    speakers = home.speak((2, 3, 7), "four", 150, 20)
    until(lambda: said(speakers, 50), "the burst is under way")
    before = names(killed)
    for one in killed:
        one.kill()
    for one in killed:
        one.start()
    until(lambda: all(one.is_up() for one in killed), "the killed ones serve again")
    assert names(killed) == before
    again = home.speak((3, 7), "four", 30, 20)
    finished([*speakers, *again])
    home.converge()
    old, new = spoken(speakers), spoken(again)
    for publisher, epoch in new:
        assert all(epoch > was for who, was in old if who == publisher)
    known = {
        (row["publisher"], row["epoch"]): row["published"]
        for row in home.streams()
        if row["topic"] == "four"
    }
    for stream, count in (old | new).items():
        if stream[0] in before and stream in old:
            # What nobody else had heard of when it died is known to nobody.
            say(f"killed publisher: {count} taken, {known.get(stream, 0)} known to the others")
            assert known.get(stream, 0) <= count + 1  # the answer to the last may have died, too
        else:
            assert known[stream] == count
    stayed = [ear for ear in ears if ear.board in others]
    home.heard(stayed, "four", {publisher for publisher, _ in known})


def test_peers_that_mean_harm_are_thrown_out_by_name_and_nobody_else_notices(
    home: Village,
) -> None:
    victim = home.board(1)
    honest = names(home.boards)
    before = victim.metric("process_resident_memory_bytes")
    ears = home.hear("five")
    stranger = Board(home.wires, NINTH, home.folder, ())  # its host; no node is started there
    intruder = stranger.script("tests.netns.intruder", victim.oap, str(home.folder))
    speakers = home.speak((2, 5, 8), "five", 200, 30)
    peak, seen = before, set[str]()

    def is_over() -> bool:
        nonlocal peak
        peak = max(peak, victim.metric("process_resident_memory_bytes"))
        rows = victim.ronctl("peers")[1]["peers"]
        seen.update(
            fault["fault"] for row in rows if row["id"] not in honest for fault in row["faults"]
        )
        return intruder.process.poll() is not None

    until(is_over, "the intruder has had its turns", boards=home.boards)
    finished(speakers)
    turns = intruder.lines()
    _, page = victim.ronctl("peers")
    faults = {name: n for name, n in page["stats"].items() if name.startswith("fault_")}
    for turn in turns:
        say(f"{turn['kind']}: {turn['sent']} frames, thrown out: {turn['thrown_out']}")
    say(f"{faults}, graylisted {page['stats']['graylisted']}, seen on peers: {sorted(seen)}")
    say(f"memory {before / MIB:.1f} MiB, at most {peak / MIB:.1f} MiB")
    assert peak - before < GROWTH_MIB * MIB
    assert seen, "no fault was ever shown beside a peer"
    for name in ("invalid", "ihave_rate", "graft_rate", "control_rate", "digest_rate", "topics"):
        assert page["stats"][f"fault_{name}"] > 0
    sent_away = [turn["kind"] for turn in turns if turn["thrown_out"]]
    # Topics and messages may be another's, passed on: they cost the right to push, not the link.
    assert {turn["kind"] for turn in turns} - set(sent_away) <= {"topics", "messages"}
    assert page["stats"]["graylisted"] >= len(sent_away) - 2
    home.converge(honest)
    published = spoken(speakers)
    assert sum(published.values()) == 600
    total = home.heard(ears, "five", {publisher for publisher, _ in published})
    assert total == {"message": 600 * SIZE}


def test_all_nodes_start_again_at_once_and_are_one_mesh(home: Village) -> None:
    for board in home.boards:
        board.kill()
    for board in home.boards:
        board.start()
    until(lambda: all(one.is_up() for one in home.boards), "all serve again")
    ears = home.hear("six")
    speakers = home.speak((1, 2, 3, 4, 5, 6, 7, 8), "six", 20, 20)
    finished(speakers)
    home.converge()
    total = home.heard(ears, "six", names(home.boards))
    assert total == {"message": 8 * 20 * SIZE}
