"""Sessions: HELLO, requests, credit, liveness, goodbye, and peers that break every rule."""

import json
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_edge.errors import LocalMisuse, ObjectGone, Refused, TransportError
from overlay_edge.proto.events import (
    Abandoned,
    Body,
    Event,
    Greeted,
    LinkFailed,
    Notified,
    PeerLeaving,
    Ponged,
    Requested,
    Responded,
)
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
    FrameDecoder,
    encode,
)
from overlay_edge.proto.pool import Pool, Share
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role, State
from tests.support.pair import SETTINGS, Bytes, Pair, Stranger
from tests.support.pair import settings as session_settings

FIVE_KEYS = ["max_frame", "max_inflight", "flags_supported", "versions", "transports"]


def said(frame: Frame) -> dict[str, Any]:
    value = json.loads(frame.payload)
    assert isinstance(value, dict)
    return value


def request(corr_id: int = 1, flags: int = REQ | START | END, payload: bytes = b"hi") -> Frame:
    return Frame(flags, app=App.ECHO, corr_id=corr_id, payload=payload)


def more(corr_id: int, payload: bytes, *, last: bool = False) -> Frame:
    return Frame(REQ | (END if last else 0), app=App.ECHO, corr_id=corr_id, payload=payload)


def event(body: object, corr_id: int = 0) -> Frame:
    return Frame(EVENT, corr_id=corr_id, payload=json.dumps(body).encode())


def failure(events: list[Event]) -> LinkFailed:
    (failed,) = [e for e in events if isinstance(e, LinkFailed)]
    assert events[-1] is failed
    return failed


# -- HELLO ------------------------------------------------------------------------------


def test_the_answer_to_hello_has_the_five_published_keys_first_and_echoes_the_asker() -> None:
    stranger = Stranger()
    (answer,) = stranger.say(stranger.hello)
    assert (answer.flags, answer.code, answer.app) == (RESP, 200, 0)
    assert (answer.tenant, answer.corr_id) == (9, 7)
    body = said(answer)
    assert list(body)[:5] == FIVE_KEYS
    assert answer.payload.startswith(
        b'{"max_frame":1048576,"max_inflight":64,"flags_supported":255,'
        b'"versions":[1],"transports":["tcp+tls"]'
    )
    assert body["chunk"] == CHUNK_BYTES
    assert body["window_frames"] == SETTINGS.send_window_frames
    assert body["features"] == {"comp": ["zstd"], "pq": "hybrid", "gossip": 1}


def test_a_client_that_knows_only_five_keys_gets_its_echo() -> None:
    stranger = Stranger(credit=False)
    stranger.say(stranger.hello)
    stranger.say(request(3))
    stranger.session.respond(3, b"hi")
    (answer,) = stranger.hear()
    assert (answer.flags, answer.code, answer.payload) == (RESP | START | END, 200, b"hi")


def test_a_reference_client_may_greet_with_a_name_and_unknown_members() -> None:
    stranger = Stranger()
    payload = b'{"ua":"sdk/0.1","later":{"x":[1]},"node":"n1"}'
    stranger.say(Frame(REQ, payload=payload))
    assert isinstance(greeted := stranger.events[0], Greeted)
    assert (greeted.hello.ua, greeted.hello.node, greeted.hello.has_credit) == (
        "sdk/0.1",
        "n1",
        False,
    )


@pytest.mark.parametrize(
    "first",
    [
        request(),
        event({"ping": 1}),
        Frame(RESP, 200),
        Frame(REQ, payload=b"not json"),
        Frame(REQ, payload=b'{"ua":7}'),
        Frame(REQ, payload=b'{"ua":"' + b"x" * 5000 + b'"}'),
        Frame(REQ | RESP),
        Frame(0),
    ],
    ids=["request", "event", "response", "no json", "ua", "long", "two kinds", "no kind"],
)
def test_anything_but_hello_first_is_refused_and_closes(first: Frame) -> None:
    stranger = Stranger()
    (refusal,) = stranger.say(first)
    assert (refusal.flags, refusal.code) == (RESP | END, 400)
    assert said(refusal)["error"] == "bad_request"
    assert failure(stranger.events).code == 400
    assert stranger.session.state is State.CLOSED


def test_a_second_hello_is_refused_and_closes() -> None:
    stranger = Stranger().greeted()
    (refusal,) = stranger.say(stranger.hello)
    assert refusal.code == 400
    assert failure(stranger.events).name == "SecondHello"


def test_no_hello_within_the_handshake_timeout_is_told_408_and_closed() -> None:
    stranger = Stranger()
    due = stranger.session.deadline()
    assert due == stranger.now + SETTINGS.handshake_timeout_s
    assert stranger.session.wake(now=due - 0.01) == []
    failed = failure(stranger.session.wake(now=due))
    assert (failed.code, failed.token) == (408, "timeout")
    assert stranger.hear()[0].code == 408


def test_a_dialler_reports_what_the_listener_refused_it_with() -> None:
    pair = Pair()
    pair.dialler.greet("x")
    refusal = Frame(RESP | END, 503, payload=b'{"error":"busy","message":"full"}')
    failed = failure(pair.dialler.receive(encode(refusal), now=pair.now))
    assert (failed.code, failed.token, failed.reason, failed.is_ours) == (
        503,
        "busy",
        "full",
        False,
    )
    assert pair.dialler.take_output(now=pair.now)[0] == encode(
        Frame(REQ, payload=b'{"ua":"x","features":{"comp":["zstd"],"pq":"hybrid","gossip":1}}')
    )


