"""Flow: nobody gets past a window, credit comes back in halves, turns are fair in bytes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import LocalMisuse, ObjectGone, PeerViolation
from overlay_edge.proto.flow import (
    CROWDED_BYTES,
    CROWDED_FRAMES,
    MIN_READ_BYTES,
    UNLIMITED,
    Allowance,
    Outbox,
    Sender,
    Source,
    Window,
    bulk_of,
    frame_bytes,
)
from overlay_edge.proto.frame import CHUNK_BYTES, END, EVENT, RESP, START, Frame, encode
from tests.support.pair import Bytes

HEAD = Frame(RESP | START, 200, app=7, tenant=8, corr_id=9, cap=b"c", payload=b"head")


class Waiting:
    """A source without bytes, until it is told to fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.closed = 0

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        if self.failure is not None:
            raise self.failure
        return None

    def close(self) -> None:
        self.closed += 1


class Greedy(Bytes):
    """A source that does not care how much it was asked for."""

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        return super().read(limit + 1)


def sender(source: Source | None, *, credit: int = UNLIMITED, corr_id: int = 9) -> Sender:
    head = Frame(RESP | START, 200, app=7, tenant=8, corr_id=corr_id, payload=b"head")
    made = Sender(head, source, bulk_of(head, 206), Allowance(credit))
    made.deficit = CHUNK_BYTES
    return made


# -- windows ----------------------------------------------------------------------------


def test_a_byte_past_the_window_is_the_peers_violation() -> None:
    window = Window(100)
    window.receive(100)
    with pytest.raises(PeerViolation, match="101 bytes on a stream, credit 100") as caught:
        window.receive(1)
    assert caught.value.token == "credit_violation"


def test_consuming_what_never_came_is_our_own_misuse() -> None:
    window = Window(100)
    window.receive(9)
    with pytest.raises(LocalMisuse, match="10 bytes consumed, 9 held"):
        window.consume(10)
    assert window.held == 9


def test_credit_is_given_at_half_windows_and_is_absolute() -> None:
    window = Window(100)
    window.receive(100)
    assert window.consume(49) is None
    assert window.consume(1) == 150
    assert window.consume(49) is None
    assert window.consume(1) == 200


def test_a_peer_without_credit_is_never_granted_any() -> None:
    window = Window(UNLIMITED)
    window.receive(1 << 40)
    assert window.is_unlimited
    assert window.consume(1 << 40) is None


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), max_size=40),
)
def test_who_keeps_to_its_grants_is_never_refused_and_never_stuck(
    size: int, script: list[tuple[int, int]]
) -> None:
    window, allowance = Window(size), Allowance(size)
    for sent, used in script:
        sent = min(sent, allowance.left)
        allowance.spend(sent)
        window.receive(sent)
        assert window.held <= size
        grant = window.consume(min(used, window.held))
        if grant is not None:
            allowance.grant(grant)
    grant = window.consume(window.held)
    if grant is not None:
        allowance.grant(grant)
    assert allowance.left > 0


# -- allowances -------------------------------------------------------------------------


def test_spending_more_than_is_left_is_our_own_misuse() -> None:
    allowance = Allowance(10)
    with pytest.raises(LocalMisuse, match="11 bytes sent, 10 allowed"):
        allowance.spend(11)
    assert allowance.left == 10


@given(
    st.integers(0, 1000),
    st.lists(st.one_of(st.integers(0, 2000), st.integers(-2000, -1)), max_size=40),
)
def test_no_order_of_grants_lets_a_sender_past_its_window(first: int, script: list[int]) -> None:
    allowance, granted, sent = Allowance(first), first, 0
    for step in script:  # a grant, or an attempt to send
        if step >= 0:
            granted = max(granted, step)
            allowance.grant(step)
        else:
            amount = min(-step, allowance.left)
            allowance.spend(amount)
            sent += amount
        assert sent <= granted
        assert allowance.left == granted - sent


# -- senders ----------------------------------------------------------------------------


def test_a_head_alone_is_the_whole_stream() -> None:
    alone = Sender(HEAD, None, bulk_of(HEAD, 206), Allowance(0))
    assert alone.next_frame() == HEAD
    assert alone.is_done


def test_bulk_looks_like_its_head_without_start_and_capability() -> None:
    stream = sender(Bytes(b"ab", chunk=1))
    stream.next_frame()
    assert stream.next_frame() == Frame(RESP, 206, app=7, tenant=8, corr_id=9, payload=b"a")
    assert stream.next_frame() == Frame(RESP | END, 206, app=7, tenant=8, corr_id=9, payload=b"b")


def test_bulk_of_nothing_still_ends() -> None:
    source = Bytes(b"")
    stream = sender(source)
    stream.next_frame()
    last = stream.next_frame()
    assert last is not None
    assert (last.flags & END, last.payload, source.closed) == (END, b"", 1)


def test_a_head_goes_without_credit_and_bulk_waits_for_it() -> None:
    source = Bytes(b"abc")
    stream = sender(source, credit=0)
    assert stream.next_frame() is not None
    assert stream.next_frame() is None
    assert source.offset == 0
    stream.allowance.grant(2)
    frame = stream.next_frame()
    assert frame is not None
    assert frame.payload == b"ab"
    assert stream.next_frame() is None


