"""Our own requests: numbers, answers in any shape, and letting go at any moment."""

import pytest
from backports import zstd

from overlay_edge.errors import PeerViolation
from overlay_edge.proto.events import Responded
from overlay_edge.proto.flow import UNLIMITED, Outbox
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    COMP,
    END,
    EVENT,
    REQ,
    RESP,
    START,
    App,
    Frame,
)
from overlay_edge.proto.outbound import Outbound
from tests.support.pair import Bytes, frames_of


class Asker:
    def __init__(self, first_corr_id: int = 1) -> None:
        self.outbox = Outbox()
        self.outbound = Outbound(self.outbox, first_corr_id)

    def ask(self, source: Bytes | None = None, *, credit: int = UNLIMITED) -> int:
        return self.outbound.ask(App.ECHO, b"head", source, b"cap", credit)

    def answer(
        self, corr_id: int, flags: int = 0, payload: bytes = b"", code: int = 200
    ) -> Responded | None:
        frame = Frame(RESP | flags, code, app=App.ECHO, corr_id=corr_id, payload=payload)
        return self.outbound.receive(frame)

    def next_frame(self) -> Frame | None:
        sender = self.outbox.next_sender()
        frame = sender.next_frame() if sender else None
        if sender and not sender.is_done:
            self.outbox.put_back(sender, 0)
        return frame

    def told(self) -> list[Frame]:
        return frames_of(b"".join(self.outbox.take_control()))


@pytest.mark.parametrize("first", [1, 2])
def test_the_two_ends_never_use_the_same_number(first: int) -> None:
    asker = Asker(first)
    assert [asker.ask() for _ in range(4)] == [first, first + 2, first + 4, first + 6]


def test_a_request_without_bulk_is_one_frame() -> None:
    asker = Asker()
    corr_id = asker.ask()
    assert asker.next_frame() == Frame(
        REQ | START | END, app=App.ECHO, corr_id=corr_id, cap=b"cap", payload=b"head"
    )
    assert asker.next_frame() is None


def test_a_capability_travels_on_the_head_alone() -> None:
    asker = Asker()
    corr_id = asker.ask(Bytes(b"bulk"))
    head, bulk = asker.next_frame(), asker.next_frame()
    assert head is not None
    assert (head.flags, head.cap) == (REQ | START, b"cap")
    assert bulk == Frame(REQ | END, app=App.ECHO, corr_id=corr_id, payload=b"bulk")


def test_an_answer_to_nothing_is_dropped() -> None:
    asker = Asker()
    assert asker.answer(1, END) is None
    assert asker.answer(1, COMP, b"not even zstd") is None


def test_an_answer_is_told_frame_by_frame_and_forgotten_with_its_last() -> None:
    asker = Asker()
    corr_id = asker.ask()
    asker.next_frame()
    assert asker.answer(corr_id, START, b"head") == Responded(
        corr_id, 200, b"head", is_first=True, is_last=False
    )
    assert asker.answer(corr_id, 0, b"a", 206) == Responded(
        corr_id, 206, b"a", is_first=False, is_last=False
    )
    assert asker.answer(corr_id, END, b"b", 206) == Responded(
        corr_id, 206, b"b", is_first=False, is_last=True
    )
    assert len(asker.outbound) == 0
    assert asker.answer(corr_id, END) is None
    assert asker.told() == []


def test_a_listener_that_sends_past_our_credit_is_refused() -> None:
    asker = Asker()
    corr_id = asker.ask(credit=5)
    asker.answer(corr_id, START, bytes(100))  # the head is not counted
    asker.answer(corr_id, 0, b"12345")
    with pytest.raises(PeerViolation, match="6 bytes on a stream, credit 5"):
        asker.answer(corr_id, 0, b"6")


def test_a_listener_that_knows_credit_keeps_its_chunks_short() -> None:
    asker = Asker()
    corr_id = asker.ask(credit=1 << 30)
    asker.answer(corr_id, START)
    with pytest.raises(PeerViolation, match="bulk in a frame"):
        asker.answer(corr_id, 0, bytes(CHUNK_BYTES + 1))


def test_an_answer_that_is_a_bomb_ends_the_link() -> None:
    asker = Asker()
    corr_id = asker.ask()
    with pytest.raises(PeerViolation) as caught:
        asker.answer(corr_id, START | COMP, zstd.compress(bytes(9000)))
    assert caught.value.token == "ratio_cap"


def test_what_is_cancelled_before_its_head_left_was_never_asked() -> None:
    asker, source = Asker(), Bytes(b"bulk")
    asker.outbound.cancel(asker.ask(source))
    assert (asker.next_frame(), asker.told(), source.closed) == (None, [], 1)