@pytest.mark.parametrize(
    "answer",
    [b"{}", b'{"max_frame":1,"versions":[1]}', b'{"max_frame":1048576,"versions":[2]}', b"x"],
)
def test_a_dialler_leaves_a_listener_it_cannot_speak_with(answer: bytes) -> None:
    pair = Pair()
    pair.dialler.greet("x")
    failed = failure(pair.dialler.receive(encode(Frame(RESP, 200, payload=answer)), now=pair.now))
    assert failed.code == 400


def test_requests_before_hello_are_our_own_misuse() -> None:
    with pytest.raises(LocalMisuse):
        Pair().dialler.request(App.ECHO, b"")
    with pytest.raises(LocalMisuse):
        Pair().listener.greet("listeners do not greet")


# -- requests ---------------------------------------------------------------------------


def test_a_request_and_its_answer_carry_tenant_app_and_number() -> None:
    stranger = Stranger().greeted()
    head = Frame(REQ | START | END, app=App.ECHO, tenant=5, corr_id=99, cap=b"c", payload=b"p")
    stranger.say(head)
    assert stranger.events == [Requested(99, App.ECHO, 5, b"c", b"p", is_whole=True)]
    stranger.session.respond(99, b"r")
    (answer,) = stranger.hear()
    assert answer == Frame(RESP | START | END, 200, App.ECHO, 5, 99, payload=b"r")


def test_an_answer_with_bulk_starts_with_its_head_and_ends_with_its_last_chunk() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1))
    source = Bytes(b"z" * (2 * CHUNK_BYTES + 5))
    stranger.session.respond(1, b"head", source=source)
    head, *bulk = stranger.hear()
    assert (head.flags, head.code, head.payload) == (RESP | START, 200, b"head")
    assert [(f.flags, f.code, len(f.payload)) for f in bulk] == [
        (RESP, 206, CHUNK_BYTES),
        (RESP, 206, CHUNK_BYTES),
        (RESP | END, 206, 5),
    ]
    assert source.closed == 1
    assert [a.code for a in stranger.answered] == [200]


def test_requests_are_answered_interleaved_and_out_of_order() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1), request(2), request(3))
    stranger.session.respond(3, b"3")
    stranger.session.respond(1, b"1", source=Bytes(b"a" * 3 * CHUNK_BYTES))
    stranger.session.respond(2, b"2", source=Bytes(b"b" * 3 * CHUNK_BYTES))
    order = [frame.corr_id for frame in stranger.hear()]
    assert order == [3, 1, 2, 1, 2, 1, 2, 1, 2]


def test_a_small_answer_does_not_wait_for_a_large_one() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1), request(2))
    stranger.session.respond(1, b"", source=Bytes(bytes(16 * CHUNK_BYTES)))
    stranger.session.take_output(now=stranger.now)
    stranger.session.respond(2, b"small")
    data, _ = stranger.session.take_output(now=stranger.now)
    data += stranger.session.take_output(now=stranger.now)[0]
    decoder = FrameDecoder()
    decoder.feed(data)
    seen = [f.corr_id for f in iter(decoder.next_frame, None)]
    assert 2 in seen


def test_a_pong_and_a_refusal_go_before_bulk() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1))
    stranger.session.respond(1, b"", source=Bytes(bytes(16 * CHUNK_BYTES)))
    stranger.session.take_output(now=stranger.now)
    stranger.events += stranger.session.receive(
        encode(event({"ping": 4})) + encode(request(2)), now=stranger.now
    )
    stranger.session.refuse(2, Refused(404, "not_found", "no"), now=stranger.now)
    data, _ = stranger.session.take_output(now=stranger.now)
    decoder = FrameDecoder()
    decoder.feed(data)
    first, second, third = iter(decoder.next_frame, None)
    assert said(first) == {"pong": 4}
    assert (second.corr_id, second.code) == (2, 404)
    assert (third.corr_id, len(third.payload)) == (1, CHUNK_BYTES)


def test_one_write_never_holds_more_than_one_chunk_of_bulk() -> None:
    stranger = Stranger().greeted()
    for corr_id in range(1, 40):
        stranger.events += stranger.session.receive(encode(request(corr_id)), now=stranger.now)
        stranger.session.respond(corr_id, b"", source=Bytes(bytes(3 * CHUNK_BYTES)))
    while True:
        data, _ = stranger.session.take_output(now=stranger.now)
        if not data:
            break
        decoder = FrameDecoder()
        decoder.feed(data)
        sizes = [len(f.payload) for f in iter(decoder.next_frame, None)]
        assert sum(size > 0 for size in sizes) <= 1


def test_one_request_too_many_gets_429_and_the_session_stays() -> None:
    stranger = Stranger(session_settings(inflight_frames=2)).greeted()
    (refusal,) = stranger.say(request(1), request(2), request(3))
    assert (refusal.corr_id, refusal.code) == (3, 429)
    assert said(refusal)["error"] == "quota_exhausted"
    assert said(refusal)["retry_after_ms"] > 0
    stranger.session.respond(1, b"")
    stranger.hear()
    stranger.say(request(4))
    assert [e.corr_id for e in stranger.events if isinstance(e, Requested)] == [1, 2, 4]


