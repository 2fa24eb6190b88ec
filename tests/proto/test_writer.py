"""The writer: what rides in one write, what is counted, and whose answer is over."""

import json
from collections.abc import Callable

import pytest

from overlay_edge.errors import EdgeError, LocalMisuse, ObjectGone, Refused, TransportError
from overlay_edge.proto.events import Abandoned, Answered, Event
from overlay_edge.proto.flow import SMALL_BATCH_BYTES, Allowance, Outbox, Sender, Source, bulk_of
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    END,
    EVENT,
    HEADER_BYTES,
    REQ,
    RESP,
    START,
    App,
    Frame,
    FrameCounts,
)
from overlay_edge.proto.inbound import Inbound, admit_all
from overlay_edge.proto.writer import Writer
from tests.support.pair import Bytes, frames_of, settings


class Scripted(Bytes):
    """A source that does something while it is read."""

    def __init__(self, data: bytes, act: Callable[[], None]) -> None:
        super().__init__(data)
        self.act = act

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        self.act()
        return super().read(limit)


class Desk:
    def __init__(self) -> None:
        self.now = 10.0
        self.outbox = Outbox()
        self.sent = FrameCounts()
        self.answered: list[Answered] = []
        self.inbound = Inbound(
            settings(), self.outbox, admit_all, self.answered.append, now=self.now
        )
        self.writer = Writer(self.outbox, self.inbound, self.sent)
        self.found: list[Event] = []

    def answer(
        self, corr_id: int, payload: bytes = b"", source: Source | None = None, flags: int = END
    ) -> Sender:
        """Open a request of the peer's and answer it."""
        asked = Frame(REQ | START | flags, app=App.ECHO, corr_id=corr_id)
        self.inbound.receive(asked, 1 << 20, is_leaving=False, now=self.now)
        head = Frame(
            RESP | START | (0 if source else END),
            200,
            app=App.ECHO,
            corr_id=corr_id,
            payload=payload,
        )
        request = self.inbound.get(corr_id)
        assert request is not None
        request.sender = Sender(head, source, bulk_of(head, 206), Allowance(1 << 40))
        self.outbox.add(request.sender)
        return request.sender

    def ask(self, corr_id: int, source: Source) -> Sender:
        """A request of ours."""
        head = Frame(REQ | START, app=App.ECHO, corr_id=corr_id)
        sender = Sender(head, source, bulk_of(head, 0), Allowance(1 << 40))
        self.outbox.add(sender)
        return sender

    def take(self, *, bulk: bool = True) -> list[Frame]:
        data, found, _ = self.writer.take(bulk=bulk, now=self.now)
        self.found += found
        return frames_of(data)

    def take_all(self) -> list[Frame]:
        taken: list[Frame] = []
        while batch := self.take():
            taken += batch
        return taken


def test_nothing_to_write_is_nothing() -> None:
    assert Desk().writer.take(bulk=True, now=0.0) == (b"", [], False)


def test_without_room_for_bulk_control_goes_and_streams_wait_untouched() -> None:
    desk, source = Desk(), Bytes(b"bulk")
    desk.answer(1, source=source)
    desk.outbox.push_control(Frame(EVENT))
    assert [f.flags for f in desk.take(bulk=False)] == [EVENT]
    assert desk.take(bulk=False) == []
    assert source.offset == 0
    assert desk.outbox.has_output


def test_control_alone_is_not_said_to_be_bulk() -> None:
    desk = Desk()
    desk.outbox.push_control(Frame(EVENT))
    _, _, has_bulk = desk.writer.take(bulk=True, now=0.0)
    assert not has_bulk


