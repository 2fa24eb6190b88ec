"""Links: pumping both ways, deadlines of the handshake and of writes, and one last word."""

import asyncio
from dataclasses import replace

import pytest

from overlay_edge.config import DEFAULTS
from overlay_edge.errors import Refused
from overlay_edge.link import Link
from overlay_edge.net.stream import StreamInfo
from overlay_edge.proto.events import Event, Greeted, LinkFailed, Requested
from overlay_edge.proto.frame import App, Frame, encode
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role
from tests.support.pair import Bytes

INFO = StreamInfo("192.0.2.1:5", "X25519MLKEM768", "TLS_AES_128_GCM_SHA256", "")
HELLO = encode(Frame(1, payload=b'{"ua":null,"features":{}}'))


class Pipe:
    """A stream that keeps what is written and is as writable as the test says."""

    def __init__(self) -> None:
        self.is_writable = True
        self.written: list[bytes] = []
        self.is_reading = True
        self.ended = ""
        self._over = asyncio.Event()

    async def wait_ended(self) -> None:
        async with asyncio.timeout(10):
            await self._over.wait()

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self.ended = self.ended or "closed"
        self._over.set()

    def abort(self) -> None:
        self.ended = self.ended or "aborted"
        self._over.set()


class Owner:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed: list[str] = []
        self.source: Bytes | None = None

    def link_event(self, link: Link, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Requested) and link.session is not None:
            link.session.respond(event.corr_id, b"", source=self.source)

    def link_closed(self, link: Link, reason: str) -> None:
        self.closed.append(reason)


def make(owner: Owner, pipe: Pipe, *, handshake_s: float = 60, write_s: float = 60) -> Link:
    def session(link: Link, info: StreamInfo) -> Session:
        settings = replace(DEFAULTS.session(info.pq), handshake_timeout_s=handshake_s)
        return Session(Role.LISTENER, settings, now=link.started)

    link = Link(owner, session, handshake_timeout_s=handshake_s, write_timeout_s=write_s)
    link.attach(pipe)
    return link


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_bytes_become_events_and_answers_become_bytes() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO + encode(Frame(25, app=App.ECHO, corr_id=1, payload=b"x")))
    assert isinstance(owner.events[0], Greeted)
    assert isinstance(owner.events[1], Requested)
    await turns()
    assert b'"max_frame":1048576' in b"".join(pipe.written)
    assert link.bytes_received == len(HELLO) + 39
    assert link.bytes_sent == len(b"".join(pipe.written))


async def test_one_chunk_is_written_per_turn_and_none_while_the_stream_is_full() -> None:
    owner, pipe = Owner(), Pipe()
    owner.source = Bytes(bytes(4 << 16))
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO + encode(Frame(25, app=App.ECHO, corr_id=1)))
    assert sum(map(len, pipe.written)) < 80_000
    pipe.is_writable = False
    before = len(pipe.written)
    await turns()
    assert len(pipe.written) == before
    pipe.is_writable = True
    link.stream_writable()
    await turns()
    assert sum(map(len, pipe.written)) > 4 << 16


async def test_a_violation_is_answered_and_then_the_stream_is_closed() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO + b"\xff" * 40)
    assert isinstance(owner.events[-1], LinkFailed)
    assert b"bad_request" in pipe.written[-1]
    assert pipe.ended == "closed"
    link.stream_closed("")
    link.stream_closed("")
    assert owner.closed == ["bad_request"]


async def test_a_handshake_that_never_ends_is_aborted() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe, handshake_s=0.01)
    await pipe.wait_ended()
    assert pipe.ended == "aborted"
    link.stream_closed("reset")
    assert owner.closed == ["handshake timeout"]


async def test_hello_that_never_comes_is_answered_by_a_timeout() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe, handshake_s=0.01)
    link.stream_opened(pipe, INFO)
    await pipe.wait_ended()
    assert pipe.ended == "closed"
    assert b'"timeout"' in pipe.written[-1]


async def test_a_peer_that_reads_nothing_is_cut_when_a_write_makes_no_progress() -> None:
    owner, pipe = Owner(), Pipe()
    owner.source = Bytes(bytes(1 << 20))
    link = make(owner, pipe, write_s=0.02)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO)
    pipe.is_writable = False
    link.stream_received(encode(Frame(25, app=App.ECHO, corr_id=1)))
    await pipe.wait_ended()
    assert pipe.ended == "aborted"
    link.stream_closed("")
    assert owner.closed == ["write timeout"]
    assert owner.source.closed == 1


async def test_reading_stops_while_answers_pile_up_and_goes_on_after() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO)
    await turns()
    pipe.is_writable = False
    link.stream_received(encode(Frame(4, payload=b'{"ping":1}')) * 100)
    assert not pipe.is_reading
    pipe.is_writable = True
    link.stream_writable()
    await turns()
    assert pipe.is_reading
    assert b"".join(pipe.written).count(b"pong") == 100


async def test_a_peer_that_is_not_wanted_is_aborted_before_a_frame_is_sent() -> None:
    owner, pipe = Owner(), Pipe()
    link = Link(owner, lambda link, info: None, handshake_timeout_s=9, write_timeout_s=9)
    link.attach(pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO)
    assert (pipe.ended, pipe.written) == ("aborted", [])


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_owners_own_ending_keeps_its_reason(how: str) -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    getattr(link, how)("because")
    link.stream_closed("something else")
    assert owner.closed == ["because"]
    link.pump()
    assert pipe.written == []


async def test_a_link_that_is_refused_says_why_and_ends() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO)
    pipe.is_writable = False  # the last word does not wait for room
    link.refuse(Refused(403, "denied", "the capability was revoked"))
    assert b'"denied"' in pipe.written[-1]
    assert pipe.ended == "closed"
    link.stream_received(encode(Frame(25, app=App.ECHO, corr_id=1)))
    link.stream_closed("")
    assert owner.closed == ["denied"]


async def test_what_is_half_here_is_dropped_and_the_link_goes_on() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    wire = encode(Frame(25, app=App.ECHO, corr_id=1, payload=bytes(1000)))
    link.stream_received(HELLO + wire[:500])
    link.drop_input(Refused(503, "busy", "the store was purged"))
    link.stream_received(wire[500:] + encode(Frame(25, app=App.ECHO, corr_id=3)))
    await turns()
    assert b"the store was purged" in b"".join(pipe.written)
    (asked,) = [event for event in owner.events if isinstance(event, Requested)]
    assert (asked.corr_id, pipe.ended) == (3, "")


async def test_a_link_whose_frames_wait_unheard_ends_instead() -> None:
    owner, pipe = Owner(), Pipe()
    link = make(owner, pipe)
    link.stream_opened(pipe, INFO)
    link.stream_received(HELLO)
    pipe.is_writable = False
    link.stream_received(encode(Frame(4, payload=b'{"ping":1}')) * 100)
    link.drop_input(Refused(503, "busy", "the store was purged"))
    assert pipe.ended == "closed"