def test_more_requests_a_second_than_allowed_get_429_until_time_passes() -> None:
    stranger = Stranger(session_settings(max_rps=2)).greeted()
    for corr_id in (1, 2):
        stranger.say(request(corr_id))
        stranger.session.respond(corr_id, b"")
    (refusal,) = [f for f in stranger.say(request(3)) if f.code == 429]
    wait_ms = said(refusal)["retry_after_ms"]
    stranger.now += wait_ms / 1000
    stranger.say(request(4))
    assert isinstance(stranger.events[-1], Requested)


def test_the_node_may_refuse_what_the_session_allows() -> None:
    busy = Refused(503, "busy", "full", retry_after_ms=9)
    pair = Pair(admit=lambda frame: busy).greet()
    pair.dialler.request(App.ECHO, b"x")
    pair.settle()
    assert pair.take(pair.listener) == []
    (answer,) = pair.take(pair.dialler)
    assert isinstance(answer, Responded)
    assert answer.code == 503
    assert [(a.token, a.was_admitted) for a in pair.answered] == [("busy", False)]


def test_a_refused_upload_may_go_on_arriving_and_is_thrown_away() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START))
    stranger.session.refuse(1, Refused(413, "too_large", "no"), now=stranger.now)
    stranger.hear()
    stranger.events.clear()
    assert stranger.say(more(1, b"late"), more(1, b"last", last=True)) == []
    assert stranger.events == []
    stranger.say(request(1))  # its END has come: the number is free again
    assert isinstance(stranger.events[-1], Requested)


def test_uploads_refused_and_never_ended_cost_the_link_in_the_end() -> None:
    stranger = Stranger(session_settings(inflight_frames=1, max_rps=100_000)).greeted()
    for corr_id in range(1, 400):
        stranger.say(request(corr_id, REQ | START))
        if stranger.session.state is State.CLOSED:
            break
    assert failure(stranger.events).name == "RefusedUploads"


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        ([more(5, b"x")], "NoSuchRequest"),
        ([request(1), more(1, b"x")], "NoSuchRequest"),
        ([request(1, REQ | START), request(1)], "DuplicateRequest"),
        ([Frame(REQ | EVENT)], "BadKind"),
        ([Frame(EVENT, payload=b"[]")], "BadJson"),
    ],
    ids=["unknown", "after END", "twice", "two kinds", "no object"],
)
def test_a_broken_conversation_is_refused_and_closes(frames: list[Frame], name: str) -> None:
    stranger = Stranger().greeted()
    answers = stranger.say(*frames)
    assert answers[-1].code == 400
    assert failure(stranger.events).name == name


def test_a_broken_envelope_is_answered_and_closes_and_what_came_before_is_delivered() -> None:
    stranger = Stranger().greeted()
    answers = stranger.say(request(1), b"\xff" * 38)
    assert isinstance(stranger.events[0], Requested)
    assert failure(stranger.events).name == "BadFlags"
    assert answers[-1].code == 400
    stranger.session.respond(1, b"too late")
    stranger.session.refuse(1, Refused(500, "internal", ""), now=stranger.now)
    assert stranger.say(request(2)) == []


def test_a_compressed_request_is_inflated_and_a_bomb_refused_without_closing() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START | END | COMP, zstd.compress(b"hello hello")))
    assert isinstance(opened := stranger.events[-1], Requested)
    assert opened.payload == b"hello hello"
    (refusal,) = stranger.say(request(2, REQ | START | END | COMP, zstd.compress(bytes(9000))))
    assert (refusal.code, said(refusal)["error"]) == (413, "ratio_cap")
    assert stranger.session.state is State.OPEN


def test_a_bomb_in_the_middle_of_an_upload_refuses_the_upload_only() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START))
    bomb = Frame(REQ | COMP, app=App.ECHO, corr_id=1, payload=zstd.compress(bytes(9000)))
    (refusal,) = stranger.say(bomb)
    assert refusal.code == 413
    assert stranger.events[-1] == Abandoned(1, "ratio_cap")
    assert stranger.say(more(1, b"", last=True)) == []


def test_a_source_that_fails_refuses_its_request_and_is_closed_once() -> None:
    class Gone(Bytes):
        def read(self, limit: int) -> tuple[bytes, bool] | None:
            if self.offset:
                raise ObjectGone("purged")
            return super().read(limit)

    stranger = Stranger().greeted()
    stranger.say(request(1))
    source = Gone(bytes(3 * CHUNK_BYTES))
    stranger.session.respond(1, b"", source=source)
    *_, last = stranger.hear()
    assert (last.flags, last.code) == (RESP | END, 404)
    assert source.closed == 1
    assert stranger.events[-1] == Abandoned(1, "not_found")
    assert [a.code for a in stranger.answered] == [404]


def test_answering_twice_is_our_own_misuse() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START))
    stranger.session.respond(1, b"", source=Bytes(b"x"))
    with pytest.raises(LocalMisuse):
        stranger.session.respond(1, b"")


def test_a_lost_link_ends_every_request_and_source_once() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1), request(2, REQ | START))
    source = Bytes(bytes(100 * CHUNK_BYTES))
    stranger.session.respond(1, b"", source=source)
    stranger.session.take_output(now=stranger.now)
    stranger.session.close(now=stranger.now)
    assert source.closed == 1
    assert sorted((a.corr_id, a.token) for a in stranger.answered) == [
        (1, "link_lost"),
        (2, "link_lost"),
    ]
    late = Bytes(b"late")
    stranger.session.respond(2, b"", source=late)
    assert late.closed == 1


