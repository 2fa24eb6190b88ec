"""The first frame: HELLO, its answer, a refusal, or something that ends the link."""

import pytest

from overlay_edge.config import DEFAULTS
from overlay_edge.errors import PeerViolation
from overlay_edge.proto.frame import EVENT, REQ, RESP, App, Frame
from overlay_edge.proto.greeting import read_greeting
from overlay_edge.proto.hello import answer_frame, request_frame
from overlay_edge.proto.message import Told
from overlay_edge.proto.state import Role

ASKED = request_frame("test", DEFAULTS.session("hybrid"))


def test_each_side_reads_what_the_other_one_says() -> None:
    assert read_greeting(Role.LISTENER, ASKED).ua == "test"
    answer = answer_frame(ASKED, DEFAULTS.session("hybrid"))
    assert read_greeting(Role.DIALLER, answer).max_inflight == DEFAULTS.peer.inflight_frames


@pytest.mark.parametrize(
    ("role", "frame"),
    [
        (Role.LISTENER, Frame(EVENT)),
        (Role.LISTENER, Frame(REQ, app=App.ECHO)),
        (Role.LISTENER, answer_frame(ASKED, DEFAULTS.session("hybrid"))),
        (Role.DIALLER, ASKED),
        (Role.DIALLER, Frame(RESP, 206)),
        (Role.DIALLER, Frame(RESP, 200, app=App.ECHO)),
    ],
)
def test_anything_else_ends_the_link(role: Role, frame: Frame) -> None:
    with pytest.raises(PeerViolation) as caught:
        read_greeting(role, frame)
    assert caught.value.name == "HelloExpected"


def test_a_refusal_instead_of_an_answer_is_told_as_such() -> None:
    with pytest.raises(Told):
        read_greeting(Role.DIALLER, Frame(RESP, 503, payload=b'{"error":"busy"}'))