def test_a_source_that_fails_is_closed_once() -> None:
    source = Waiting(ObjectGone("purged"))
    stream = sender(source)
    stream.next_frame()
    with pytest.raises(ObjectGone):
        stream.next_frame()
    stream.close()
    assert (stream.is_done, source.closed) == (True, 1)


def test_a_source_that_gives_more_than_its_credit_is_our_own_misuse_and_is_closed() -> None:
    source = Greedy(b"abcdef")
    stream = sender(source, credit=3)
    stream.next_frame()
    with pytest.raises(LocalMisuse):
        stream.next_frame()
    assert (stream.is_done, source.closed) == (True, 1)


# -- the outbox -------------------------------------------------------------------------


def test_the_control_lane_is_crowded_by_frames_or_by_bytes() -> None:
    by_frames, by_bytes = Outbox(), Outbox()
    for _ in range(CROWDED_FRAMES):
        assert not by_frames.is_crowded
        by_frames.push_control(Frame(EVENT))
    assert by_frames.is_crowded
    by_bytes.push_control(Frame(EVENT, payload=bytes(CROWDED_BYTES)))
    assert by_bytes.is_crowded
    assert by_bytes.take_control() == [encode(Frame(EVENT, payload=bytes(CROWDED_BYTES)))]
    assert not by_bytes.is_crowded
    assert not by_bytes.has_output


def test_a_parked_sender_resumes_once_however_often_it_is_woken() -> None:
    outbox, stream = Outbox(), sender(Waiting())
    outbox.add(stream)
    assert outbox.next_sender() is stream
    outbox.park(stream)
    assert not outbox.has_output
    for _ in range(3):
        outbox.resume(stream)
    assert outbox.next_sender() is stream
    assert outbox.next_sender() is None


def test_waking_a_sender_that_does_not_wait_changes_nothing() -> None:
    outbox, stream = Outbox(), sender(Waiting())
    outbox.resume(stream)
    assert not outbox.has_output
    outbox.add(stream)
    outbox.resume(stream)
    assert [outbox.next_sender(), outbox.next_sender()] == [stream, None]


@pytest.mark.parametrize("is_parked", [False, True])
def test_a_removed_sender_is_closed_and_cannot_be_woken(is_parked: bool) -> None:
    source = Waiting()
    outbox, stream = Outbox(), sender(source)
    if is_parked:
        outbox.park(stream)
    else:
        outbox.add(stream)
    outbox.remove(stream)
    outbox.remove(stream)
    outbox.resume(stream)
    assert (outbox.has_output, source.closed) == (False, 1)


def test_closing_closes_every_stream_and_keeps_the_last_words() -> None:
    ready, parked = Waiting(), Waiting()
    outbox = Outbox()
    outbox.add(sender(ready))
    outbox.park(sender(parked))
    outbox.push_control(Frame(EVENT))
    outbox.close()
    outbox.close()
    assert (ready.closed, parked.closed) == (1, 1)
    assert outbox.next_sender() is None
    assert outbox.take_control() == [encode(Frame(EVENT))]


@pytest.mark.parametrize("left", [0, 1, CHUNK_BYTES])
def test_a_stream_that_waited_has_one_whole_turn_whatever_was_left_of_its_last(left: int) -> None:
    outbox, stream = Outbox(), sender(Waiting())
    outbox.add(stream)
    for _ in range(5):
        assert outbox.next_sender() is stream
        assert stream.deficit == CHUNK_BYTES
        stream.deficit = left
        outbox.park(stream)
        outbox.resume(stream)


def run(outbox: Outbox, budget: int) -> list[tuple[int, int]]:
    """Take turns until so many bytes of bulk have left: stream and size of each frame."""
    taken: list[tuple[int, int]] = []
    while sum(size for _, size in taken) < budget and (stream := outbox.next_sender()):
        frame = stream.next_frame()
        if frame is None:
            outbox.park(stream)
            continue
        sent = 0 if frame.flags & START else len(frame.payload)
        if not stream.is_done:
            outbox.put_back(stream, sent)
        taken.append((frame.corr_id, sent))
    return taken


@given(st.lists(st.integers(1, CHUNK_BYTES), min_size=2, max_size=5))
def test_streams_share_by_bytes_however_small_the_frames_of_one_are(sizes: list[int]) -> None:
    sizes = [max(size, 2048) for size in sizes]  # smaller ones only take longer to run
    outbox = Outbox()
    for corr_id, size in enumerate(sizes):
        outbox.add(sender(Bytes(bytes(9 * CHUNK_BYTES), chunk=size), corr_id=corr_id))
    moved: Counter[int] = Counter({corr_id: 0 for corr_id in range(len(sizes))})
    for corr_id, sent in run(outbox, 5 * CHUNK_BYTES):
        moved[corr_id] += sent
        # One turn ahead, and what each of the turns before left of itself.
        ahead = max(moved.values()) - min(moved.values())
        assert ahead <= CHUNK_BYTES + 5 * MIN_READ_BYTES


def test_every_head_is_sent_before_the_first_chunk() -> None:
    outbox = Outbox()
    for corr_id in range(5):
        stream = sender(Bytes(bytes(2 * CHUNK_BYTES)), corr_id=corr_id)
        stream.deficit = 0
        outbox.add(stream)
    order = [corr_id for corr_id, _ in run(outbox, 5 * CHUNK_BYTES)]
    assert order == [*range(5), *range(5)]


def test_a_frame_is_as_long_as_it_is_printed() -> None:
    assert frame_bytes(HEAD) == len(encode(HEAD))