# -- credit -----------------------------------------------------------------------------


def test_a_sender_stops_at_its_credit_and_goes_on_when_more_comes() -> None:
    stranger = Stranger(session_settings(send_window_frames=2)).greeted()
    stranger.say(request(1))
    stranger.session.respond(1, b"", source=Bytes(bytes(5 * CHUNK_BYTES)))
    assert sum(len(f.payload) for f in stranger.hear()) == 2 * CHUNK_BYTES
    grant = event({"credit": 3 * CHUNK_BYTES}, corr_id=1)
    assert sum(len(f.payload) for f in stranger.say(grant)) == CHUNK_BYTES
    assert stranger.say(grant) == []  # absolute: the same credit again is harmless
    assert stranger.say(event({"credit": 10}, corr_id=1)) == []  # and an older one, too
    rest = stranger.say(event({"credit": 99 * CHUNK_BYTES}, corr_id=1))
    assert sum(len(f.payload) for f in rest) == 2 * CHUNK_BYTES
    assert rest[-1].flags & END


def test_a_peer_without_credit_is_slowed_by_its_connection_alone() -> None:
    stranger = Stranger(session_settings(send_window_frames=1), credit=False).greeted()
    stranger.say(request(1))
    stranger.session.respond(1, b"", source=Bytes(bytes(5 * CHUNK_BYTES)))
    assert sum(len(f.payload) for f in stranger.hear()) == 5 * CHUNK_BYTES


def test_credit_is_given_back_each_half_window() -> None:
    stranger = Stranger(session_settings(send_window_frames=4)).greeted()
    stranger.say(request(1, REQ | START))
    assert stranger.say(more(1, bytes(CHUNK_BYTES))) == []
    stranger.session.consumed(1, CHUNK_BYTES)
    assert stranger.hear() == []
    stranger.say(more(1, bytes(CHUNK_BYTES)))
    stranger.session.consumed(1, CHUNK_BYTES)
    (grant,) = stranger.hear()
    assert (grant.flags, grant.corr_id, said(grant)) == (EVENT, 1, {"credit": 6 * CHUNK_BYTES})


def test_sending_past_the_credit_closes_with_its_own_error() -> None:
    stranger = Stranger(session_settings(send_window_frames=1)).greeted()
    stranger.say(request(1, REQ | START))
    (refusal,) = stranger.say(more(1, bytes(CHUNK_BYTES)), more(1, b"!"))
    assert said(refusal)["error"] == "credit_violation"
    assert failure(stranger.events).token == "credit_violation"


def test_a_chunk_over_64_kib_closes_for_a_peer_that_knows_better() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START))
    stranger.say(more(1, bytes(CHUNK_BYTES + 1)))
    assert failure(stranger.events).name == "ChunkTooLarge"


def test_a_stranger_that_uploads_faster_than_it_is_used_is_not_read_any_further() -> None:
    stranger = Stranger(session_settings(send_window_frames=1), credit=False).greeted()
    stranger.say(request(1, REQ | START))
    assert stranger.session.wants_input
    stranger.say(more(1, bytes(CHUNK_BYTES)))
    assert not stranger.session.wants_input
    stranger.session.consumed(1, CHUNK_BYTES)
    assert stranger.session.wants_input


def test_credit_for_a_stream_that_is_over_is_no_fault() -> None:
    stranger = Stranger().greeted()
    assert stranger.say(event({"credit": 5}, corr_id=77)) == []
    stranger.session.consumed(77, 5)
    assert stranger.session.state is State.OPEN


@pytest.mark.parametrize("credit", [-1, True, "9", 1.5, None, 1 << 70])
def test_a_credit_that_is_no_count_is_ignored(credit: object) -> None:
    stranger = Stranger(session_settings(send_window_frames=1)).greeted()
    stranger.say(request(1))
    stranger.session.respond(1, b"", source=Bytes(bytes(3 * CHUNK_BYTES)))
    stranger.hear()
    assert stranger.say(event({"credit": credit}, corr_id=1)) == []


# -- liveness and goodbye ---------------------------------------------------------------


def test_a_ping_is_answered_with_its_number() -> None:
    stranger = Stranger().greeted()
    (pong,) = stranger.say(event({"ping": 41}))
    assert said(pong) == {"pong": 41}


def test_our_ping_is_answered_by_the_other_side() -> None:
    pair = Pair().greet()
    number = pair.dialler.ping()
    pair.settle()
    assert pair.take(pair.dialler) == [Ponged(number)]


def test_a_control_message_of_a_later_version_is_ignored() -> None:
    stranger = Stranger().greeted()
    assert stranger.say(event({"future": 1}), event({"goaway": 7})) == []
    assert stranger.session.state is State.OPEN


def test_an_event_of_an_application_is_handed_on() -> None:
    pair = Pair().greet()
    pair.dialler.notify(App.GOSSIP, b"cbor")
    pair.settle()
    assert pair.take(pair.listener) == [Notified(App.GOSSIP, b"cbor")]


def test_silence_closes_a_listener_and_pings_keep_it_open() -> None:
    stranger = Stranger().greeted()
    stranger.now += SETTINGS.idle_timeout_s - 1
    stranger.say(event({"ping": 1}))
    due = stranger.session.deadline()
    assert due == stranger.now + SETTINGS.idle_timeout_s
    assert failure(stranger.session.wake(now=due)).token == "timeout"