def test_what_is_cancelled_in_the_middle_is_ended_so_that_the_peer_can_forget_it() -> None:
    asker, source = Asker(), Bytes(b"bulk", chunk=1)
    corr_id = asker.ask(source)
    asker.next_frame()
    for _ in range(2):
        asker.outbound.cancel(corr_id)
    assert asker.told() == [Frame(REQ | END, app=App.ECHO, corr_id=corr_id)]
    assert (asker.next_frame(), source.closed) == (None, 1)


def test_what_is_cancelled_after_its_last_byte_is_not_ended_twice() -> None:
    asker, source = Asker(), Bytes(b"bulk")
    corr_id = asker.ask(source)
    asker.next_frame()
    asker.next_frame()
    asker.outbound.cancel(corr_id)
    assert (asker.told(), source.closed) == ([], 1)


def test_what_waits_for_credit_when_its_answer_comes_is_ended_and_never_resumes() -> None:
    asker, source = Asker(), Bytes(b"bulk")
    corr_id = asker.ask(source, credit=0)
    asker.next_frame()
    sender = asker.outbox.next_sender()
    assert sender is not None
    assert sender.next_frame() is None
    asker.outbox.park(sender)
    asker.answer(corr_id, START | END, code=413)
    asker.outbox.resume(sender)
    assert [f.flags for f in asker.told()] == [REQ | END]
    assert (asker.outbox.has_output, source.closed) == (False, 1)


def test_bulk_nobody_took_is_swallowed_when_its_request_is_cancelled() -> None:
    asker = Asker()
    corr_id = asker.ask(credit=100)
    asker.next_frame()
    asker.answer(corr_id, START)
    asker.answer(corr_id, 0, bytes(100))  # the peer waits for credit now
    asker.outbound.cancel(corr_id)
    assert [(f.flags, f.corr_id, f.payload) for f in asker.told()] == [
        (EVENT, corr_id, b'{"credit":200}')
    ]
    assert asker.answer(corr_id, 0, bytes(50)) is None
    assert [f.payload for f in asker.told()] == [b'{"credit":250}']
    assert asker.answer(corr_id, END, bytes(9)) is None
    assert asker.answer(corr_id, 0, bytes(9999)) is None  # over: not even counted
    assert asker.told() == []


def test_a_peer_is_held_to_its_credit_even_in_an_answer_nobody_waits_for() -> None:
    asker = Asker()
    corr_id = asker.ask(credit=100)
    asker.next_frame()
    asker.outbound.cancel(corr_id)
    with pytest.raises(PeerViolation, match="101 bytes on a stream, credit 100"):
        asker.answer(corr_id, 0, bytes(101))


def test_an_answer_to_what_was_never_sent_ends_it_without_a_word() -> None:
    asker, source = Asker(), Bytes(b"bulk")
    corr_id = asker.ask(source)
    found = asker.answer(corr_id, END, code=503)
    assert found == Responded(corr_id, 503, b"", is_first=True, is_last=True)
    assert (asker.next_frame(), asker.told(), source.closed) == (None, [], 1)


def test_nothing_is_kept_of_requests_that_are_over() -> None:
    asker = Asker()
    for is_sent in (False, True):
        for is_answered in (False, True):
            corr_id = asker.ask()
            if is_sent:
                asker.next_frame()
            if is_answered:
                asker.answer(corr_id, START | END)
            asker.outbound.cancel(corr_id)
            if is_sent and not is_answered:
                asker.answer(corr_id, START | END)
    assert not asker.outbound._open
    assert not asker.outbound._unwanted


def test_a_lost_link_forgets_every_request() -> None:
    asker = Asker()
    corr_id = asker.ask()
    asker.outbound.close()
    assert (len(asker.outbound), asker.answer(corr_id, END)) == (0, None)


def test_a_refusal_in_the_middle_of_an_answer_needs_no_credit() -> None:
    asker = Asker()
    corr_id = asker.ask(credit=CHUNK_BYTES)
    asker.answer(corr_id, START)
    asker.answer(corr_id, payload=bytes(CHUNK_BYTES), code=206)
    told = asker.answer(corr_id, END, b'{"error":"busy"}', code=503)
    assert told is not None
    assert (told.code, told.is_last) == (503, True)


def test_but_a_refusal_that_does_not_end_is_bulk_like_any_other() -> None:
    asker = Asker()
    corr_id = asker.ask(credit=CHUNK_BYTES)
    asker.answer(corr_id, START)
    asker.answer(corr_id, payload=bytes(CHUNK_BYTES), code=206)
    with pytest.raises(PeerViolation):
        asker.answer(corr_id, payload=b"{}", code=503)
