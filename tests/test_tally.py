"""The tally: every count where it belongs, a histogram without holes, links added once."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.link import Link
from overlay_edge.net.stream import Stream, StreamInfo
from overlay_edge.proto.events import Event
from overlay_edge.proto.frame import App, Frame, FrameCounts, encode
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role
from overlay_edge.tally import LATENCY_BUCKETS_S, Latency, Tally, Traffic
from tests.support.pair import SETTINGS

HELLO = encode(Frame(1, payload=b"{}"))
INFO = StreamInfo("192.0.2.1:5", "X25519MLKEM768", "TLS_AES_128_GCM_SHA256", "")


class Drain:
    """A stream that takes everything."""

    is_writable = True

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        """Nothing is read here."""

    resume_reading = close = abort = pause_reading


class Nobody:
    """An owner that wants to know nothing."""

    def link_event(self, link: Link, event: Event) -> None:
        """Not listening."""

    def link_closed(self, link: Link, reason: str) -> None:
        """Not listening."""


def make_link() -> Link:
    return Link(
        Nobody(),
        lambda link, info: Session(Role.LISTENER, SETTINGS, now=link.started),
        handshake_timeout_s=3.0,
        write_timeout_s=5.0,
    )


# -- latency ----------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(LATENCY_BUCKETS_S)))
def test_a_bound_belongs_to_its_own_bucket(index: int) -> None:
    latency = Latency()
    latency.observe(LATENCY_BUCKETS_S[index])
    assert latency.counts[index] == sum(latency.counts) == 1


def test_what_took_longer_than_any_bound_is_counted_behind_the_last() -> None:
    latency = Latency()
    latency.observe(LATENCY_BUCKETS_S[-1] + 0.001)
    assert latency.counts[-1] == 1


@given(st.lists(st.floats(0, 100), max_size=50))
def test_no_observation_is_lost_and_none_is_under_a_bound_it_passed(seconds: list[float]) -> None:
    latency = Latency()
    for each in seconds:
        latency.observe(each)
    assert sum(latency.counts) == len(seconds)
    assert latency.sum_s == pytest.approx(sum(seconds))
    for index, bound in enumerate(LATENCY_BUCKETS_S):
        at_most = sum(latency.counts[: index + 1])
        assert at_most == bisect_left(sorted(seconds), bound) + seconds.count(bound)


def test_histograms_do_not_share_their_buckets() -> None:
    tally = Tally()
    tally.observe("echo", "echo", 0.001)
    tally.observe("objects", "get", 0.001)
    tally.observe("objects", "get", 9.0)
    assert sum(tally.latency["echo", "echo"].counts) == 1
    assert tally.latency["objects", "get"].sum_s == pytest.approx(9.001)
    assert not Tally().latency


# -- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "label"),
    [("too_large", "oversize"), ("quota_exhausted", "quota"), ("ratio_cap", "ratio_cap")],
)
def test_a_refusal_is_counted_once_under_its_label(token: str, label: str) -> None:
    tally = Tally()
    tally.reject(token)
    assert tally.rejected == {label: 1}


def test_only_quotas_count_as_exhausted() -> None:
    tally = Tally()
    for token in ("busy", "quota_exhausted", "timeout"):
        tally.reject(token)
    assert tally.quota_exhaustions == 1


# -- traffic ----------------------------------------------------------------------------


def test_merging_adds_both_ways_and_leaves_the_other_as_it_was() -> None:
    ours = Traffic(FrameCounts(1, 2, 3), FrameCounts(4, 5, 6), 7, 8)
    others = Traffic(FrameCounts(10, 20, 30), FrameCounts(40, 50, 60), 70, 80)
    ours.merge(others)
    assert ours == Traffic(FrameCounts(11, 22, 33), FrameCounts(44, 55, 66), 77, 88)
    assert others == Traffic(FrameCounts(10, 20, 30), FrameCounts(40, 50, 60), 70, 80)


async def test_a_link_that_never_got_to_a_session_has_moved_nothing() -> None:
    traffic = Traffic()
    traffic.add(make_link())
    assert traffic == Traffic()


async def test_what_a_link_has_moved_is_counted_by_direction_and_purpose() -> None:
    link, stream, traffic = make_link(), Drain(), Traffic()
    as_stream: Stream = stream
    link.stream_opened(as_stream, INFO)
    gossip = encode(Frame(4, app=App.GOSSIP, payload=b"x"))
    link.stream_received(HELLO + gossip + gossip)
    traffic.add(link)
    assert traffic.received == FrameCounts(control=1, gossip=2)
    assert traffic.sent == FrameCounts(control=1)
    assert traffic.bytes_received == len(HELLO) + 2 * len(gossip)
    assert traffic.bytes_sent == len(stream.written) > 0
    link.stream_closed("done")