def test_a_dialler_pings_by_itself_so_that_an_idle_session_lives() -> None:
    pair = Pair().greet()
    for _ in range(20):
        due = min(d for d in (pair.dialler.deadline(), pair.listener.deadline()) if d)
        pair.now = due
        for side in (pair.dialler, pair.listener):
            pair.told[side] += side.wake(now=pair.now)
        pair.settle()
    assert pair.dialler.state is pair.listener.state is State.OPEN


def test_a_dialler_gives_up_on_a_listener_that_never_answers_its_pings() -> None:
    pair = Pair().greet()
    start = pair.now
    for _ in range(10):
        due = pair.dialler.deadline()
        if due is None:
            break
        pair.told[pair.dialler] += pair.dialler.wake(now=due)
        pair.dialler.take_output(now=due)
        pair.now = due
    assert failure(pair.take(pair.dialler)).token == "timeout"
    assert pair.now == start + SETTINGS.idle_timeout_s


def test_a_peer_that_only_reads_is_not_silent() -> None:
    stranger = Stranger(credit=False).greeted()
    stranger.say(request(1))
    stranger.session.respond(1, b"", source=Bytes(bytes(9 * CHUNK_BYTES)))
    for _ in range(5):
        stranger.now += SETTINGS.idle_timeout_s - 1
        assert stranger.session.wake(now=stranger.now) == []
        stranger.session.take_output(now=stranger.now)


def test_a_frame_that_drips_is_timed_out_however_often_it_drips() -> None:
    stranger = Stranger().greeted()
    data = encode(request(1, payload=b"x" * 1000))
    for byte in data:
        stranger.now += SETTINGS.read_timeout_s / 100
        stranger.events += stranger.session.receive(bytes([byte]), now=stranger.now)
        stranger.events += stranger.session.wake(now=stranger.now)
    failed = failure(stranger.events)
    assert (failed.code, failed.reason) == (408, "a frame was begun and not finished")


def test_a_begun_frame_is_not_late_for_the_time_we_did_not_read() -> None:
    stranger = Stranger().greeted()
    pings = b"".join(encode(event({"ping": n})) for n in range(40))
    half = encode(request(1, payload=b"x" * 1000))[:500]
    stranger.session.receive(pings + half, now=stranger.now)
    assert not stranger.session.wants_input
    stranger.now += SETTINGS.read_timeout_s + 1
    stranger.session.receive(b"", now=stranger.now)
    stranger.hear()
    assert stranger.session.wants_input
    assert stranger.session.wake(now=stranger.now) == []


def test_an_upload_that_stalls_is_refused_and_the_session_stays() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START))
    stranger.session.consumed(1, 0)
    stranger.now += SETTINGS.read_timeout_s
    assert stranger.session.deadline() == stranger.now
    assert stranger.session.wake(now=stranger.now) == [Abandoned(1, "timeout")]
    assert stranger.hear()[0].code == 408
    assert stranger.session.state is State.OPEN


def test_an_upload_that_we_hold_back_does_not_count_as_stalled() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START), more(1, b"held by us"))
    stranger.now += SETTINGS.read_timeout_s
    stranger.say(event({"ping": 1}))
    assert stranger.session.wake(now=stranger.now) == []


def test_after_goodbye_open_requests_finish_and_new_ones_are_refused() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1))
    stranger.session.leave("draining", 250)
    goodbye, refusal = stranger.say(request(2))
    assert said(goodbye) == {"goaway": {"reason": "draining", "retry_after_ms": 250}}
    assert (refusal.code, said(refusal)["error"]) == (503, "draining")
    assert "retry_after_ms" in said(refusal)
    stranger.session.respond(1, b"done")
    assert stranger.hear()[0].payload == b"done"
    assert stranger.session.is_idle


def test_a_peers_goodbye_is_told_and_stops_our_own_requests() -> None:
    pair = Pair().greet()
    pair.listener.leave("draining", 9)
    pair.settle()
    assert pair.take(pair.dialler) == [PeerLeaving("draining", 9)]
    with pytest.raises(LocalMisuse):
        pair.dialler.request(App.ECHO, b"")


def test_closing_twice_and_acting_on_a_closed_session_does_nothing() -> None:
    stranger = Stranger().greeted()
    stranger.session.close(now=stranger.now)
    stranger.session.close(now=stranger.now)
    stranger.session.leave("x", 1)
    stranger.session.notify(App.GOSSIP, b"")
    stranger.session.ping()
    assert stranger.session.receive(b"noise", now=stranger.now) == []
    assert stranger.session.wake(now=stranger.now) == []
    assert stranger.session.deadline() is None
    assert stranger.hear() == []


# -- bounds -----------------------------------------------------------------------------


def test_a_peer_that_asks_and_never_reads_is_not_decoded_any_further() -> None:
    stranger = Stranger(session_settings(max_rps=100_000)).greeted()
    flood = b"".join(encode(event({"ping": n})) for n in range(10_000))
    stranger.session.receive(flood, now=stranger.now)
    assert not stranger.session.wants_input
    data, _ = stranger.session.take_output(now=stranger.now)
    assert len(data) < 32 << 10
    answers = 0
    while True:  # read at last, every ping has its answer
        answers += data.count(b'"pong"')
        stranger.session.receive(b"", now=stranger.now)
        data, _ = stranger.session.take_output(now=stranger.now)
        if not data:
            break
    assert answers == 10_000


