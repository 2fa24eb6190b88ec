"""Greeting: the first frame of a peer, which must be HELLO or its answer."""

from overlay_edge.errors import PeerViolation
from overlay_edge.proto import hello
from overlay_edge.proto.compression import inflate
from overlay_edge.proto.frame import KINDS, REQ, RESP, App, Frame
from overlay_edge.proto.message import Told
from overlay_edge.proto.state import Role


def read_greeting(role: Role, frame: Frame) -> hello.Hello:
    """What the peer says of itself.

    Args:
        role: Which end we are: the dialling side greets, the listening side answers.
        frame: The first that came.

    Raises:
        PeerViolation: It is none.
        Told: The peer refuses us.
    """
    kind = frame.flags & KINDS
    if role is Role.LISTENER:
        if kind != REQ or frame.app != App.CONTROL:
            raise PeerViolation("HelloExpected", "the first frame, expected HELLO")
        return hello.read_request(inflate(frame))
    if kind == RESP and frame.code >= 400:
        raise Told(frame)
    if kind != RESP or frame.app != App.CONTROL or frame.code != 200:
        raise PeerViolation("HelloExpected", "the first frame, expected the HELLO answer")
    return hello.read_answer(inflate(frame))
