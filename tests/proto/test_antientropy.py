"""Anti-entropy: what one has and the other lacks is found, asked for, and answered in bounds."""

from itertools import pairwise

from overlay_edge.proto.antientropy import (
    GRACE_S,
    HURRY_S,
    MAX_ANSWER_BYTES,
    MAX_DIGESTS,
    MAX_NUMBERS,
    MAX_OFFERS,
    AntiEntropy,
)
from overlay_edge.proto.effects import Tell
from overlay_edge.proto.gossip_codec import encode
from overlay_edge.proto.gossip_message import (
    MAX_DIGEST_BYTES,
    Digest,
    Gap,
    Gossip,
    Held,
    Want,
    message_id,
)
from overlay_edge.proto.ledger import Ledger
from overlay_edge.proto.retention import Cache
from tests.support.swarm import dice

NODE, A, B = b"n" * 32, b"a" * 32, b"b" * 32
KEY = ("t", NODE)
PERIOD_S = 10.0


class Side:
    """One of two that compare."""

    def __init__(self, *seqs: int, size: int = 10) -> None:
        self.ledger = Ledger(10_000, 30.0)
        self.cache = Cache(16 << 20, 60.0)
        self.room = AntiEntropy(self.ledger, self.cache, PERIOD_S, rng=dice(1), now=0.0)
        for seq in seqs:
            self.gets(seq, size=size)

    def gets(self, seq: int, *, publisher: bytes = NODE, size: int = 10) -> None:
        self.ledger.arrived(("t", publisher), 1, seq, peer=A, now=0.0)
        id = message_id(publisher, 1, seq)
        self.cache.add(Gossip(id, "t", publisher, 1, seq, 0, 1, bytes(size)), now=0.0)

    def asks(self, peer: bytes = B) -> list[Digest]:
        return digests(self.room.up(peer))

    def wants(self, now: float = GRACE_S) -> list[Want]:
        return [one.message for one in self.room.wake([], now=now) if isinstance(one.message, Want)]


def digests(tells: list[Tell]) -> list[Digest]:
    return [one.message for one in tells if isinstance(one.message, Digest)]


def test_who_lacks_something_asks_for_it_after_a_moment() -> None:
    full, poor = Side(1, 2, 3, 4), Side(2)
    (digest,) = full.asks()
    assert digest == Digest("t", {NODE: (Held(1, 4),)}, ask=True, whole=True)
    tells, gaps = poor.room.digest(A, digest, now=0.0)
    assert (tells, gaps) == ([], [])
    assert poor.wants(now=GRACE_S - 0.1) == []
    assert poor.wants() == [Want((), "t", NODE, 1, ((1, 1), (3, 4)))]
    assert poor.wants(now=5.0) == []


def test_what_a_push_brought_meanwhile_is_not_asked_for() -> None:
    full, poor = Side(1, 2), Side(1)
    poor.room.digest(A, full.asks()[0], now=0.0)
    poor.gets(2)
    assert poor.wants() == []


def test_who_has_more_answers_with_that_only() -> None:
    full, poor = Side(1, 2, 3), Side(1)
    full.gets(1, publisher=b"o" * 32)
    tells, _ = full.room.digest(B, poor.asks()[0], now=0.0)
    (answer,) = digests(tells)
    assert answer == Digest("t", {NODE: (Held(1, 3),), b"o" * 32: (Held(1, 1),)})
    tells, _ = full.room.digest(B, full.asks()[0], now=0.0)
    assert tells == []


def test_an_answer_is_not_answered() -> None:
    full, poor = Side(1, 2, 3), Side(1)
    assert full.room.digest(B, Digest("t", {NODE: (Held(1, 1),)}), now=0.0) == ([], [])
    assert poor.room.digest(A, Digest("t", {}, whole=True), now=0.0) == ([], [])


def test_a_hole_of_the_other_that_is_filled_here_is_told() -> None:
    full = Side(1, 2, 3)
    asking = Digest("t", {NODE: (Held(1, 3, ((2, 2),)),)}, ask=True)
    assert digests(full.room.digest(B, asking, now=0.0)[0])
    assert not digests(Side(1, 3).room.digest(B, asking, now=0.0)[0])


def test_a_want_is_answered_with_what_is_kept_and_gaps_for_the_rest() -> None:
    full = Side(1, 2, 5)
    answer = full.room.wanted(B, Want((), "t", NODE, 1, ((1, 4),)), now=0.0)
    assert [one.seq for one in answer if isinstance(one, Gossip)] == [1, 2]
    assert [one.message for one in answer if isinstance(one, Tell)] == [Gap("t", NODE, 1, 3, 4)]