def test_nothing_is_read_from_a_source_that_the_connection_does_not_ask_for() -> None:
    stranger = Stranger().greeted()
    sources = [Bytes(bytes(4 * CHUNK_BYTES)) for _ in range(10)]
    for corr_id, source in enumerate(sources, 1):
        stranger.events += stranger.session.receive(encode(request(corr_id)), now=stranger.now)
        stranger.session.respond(corr_id, b"", source=source)
    assert sum(source.offset for source in sources) == 0


# -- both ends --------------------------------------------------------------------------


def serve(pair: Pair, held: dict[int, bytearray]) -> None:
    """The listening side gives every upload back."""
    for told in pair.take(pair.listener):
        match told:
            case Requested(corr_id, is_whole=True, payload=payload):
                pair.listener.respond(corr_id, payload)
            case Requested(corr_id):
                held[corr_id] = bytearray()
            case Body(corr_id, data, is_last):
                held[corr_id] += data
                pair.listener.consumed(corr_id, len(data))
                if is_last:
                    pair.listener.respond(corr_id, b"", source=Bytes(bytes(held.pop(corr_id))))


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 4 * CHUNK_BYTES), min_size=1, max_size=6),
    window=st.integers(1, 4),
    cut=st.sampled_from([1 << 20, 65_536, 1000, 977]),
)
def test_whatever_is_uploaded_interleaved_comes_back_whole(
    sizes: list[int], window: int, cut: int
) -> None:
    pair = Pair(listener=session_settings(send_window_frames=window), cut=cut).greet()
    sent = {}
    for index, size in enumerate(sizes):
        data = bytes([index + 1]) * size
        source = Bytes(data) if size else None
        sent[pair.dialler.request(App.ECHO, b"", source=source)] = data
    held: dict[int, bytearray] = {}
    back = {corr_id: b"" for corr_id in sent}
    finished = set()
    while pair.carry():
        serve(pair, held)
        for told in pair.take(pair.dialler):
            assert isinstance(told, Responded)
            if not told.is_first:
                back[told.corr_id] += told.payload
                pair.dialler.consumed(told.corr_id, len(told.payload))
            if told.is_last:
                finished.add(told.corr_id)
    assert finished == set(sent)
    assert back == sent
    assert pair.listener.open_requests == 0
    assert pair.dialler.is_idle
    assert len(pair.answered) == len(sent)


def test_an_answer_before_the_last_byte_ends_the_upload_on_both_sides() -> None:
    pair = Pair(listener=session_settings(send_window_frames=1)).greet()
    source = Bytes(bytes(9 * CHUNK_BYTES))
    corr_id = pair.dialler.request(App.ECHO, b"", source=source)
    pair.carry()
    pair.listener.refuse(corr_id, Refused(413, "too_large", "no"), now=pair.now)
    pair.settle()
    assert source.closed == 1
    assert pair.dialler.is_idle
    pair.take(pair.listener)
    pair.take(pair.dialler)
    again = pair.dialler.request(App.ECHO, b"again")
    pair.settle()
    assert [e.corr_id for e in pair.take(pair.listener) if isinstance(e, Requested)] == [again]


def test_a_cancelled_request_is_forgotten_and_its_answer_dropped() -> None:
    pair = Pair().greet()
    corr_id = pair.dialler.request(App.ECHO, b"x")
    pair.settle()
    pair.dialler.cancel(corr_id)
    pair.dialler.cancel(corr_id)
    pair.listener.respond(corr_id, b"", source=Bytes(bytes(2 * CHUNK_BYTES)))
    pair.settle()
    assert pair.take(pair.dialler) == []
    assert pair.dialler.state is State.OPEN


def test_the_answer_to_a_cancelled_request_ends_on_the_other_side_too() -> None:
    pair = Pair(listener=session_settings(send_window_frames=1)).greet()
    corr_id = pair.dialler.request(App.ECHO, b"x")
    pair.settle()
    pair.listener.respond(corr_id, b"", source=Bytes(bytes(9 * CHUNK_BYTES)))
    pair.dialler.cancel(corr_id)
    pair.settle()
    assert pair.listener.open_requests == 0
    assert pair.take(pair.dialler) == []


def test_an_answer_that_gets_no_credit_is_given_up_so_that_its_place_is_free() -> None:
    stranger = Stranger(session_settings(send_window_frames=1)).greeted()
    stranger.say(request(1))
    source = Bytes(bytes(3 * CHUNK_BYTES))
    stranger.session.respond(1, b"", source=source)
    stranger.hear()
    for step in range(1, 4):  # as long as credit comes, it may be slow
        stranger.now += SETTINGS.idle_timeout_s - 1
        stranger.say(event({"credit": CHUNK_BYTES + step * 1000}, corr_id=1))
        assert stranger.session.wake(now=stranger.now) == []
    for _ in range(2):  # and a ping is no credit
        stranger.now += SETTINGS.idle_timeout_s / 2
        stranger.say(event({"ping": 1}))
    assert stranger.session.wake(now=stranger.now) == [Abandoned(1, "timeout")]
    assert source.closed == 1
    assert stranger.session.open_requests == 0
    assert stranger.session.state is State.OPEN


def test_our_own_source_that_fails_ends_the_upload_short() -> None:
    class Broken(Bytes):
        def read(self, limit: int) -> tuple[bytes, bool] | None:
            raise TransportError("the file ended")

    pair = Pair().greet()
    corr_id = pair.dialler.request(App.ECHO, b"", source=Broken(b"x"))
    pair.settle()
    assert pair.take(pair.listener)[-1] == Body(corr_id, b"", is_last=True)


