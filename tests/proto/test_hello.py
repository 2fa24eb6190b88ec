"""HELLO: what is read of a stranger's words, and what is not taken for granted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import PeerViolation
from overlay_edge.proto.frame import CHUNK_BYTES, MAX_FRAME_BYTES, REQ, RESP, START, Frame
from overlay_edge.proto.hello import (
    MAX_HELLO_BYTES,
    MAX_NAME_CHARS,
    MAX_WINDOW_FRAMES,
    Hello,
    answer_frame,
    read_answer,
    read_request,
    request_frame,
)
from tests.support.pair import SETTINGS, settings

FIVE = {
    "max_frame": MAX_FRAME_BYTES,
    "max_inflight": 8,
    "flags_supported": 255,
    "versions": [1],
    "transports": ["tcp+tls"],
}
OURS = {"features": {}, "window_frames": 4}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def printed(**members: object) -> bytes:
    return json.dumps(members).encode()


# -- the dialling side's ----------------------------------------------------------------


@pytest.mark.parametrize("ua", [7, True, ["x"], {"x": 1}, 1.5])
def test_a_program_name_that_is_no_text_is_refused(ua: object) -> None:
    with pytest.raises(PeerViolation, match="ua, expected a string or null") as caught:
        read_request(printed(ua=ua))
    assert (caught.value.name, caught.value.code) == ("BadHello", 400)


def test_the_longest_hello_is_read_and_one_byte_more_is_refused() -> None:
    longest = printed(ua="x", pad="").ljust(MAX_HELLO_BYTES)
    assert read_request(longest).ua == "x"
    for read in (read_request, read_answer):
        with pytest.raises(PeerViolation, match=f"HELLO of {MAX_HELLO_BYTES + 1} bytes, limit"):
            read(longest + b" ")


def test_names_are_cut_to_what_a_log_can_bear() -> None:
    hello = read_request(printed(ua="u" * 1000, node="n" * 1000))
    assert (hello.ua, hello.node) == ("u" * MAX_NAME_CHARS, "n" * MAX_NAME_CHARS)


@pytest.mark.parametrize("node", [7, None, [], {}])
def test_a_node_name_that_is_no_text_is_no_name(node: object) -> None:
    assert read_request(printed(ua=None, node=node)) == Hello()


@pytest.mark.parametrize("features", [None, True, 1, "credit", ["credit"]])
def test_features_that_are_no_object_promise_nothing(features: object) -> None:
    assert not read_request(printed(features=features)).has_credit
    assert not read_answer(printed(**FIVE, window_frames=4, features=features)).has_credit


def test_a_request_of_ours_is_read_as_it_was_meant() -> None:
    frame = request_frame("edge/1", settings(pq="hybrid"))
    assert (frame.flags, frame.app, frame.corr_id) == (REQ, 0, 0)
    assert read_request(frame.payload) == Hello(ua="edge/1", has_credit=True, has_gossip=True)


def test_a_node_of_the_mesh_says_who_it_is_and_where_it_is_dialled_on_either_side() -> None:
    config = settings(node="ab" * 32, addr="[::1]:9444")
    asked = read_request(request_frame("edge/1", config).payload)
    answered = read_answer(answer_frame(Frame(REQ), config).payload)
    for hello in (asked, answered):
        assert (hello.node, hello.addr, hello.has_gossip) == ("ab" * 32, "[::1]:9444", True)


def test_who_is_not_in_the_mesh_says_nothing_of_itself() -> None:
    asked = json.loads(request_frame("edge/1", settings(addr="a:1")).payload)
    assert not {"node", "addr"} & asked.keys()


def test_a_capability_travels_with_hello_and_makes_it_a_start() -> None:
    frame = request_frame("edge/1", SETTINGS, b"token")
    assert (frame.flags, frame.cap) == (REQ | START, b"token")


@pytest.mark.parametrize("addr", [None, 7, "x" * (MAX_NAME_CHARS + 1), ["a:1"]])
def test_an_address_that_is_none_is_not_taken(addr: object) -> None:
    assert read_request(printed(addr=addr)).addr == ""


# -- the listening side's ---------------------------------------------------------------


@pytest.mark.parametrize("max_frame", [None, 0, 1, MAX_FRAME_BYTES - 1, MAX_FRAME_BYTES * 2, "1"])
def test_a_listener_with_another_frame_limit_cannot_be_spoken_with(max_frame: object) -> None:
    with pytest.raises(PeerViolation, match=f"max_frame, expected {MAX_FRAME_BYTES}"):
        read_answer(printed(**{**FIVE, "max_frame": max_frame}))


@pytest.mark.parametrize("versions", [None, 1, [], [0], [2], "1", ["1"], {"1": 1}])
def test_a_listener_of_other_versions_cannot_be_spoken_with(versions: object) -> None:
    with pytest.raises(PeerViolation, match="versions, expected 1 among them"):
        read_answer(printed(**{**FIVE, "versions": versions}))


def test_a_listener_of_later_versions_too_is_spoken_with() -> None:
    assert read_answer(printed(**{**FIVE, "versions": [2, 1]})).max_inflight == 8


@pytest.mark.parametrize("inflight", [0, -1, True, 1.0, "8", None, (1 << 16) + 1, 1 << 70])
def test_a_limit_of_open_requests_that_is_none_allows_one(inflight: object) -> None:
    assert read_answer(printed(**{**FIVE, "max_inflight": inflight})).max_inflight == 1


@pytest.mark.parametrize(
    "window", [0, -1, True, 1.0, "4", None, MAX_WINDOW_FRAMES + 1, 1 << 70], ids=repr
)
def test_a_window_that_is_none_means_no_credit_at_all(window: object) -> None:
    hello = read_answer(printed(**FIVE, features={}, window_frames=window))
    assert (hello.has_credit, hello.window_frames) == (False, 0)


def test_the_widest_window_is_kept_to() -> None:
    hello = read_answer(printed(**FIVE, features={}, window_frames=MAX_WINDOW_FRAMES))
    assert (hello.has_credit, hello.window_frames) == (True, MAX_WINDOW_FRAMES)


def test_an_answer_of_ours_is_read_as_it_was_meant() -> None:
    config = settings(inflight_frames=3, send_window_frames=5)
    frame = answer_frame(Frame(REQ, tenant=8, corr_id=9), config)
    assert (frame.flags, frame.code, frame.tenant, frame.corr_id) == (RESP, 200, 8, 9)
    hello = read_answer(frame.payload)
    assert (hello.has_credit, hello.max_inflight, hello.window_frames) == (True, 3, 5)
    assert hello.answer == json.loads(frame.payload)
    assert hello.answer["chunk"] == CHUNK_BYTES


@pytest.mark.parametrize("pq", ["hybrid", "classical"])
def test_both_sides_say_what_was_really_negotiated(pq: str) -> None:
    asked = json.loads(request_frame("x", settings(pq=pq)).payload)
    answered = json.loads(answer_frame(Frame(REQ), settings(pq=pq)).payload)
    assert asked["features"]["pq"] == answered["features"]["pq"] == pq


# -- anything ---------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from([*FIVE, *OURS, "ua", "node", "more"]), json_values))
def test_any_object_is_read_within_bounds_or_refused_by_name(members: dict[str, object]) -> None:
    for read, base in ((read_request, {}), (read_answer, {**FIVE, **OURS})):
        try:
            hello = read(printed(**{**base, **members}))
        except PeerViolation as violation:
            assert violation.name == "BadHello"
            continue
        assert len(hello.ua) <= MAX_NAME_CHARS
        assert len(hello.node) <= MAX_NAME_CHARS
        assert type(hello.max_inflight) is int
        assert 1 <= hello.max_inflight <= 1 << 16
        assert 0 <= hello.window_frames <= MAX_WINDOW_FRAMES


@given(st.binary(max_size=200))
def test_noise_is_refused_by_name(noise: bytes) -> None:
    for read in (read_request, read_answer):
        try:
            read(noise)
        except PeerViolation as violation:
            assert violation.name in {"BadHello", "BadJson"}


def test_our_own_answer_fits_into_what_we_read() -> None:
    assert len(answer_frame(Frame(REQ), SETTINGS).payload) < MAX_HELLO_BYTES