def test_a_gap_is_not_asked_of_the_same_neighbour_again() -> None:
    poor = Side(5)
    poor.room.gap(A, Gap("t", NODE, 1, 1, 4))
    poor.room.digest(A, Digest("t", {NODE: (Held(1, 5),)}), now=0.0)
    assert poor.wants() == []
    poor.room.digest(B, Digest("t", {NODE: (Held(1, 5),)}), now=0.0)
    assert poor.wants() == [Want((), "t", NODE, 1, ((1, 4),))]
    poor.room.gap(A, Gap("t", NODE, 99, 1, 4))  # of an epoch nobody knows


def test_a_long_answer_is_cut_and_ends_with_a_digest() -> None:
    full = Side(*range(1, 200))
    answer = full.room.wanted(B, Want((), "t", NODE, 1, ((1, 199),)), now=0.0)
    assert [one.seq for one in answer if isinstance(one, Gossip)] == list(range(1, MAX_NUMBERS + 1))
    last = answer[-1]
    assert isinstance(last, Tell)
    assert last.message == Digest("t", {NODE: (Held(1, 199),)})


def test_a_heavy_answer_is_cut_by_its_bytes() -> None:
    full = Side(*range(1, 20), size=60_000)
    answer = full.room.wanted(B, Want((), "t", NODE, 1, ((1, 19),)), now=0.0)
    sent = sum(len(one.data) for one in answer if isinstance(one, Gossip))
    assert sent <= MAX_ANSWER_BYTES + 60_000
    assert isinstance(answer[-1], Tell)


def test_a_want_of_a_huge_range_costs_no_more_than_a_small_one() -> None:
    full = Side(1)
    answer = full.room.wanted(B, Want((), "t", NODE, 1, ((1, 1 << 60),)), now=0.0)
    assert len(answer) <= MAX_NUMBERS + 2


def test_many_publishers_are_said_in_frames_of_4_kib_and_in_turn() -> None:
    full = Side()
    for number in range(1000):
        full.gets(1, publisher=number.to_bytes(32, "big"))
    first, second = full.asks(), full.asks()
    for frames in (first, second):
        assert 1 < len(frames) <= MAX_DIGESTS
        assert all(len(encode(frame)) <= MAX_DIGEST_BYTES for frame in frames)
        assert not any(frame.whole for frame in frames)
    said = [set().union(*(frame.streams for frame in frames)) for frames in (first, second)]
    assert not said[0] & said[1]


def test_offers_are_bounded_and_end_with_their_neighbour() -> None:
    poor = Side()
    for number in range(MAX_OFFERS + 100):
        held = {number.to_bytes(32, "big"): (Held(1, 1),)}
        poor.room.digest(A, Digest("t", held), now=0.0)
    assert len(poor.room._offers) == MAX_OFFERS
    poor.room.down(A)
    assert poor.wants() == []
    assert poor.room.held_bytes == 0


def test_each_period_one_neighbour_is_asked() -> None:
    full, times = Side(1), []
    for _ in range(50):
        now = full.room.deadline()
        tells = full.room.wake([A, B], now=now)
        assert len(tells) == 1
        times.append(now)
    gaps = [after - before for before, after in pairwise(times)]
    assert all(0.5 * PERIOD_S <= gap <= 1.5 * PERIOD_S for gap in gaps)


def test_who_knows_that_it_lacks_something_asks_sooner_and_then_less_often() -> None:
    poor, times = Side(3), []
    poor.room.hurry(now=0.0)
    for _ in range(6):
        now = poor.room.deadline()
        if digests(poor.room.wake([A], now=now)):
            times.append(now)
    assert times[0] <= 1.5 * HURRY_S
    assert times[1] - times[0] <= 3 * HURRY_S
    poor.gets(1)
    poor.gets(2)
    poor.room.wake([A], now=poor.room.deadline())
    assert poor.room._hurry_s in (HURRY_S, PERIOD_S, 8.0, 4.0, 2.0)


def test_what_was_heard_of_and_never_came_makes_it_compare_soon() -> None:
    here = Side(1)
    here.room.compare(now=0.0)
    assert here.room.deadline() <= HURRY_S


def test_nobody_to_ask_is_no_reason_to_wake_all_the_time() -> None:
    poor = Side(3)
    poor.room.hurry(now=0.0)
    wakes, now = 0, 0.0
    while now < 100.0:
        now = poor.room.deadline()
        assert poor.room.wake([], now=now) == []
        wakes += 1
    assert wakes < 40