@given(st.lists(st.binary(max_size=120), max_size=10), st.booleans())
def test_noise_makes_a_session_fail_or_wait_and_never_raise(
    pieces: list[bytes], greeted: bool
) -> None:
    session = Session(Role.LISTENER, SETTINGS, now=0.0)
    if greeted:
        session.receive(encode(Frame(REQ, payload=b"{}")), now=0.0)
    for step, piece in enumerate(pieces):
        found = session.receive(piece, now=float(step))
        found += session.wake(now=float(step))
        session.take_output(now=float(step))
        for told in found[:-1]:
            assert not isinstance(told, LinkFailed)
    assert isinstance(session.state, State)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [REQ, RESP, EVENT, REQ | START, REQ | START | END, REQ | END, RESP | END]
            ),
            st.integers(0, 4),
            st.sampled_from([0, 0x101, 0x201, 0x301, 0xF01, 7]),
            st.binary(max_size=30) | st.sampled_from([b"{}", b'{"credit":9}', b'{"ping":1}']),
        ),
        max_size=40,
    )
)
def test_any_order_of_well_formed_frames_leaves_a_legal_state_and_counts_every_ending_once(
    script: list[tuple[int, int, int, bytes]],
) -> None:
    stranger = Stranger(session_settings(inflight_frames=3)).greeted()
    for flags, corr_id, app, payload in script:
        stranger.say(Frame(flags, app=app, corr_id=corr_id, payload=payload))
        for told in stranger.events:
            if isinstance(told, Requested) and corr_id % 2:
                stranger.session.refuse(
                    told.corr_id, Refused(404, "not_found", ""), now=stranger.now
                )
            elif isinstance(told, Body):
                stranger.session.consumed(told.corr_id, len(told.data))
        stranger.events.clear()
        assert stranger.session.open_requests <= 3
    opened = stranger.session.open_requests
    ended = len(stranger.answered)
    stranger.session.close(now=stranger.now)
    assert len(stranger.answered) == ended + opened


# -- what links share -------------------------------------------------------------------


def long_frame(flags: int, corr_id: int = 1, app: int = App.ECHO) -> bytes:
    return encode(Frame(flags, app=app, corr_id=corr_id, payload=bytes(300_000)))


def crowded() -> Stranger:
    """A greeted stranger on a node whose pool is empty."""
    stranger = Stranger(credit=False).greeted()
    stranger.session._decoder = FrameDecoder(Share(Pool(0)))
    return stranger


@pytest.mark.parametrize("flags", [REQ | START | END, REQ | START])
def test_a_long_frame_there_is_no_room_for_is_answered_503_and_the_session_stays(
    flags: int,
) -> None:
    stranger = crowded()
    data = long_frame(flags)
    answers = stranger.say(data[:100]) + stranger.say(data[100:])
    assert [(a.corr_id, a.code, said(a)["error"]) for a in answers] == [(1, 503, "busy")]
    assert said(answers[0])["retry_after_ms"] > 0
    stranger.say(request(2))
    assert isinstance(stranger.events[-1], Requested)


def test_a_long_frame_without_room_in_an_upload_refuses_the_upload_only() -> None:
    stranger = crowded()
    stranger.say(request(1, REQ | START))
    data = long_frame(REQ)
    (refusal,) = stranger.say(data[:50]) + stranger.say(data[50:])
    assert refusal.code == 503
    assert stranger.events[-1] == Abandoned(1, "busy")
    assert stranger.say(more(1, b"rest", last=True)) == []


def test_a_long_frame_without_room_behind_a_refused_upload_is_only_thrown_away() -> None:
    stranger = crowded()
    stranger.say(request(1, REQ | START))
    stranger.session.refuse(1, Refused(413, "too_large", ""), now=stranger.now)
    stranger.hear()
    data = long_frame(REQ | END)
    assert stranger.say(data[:50]) + stranger.say(data[50:]) == []
    stranger.say(request(1))
    assert isinstance(stranger.events[-1], Requested)


@pytest.mark.parametrize("flags", [REQ, EVENT, RESP, REQ | START | RESP])
def test_a_long_frame_without_room_that_nobody_can_answer_closes(flags: int) -> None:
    stranger = crowded()
    stranger.say(long_frame(flags, corr_id=9)[:100])
    assert failure(stranger.events).token in {"busy", "bad_request"}


def test_a_frame_that_is_half_here_can_be_dropped_and_its_request_is_told() -> None:
    stranger = Stranger().greeted()
    wire = encode(request(1, payload=b"secret" * 100)) + encode(request(3, payload=b"next"))
    stranger.say(wire[:200])
    assert stranger.session.drop_input("purged", now=stranger.now) == []
    (refusal,) = stranger.hear()
    assert (refusal.code, refusal.corr_id, said(refusal)["message"]) == (503, 1, "purged")
    stranger.say(wire[200:])
    (asked,) = [found for found in stranger.events if isinstance(found, Requested)]
    assert asked.corr_id == 3


def test_a_dropped_part_of_an_upload_abandons_it_and_the_session_stays() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1, REQ | START))
    wire = encode(more(1, b"secret" * 100))
    stranger.say(wire[:300])
    assert stranger.session.drop_input("purged", now=stranger.now) == [Abandoned(1, "busy")]
    stranger.say(wire[300:], more(1, b"", last=True), request(3))
    assert stranger.session.state is State.OPEN


