"""Ledger: what arrives is new once, what does not is a gap once."""

from overlay_edge.proto.gossip_message import MAX_HOLES
from overlay_edge.proto.ledger import (
    FEW_HOLES,
    IDLE_S,
    MAX_ALL_HOLES,
    Account,
    Ledger,
    Verdict,
)

NODE, PEER, OTHER = b"n" * 32, b"p" * 32, b"o" * 32
KEY = ("t", NODE)
WAIT_S = 30.0


def ledger(most: int = 100) -> Ledger:
    return Ledger(most, WAIT_S)


def arrive(book: Ledger, seq: int, *, epoch: int = 1, now: float = 0.0) -> Verdict:
    return book.arrived(KEY, epoch, seq, peer=PEER, now=now)[0]


def test_a_message_is_new_once() -> None:
    book = ledger()
    assert [arrive(book, seq) for seq in (1, 1, 3, 2, 3)] == [
        Verdict.NEW, Verdict.DUPLICATE, Verdict.NEW, Verdict.NEW, Verdict.DUPLICATE,
    ]  # fmt: skip
    assert not book.missing_total


def test_what_is_missing_too_long_is_a_gap_and_after_that_too_late() -> None:
    book = ledger()
    arrive(book, 4)
    assert book.deadline() == WAIT_S
    assert book.wake(now=WAIT_S - 1) == []
    (gap,) = book.wake(now=WAIT_S)
    assert (gap.topic, gap.publisher, gap.epoch) == ("t", NODE, 1)
    assert (gap.first, gap.last, gap.reason) == (1, 3, "unanswered")
    assert arrive(book, 2, now=WAIT_S) is Verdict.LATE
    assert book.deadline() == float("inf")


def test_a_gap_says_whether_a_neighbour_denied_it() -> None:
    book = ledger()
    arrive(book, 3)
    stream = book.find(KEY, 1)
    assert stream is not None
    stream.deny(1, 1, PEER)
    assert [(gap.first, gap.reason) for gap in book.wake(now=WAIT_S)] == [
        (1, "lost"),
        (2, "unanswered"),
    ]


def test_each_hole_has_its_own_time() -> None:
    book = ledger()
    arrive(book, 2, now=0.0)
    arrive(book, 4, now=20.0)
    assert [gap.first for gap in book.wake(now=40.0)] == [1]
    assert book.deadline() == 50.0
    assert [gap.first for gap in book.wake(now=50.0)] == [3]


def test_learning_of_numbers_makes_them_missing() -> None:
    book = ledger()
    stream, gaps = book.learned(KEY, 1, 5, peer=PEER, now=0.0)
    assert stream is not None
    assert (stream.missing_total, gaps) == (5, [])
    assert book.lacks(0.0)
    assert not book.lacks(-1.0)


def test_the_last_two_epochs_are_kept_and_what_an_older_one_lacks_is_a_gap() -> None:
    book = ledger()
    arrive(book, 2, epoch=1)
    arrive(book, 1, epoch=2)
    verdict, gaps = book.arrived(KEY, 3, 1, peer=PEER, now=1.0)
    assert verdict is Verdict.NEW
    assert [(gap.epoch, gap.first, gap.last, gap.reason) for gap in gaps] == [(1, 1, 1, "replaced")]
    assert [stream.epoch for stream in book.streams[KEY]] == [3, 2]
    assert arrive(book, 5, epoch=1) is Verdict.REFUSED
    assert len(book) == 2


def test_an_epoch_that_is_heard_of_late_is_the_one_before() -> None:
    book = ledger()
    arrive(book, 1, epoch=5)
    assert arrive(book, 1, epoch=4) is Verdict.NEW
    assert [stream.epoch for stream in book.streams[KEY]] == [5, 4]


def test_a_stream_too_many_is_refused_until_one_is_idle() -> None:
    book = ledger(most=2)
    for number, now in ((1, 0.0), (2, 100.0)):
        assert book.arrived(("t", bytes([number])), 1, 1, peer=PEER, now=now)[0] is Verdict.NEW
    third = ("t", bytes([3]))
    assert book.arrived(third, 1, 1, peer=PEER, now=IDLE_S - 1)[0] is Verdict.REFUSED
    assert book.arrived(third, 1, 1, peer=PEER, now=IDLE_S)[0] is Verdict.NEW
    assert ("t", bytes([1])) not in book.streams
    assert len(book) == 2


def test_who_brought_a_stream_is_counted_while_it_is_here() -> None:
    book = ledger(most=1)
    arrive(book, 1)
    assert (book.brought(PEER), book.brought(OTHER)) == (1, 0)
    book.arrived(("u", NODE), 1, 1, peer=OTHER, now=IDLE_S)
    assert (book.brought(PEER), book.brought(OTHER)) == (0, 1)


def test_digests_take_turns() -> None:
    book = ledger()
    for number in range(4):
        book.arrived(("t", bytes([number])), 1, 1, peer=PEER, now=0.0)
    first = [key[1][0] for key in list(book.unsaid())[:3]]
    book.said(3)
    assert [key[1][0] for key in list(book.unsaid())] == [3, *first]
    assert len(book.of_topic("t")) == 4


def test_a_topic_is_forgotten_only_when_nothing_of_it_can_come() -> None:
    book = ledger()
    arrive(book, 1)
    assert not book.forget_topic("t", now=IDLE_S - 1)
    assert book.forget_topic("t", now=IDLE_S)
    assert (len(book), len(book.of_topic("t")), book.held_bytes) == (0, 0, 0)
    assert book.forget_topic("unknown", now=0.0)


def test_what_was_of_no_use_is_told_as_a_gap() -> None:
    book = ledger()
    arrive(book, 1)
    assert [(gap.first, gap.reason) for gap in book.undo(KEY, 1, 1)] == [(1, "fetch")]
    assert arrive(book, 1) is Verdict.LATE


def test_holes_of_all_streams_are_bounded_and_counted_exactly() -> None:
    book = ledger(most=10_000)
    for number in range(200):
        key = ("t", number.to_bytes(32, "big"))
        for seq in range(2, 2 * MAX_HOLES + 2, 2):
            book.arrived(key, 1, seq, peer=PEER, now=0.0)
        counted = sum(len(one.holes) for streams in book.streams.values() for one in streams)
        assert book._holes == counted <= MAX_ALL_HOLES + 200 * FEW_HOLES
    book.deny(key, 1, 1, 1, PEER)
    book.deny(("u", NODE), 1, 1, 1, PEER)
    book.wake(now=WAIT_S)
    assert book._holes == 0
    assert book.missing_total == 0


def test_an_account_adds_up_at_any_time() -> None:
    book = ledger()
    for seq in (1, 5, 9):
        arrive(book, seq)
    book.find(KEY, 1)
    assert list(book.accounts()) == [Account("t", NODE, 1, 9, 3, 0, 6, ())]
    book.wake(now=WAIT_S)
    assert list(book.accounts()) == [Account("t", NODE, 1, 9, 3, 6, 0, ((2, 4), (6, 8)))]