def test_small_answers_ride_together_up_to_a_batch() -> None:
    desk, size = Desk(), 1000
    for corr_id in range(40):
        desk.answer(corr_id, bytes(size))
    first = desk.take()
    whole = HEADER_BYTES + size
    assert len(first) == -(-SMALL_BATCH_BYTES // whole)
    assert [f.corr_id for f in [*first, *desk.take_all()]] == list(range(40))


def test_frames_are_counted_by_what_they_were_for() -> None:
    desk = Desk()
    desk.answer(1, source=Bytes(bytes(2 * CHUNK_BYTES)))
    desk.outbox.push_control(Frame(EVENT))
    frames = desk.take_all()
    assert (desk.sent.control, desk.sent.gossip, desk.sent.other) == (1, 0, 3)
    assert len(frames) == 4


def test_an_answer_is_over_when_its_last_frame_leaves_and_not_before() -> None:
    desk = Desk()
    desk.answer(1, source=Bytes(bytes(2 * CHUNK_BYTES)))
    desk.now += 1
    desk.take()
    assert desk.answered == []
    desk.now += 1
    desk.take_all()
    assert [(a.corr_id, a.code, a.seconds) for a in desk.answered] == [(1, 200, 2.0)]


def test_what_a_source_sets_off_rides_in_the_same_write_behind_the_bulk() -> None:
    desk = Desk()
    grant = Frame(EVENT, corr_id=1)
    desk.answer(1, source=Scripted(b"x", lambda: desk.outbox.push_control(grant)))
    assert [f.flags for f in desk.take()] == [RESP | START, RESP | END, EVENT]


def test_streams_that_all_wait_are_asked_once_and_left_alone() -> None:
    class Dry:
        asked = 0

        def read(self, limit: int) -> tuple[bytes, bool] | None:
            self.asked += 1
            return None

        def close(self) -> None:
            """Nothing is held open."""

    desk, sources = Desk(), [Dry(), Dry()]
    for corr_id, source in enumerate(sources):
        desk.answer(corr_id, source=source)
    assert len(desk.take()) == 2  # the heads
    assert not desk.outbox.has_output
    assert [source.asked for source in sources] == [1, 1]


def test_empty_chunks_cannot_keep_a_write_going_for_ever() -> None:
    class Empty:
        def read(self, limit: int) -> tuple[bytes, bool] | None:
            return b"", False

        def close(self) -> None:
            """Nothing is held open."""

    desk = Desk()
    desk.answer(1, source=Empty())
    assert len(desk.take()) <= SMALL_BATCH_BYTES // HEADER_BYTES + 1


@pytest.mark.parametrize(
    ("error", "code", "token"),
    [
        (ObjectGone("wiped"), 404, "not_found"),
        (Refused(503, "busy", "later"), 503, "busy"),
        (TransportError("x"), 500, "internal"),
        (LocalMisuse("x"), 500, "internal"),
    ],
)
def test_an_answer_whose_bytes_cannot_be_had_ends_with_a_refusal_and_an_event(
    error: EdgeError, code: int, token: str
) -> None:
    def fail() -> None:
        raise error

    desk, source = Desk(), Scripted(b"x", fail)
    desk.answer(1, source=source)
    desk.answer(2, b"next")
    head, following, refusal = desk.take()
    assert (head.corr_id, following.corr_id) == (1, 2)
    assert (refusal.flags, refusal.code, refusal.corr_id) == (RESP | END, code, 1)
    assert json.loads(refusal.payload)["error"] == token
    assert desk.found == [Abandoned(1, token)]
    assert source.closed == 1
    assert [(a.corr_id, a.code) for a in desk.answered] == [(2, 200), (1, code)]


def test_our_own_upload_whose_bytes_cannot_be_had_is_ended_short() -> None:
    def fail() -> None:
        raise TransportError("the file ended")

    desk, source = Desk(), Scripted(b"x", fail)
    desk.ask(1, source)
    head, end = desk.take_all()
    assert head.flags == REQ | START
    assert end == Frame(REQ | END, app=App.ECHO, corr_id=1)
    assert (desk.found, source.closed) == ([], 1)


def test_a_request_of_ours_and_one_of_the_peers_may_have_the_same_number() -> None:
    desk = Desk()
    sender = desk.answer(1, source=Bytes(bytes(CHUNK_BYTES)))
    desk.ask(1, Bytes(b""))
    desk.outbox.remove(sender)
    assert [f.flags for f in desk.take_all()] == [REQ | START, REQ | END]
    assert desk.answered == []  # ours is done; the peer's is still open
    assert desk.inbound.get(1) is not None


@pytest.mark.parametrize("raises", [False, True])
def test_a_request_that_is_refused_while_its_source_is_read_ends_once(raises: bool) -> None:
    desk = Desk()

    def refuse() -> None:
        request = desk.inbound.get(1)
        assert request is not None
        desk.inbound.refuse(request, Refused(503, "busy", "full"), now=desk.now)
        if raises:
            raise ObjectGone("and it is gone, too")

    source = Scripted(bytes(9), refuse)
    desk.answer(1, source=source)
    assert [(f.flags, f.code) for f in desk.take_all()] == [(RESP | START, 200), (RESP | END, 503)]
    assert (source.closed, desk.found) == (1, [])
    assert [a.code for a in desk.answered] == [503]


def test_a_link_lost_while_a_source_is_read_lets_go_of_it() -> None:
    desk = Desk()

    def lose() -> None:
        desk.outbox.close()
        desk.inbound.close(now=desk.now)

    source = Scripted(bytes(9 * CHUNK_BYTES), lose)
    desk.answer(1, source=source)
    assert [f.flags for f in desk.take_all()] == [RESP | START]
    assert (source.closed, desk.outbox.has_output) == (1, False)
    assert [a.token for a in desk.answered] == ["link_lost"]