def test_frames_nobody_looked_at_cannot_be_dropped_alone() -> None:
    stranger = Stranger().greeted()
    pings = [event({"ping": n}) for n in range(200)]
    stranger.session.receive(b"".join(map(encode, pings)), now=stranger.now)
    assert stranger.session.drop_input("purged", now=stranger.now) is None


def test_a_session_that_is_refused_says_so_and_keeps_nothing() -> None:
    stranger = Stranger()
    stranger.say(Frame(REQ | START | END, cap=b"token", payload=stranger.hello.payload))
    stranger.say(request(1, REQ | START))
    assert stranger.session.cap == b"token"
    denied = Refused(403, "denied", "the capability was revoked")
    stranger.session.close(now=stranger.now, refusal=denied)
    (last,) = stranger.hear()
    assert (last.code, last.corr_id, said(last)["error"]) == (403, 0, "denied")
    assert (stranger.session.state, stranger.session.cap) == (State.CLOSED, b"")
    assert [answer.token for answer in stranger.answered] == ["link_lost"]


def test_streams_of_small_and_of_large_pieces_share_the_connection_by_bytes() -> None:
    stranger = Stranger(credit=False).greeted()
    stranger.say(request(1), request(2))
    small, large = Bytes(bytes(1 << 20), chunk=5000), Bytes(bytes(1 << 20))
    stranger.session.respond(1, b"", source=small)
    stranger.session.respond(2, b"", source=large)
    while small.offset < 1 << 19:
        stranger.session.take_output(now=stranger.now)
        assert abs(small.offset - large.offset) <= 2 * CHUNK_BYTES


def test_control_frames_leave_even_when_there_is_no_room_for_bulk() -> None:
    stranger = Stranger().greeted()
    stranger.say(request(1))
    stranger.session.respond(1, b"", source=Bytes(bytes(100)))
    stranger.session.receive(encode(event({"ping": 1})), now=stranger.now)
    data, _ = stranger.session.take_output(bulk=False, now=stranger.now)
    decoder = FrameDecoder()
    decoder.feed(data)
    assert [said(f) for f in iter(decoder.next_frame, None)] == [{"pong": 1}]
    assert stranger.session.has_output


# -- what nothing else limits -------------------------------------------------------------


def ping(number: int) -> Frame:
    return Frame(EVENT, payload=b'{"ping":%d}' % number)


def missing(number: int, size: int = 0) -> Frame:
    return Frame(REQ | START | END, app=App.ECHO, corr_id=number, payload=bytes(size))


def flooded(peer: Stranger, make: Any, count: int) -> int:
    """Frames that were answered, the connection taking everything at once."""
    return len(peer.say(*(make(number) for number in range(1, count + 1))))


def test_a_flood_of_pings_waits_and_is_answered_at_a_rate() -> None:
    peer = Stranger(session_settings(max_rps=100)).greeted()
    answered = flooded(peer, ping, 1000)
    assert 256 <= answered <= 260
    assert not peer.session.wants_input
    for _ in range(40):
        peer.now += 0.1
        peer.events += peer.session.wake(now=peer.now)
        answered += len(peer.hear())
    assert 600 <= answered <= 680
    for _ in range(40):
        peer.now += 0.1
        peer.events += peer.session.wake(now=peer.now)
        answered += len(peer.hear())
    assert answered == 1000
    assert peer.session.wants_input
    assert peer.session.state is State.OPEN


def test_a_flood_of_requests_is_refused_at_a_rate() -> None:
    peer = Stranger(session_settings(max_rps=1)).greeted()
    assert 256 <= flooded(peer, missing, 1000) <= 260
    assert not peer.session.wants_input


def test_refused_bytes_weigh_more_than_refused_words() -> None:
    peer = Stranger(session_settings(max_rps=1)).greeted()
    assert flooded(peer, lambda number: missing(number, CHUNK_BYTES), 200) < 60


def test_a_session_that_waits_for_nothing_else_wakes_when_its_patience_is_back() -> None:
    peer = Stranger(session_settings(max_rps=100)).greeted()
    flooded(peer, ping, 1000)
    due = peer.session.deadline()
    assert due is not None
    assert peer.now < due < peer.now + 0.2
    assert peer.session.wake(now=due) == []
    assert peer.session.has_output


def test_a_frame_that_we_let_wait_is_not_late() -> None:
    peer = Stranger(session_settings(max_rps=1, read_timeout_s=1.0, idle_timeout_s=60.0)).greeted()
    flooded(peer, ping, 266)
    for _ in range(20):
        peer.now += 0.9
        peer.events += peer.session.wake(now=peer.now)
        peer.hear()
    assert not [event for event in peer.events if isinstance(event, LinkFailed)]


def test_bulk_and_its_credit_never_run_out_of_patience() -> None:
    pair = Pair(listener=session_settings(max_rps=1), dialler=session_settings(max_rps=1)).greet()
    data = bytes(CHUNK_BYTES)
    source = Bytes(data * 600)
    corr_id = pair.dialler.request(App.ECHO, b"", source=source)
    received = 0
    while pair.carry():
        for event in pair.take(pair.listener):
            if isinstance(event, Body):
                received += len(event.data)
                pair.listener.consumed(corr_id, len(event.data))
    assert received == len(source.data)
