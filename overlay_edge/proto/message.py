"""Small messages: control events and error bodies (``oap1.md`` sections 4 and 6)."""

from dataclasses import dataclass

from overlay_edge.errors import EdgeError, ObjectGone, PeerViolation, Refused
from overlay_edge.proto.flow import UNLIMITED
from overlay_edge.proto.frame import END, EVENT, RESP, Frame, decode_object, encode_json


@dataclass(frozen=True, slots=True)
class Credit:
    """Bytes of a stream allowed in all."""

    limit: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    """I am."""

    number: int


@dataclass(frozen=True, slots=True)
class Goaway:
    """No new requests; open ones finish."""

    reason: str
    retry_after_ms: int


MAX_TOKEN_CHARS = 64  # what of a peer's words is kept: they end up in logs
MAX_MESSAGE_CHARS = 512


def control_frame(body: dict[str, object], corr_id: int = 0) -> Frame:
    """A control event: credit, ping, pong or goaway."""
    return Frame(flags=EVENT, corr_id=corr_id, payload=encode_json(body))


def read_control(payload: bytes) -> Credit | Ping | Pong | Goaway | None:
    """Read a control event; None = one of a later version, which is not an error.

    Raises:
        PeerViolation: Not a JSON object.
    """
    body = decode_object(payload, "control event")
    for key, kind in (("credit", Credit), ("ping", Ping), ("pong", Pong)):
        if (count := read_count(body.get(key))) is not None:
            return kind(count)
    goaway = body.get("goaway")
    if not isinstance(goaway, dict):
        return None
    return Goaway(
        read_words(goaway.get("reason"), MAX_TOKEN_CHARS),
        read_count(goaway.get("retry_after_ms")) or 0,
    )


def error_frame(refusal: Refused, *, app: int = 0, tenant: int = 0, corr_id: int = 0) -> Frame:
    """The one frame that answers a refused request."""
    body: dict[str, object] = {"error": refusal.token, "message": str(refusal)[:MAX_MESSAGE_CHARS]}
    if refusal.retry_after_ms is not None:
        body["retry_after_ms"] = refusal.retry_after_ms
    return Frame(
        flags=RESP | END,
        code=refusal.code,
        app=app,
        tenant=tenant,
        corr_id=corr_id,
        payload=encode_json(body),
    )


def read_refusal(code: int, payload: bytes) -> Refused:
    """Read the error body of an answer of 400 or above; a body that is none still refuses."""
    try:
        body = decode_object(payload, "error")
    except PeerViolation:
        body = {}
    return Refused(
        code,
        read_words(body.get("error"), MAX_TOKEN_CHARS) or "refused",
        read_words(body.get("message"), MAX_MESSAGE_CHARS) or "no reason given",
        retry_after_ms=read_count(body.get("retry_after_ms")),
    )


def as_refused(error: EdgeError) -> Refused:
    """What a peer is told when the bytes of its answer cannot be had."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, PeerViolation):
        return Refused(error.code, error.token, str(error))
    if isinstance(error, ObjectGone):
        return Refused(404, "not_found", "the object was purged while it was being sent")
    return Refused(500, "internal", "the answer could not be finished")


def read_count(value: object) -> int | None:
    """A whole number that a peer may name, or None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= UNLIMITED:
        return value
    return None


def read_words(value: object, limit: int) -> str:
    """A peer's text, cut; empty for anything else."""
    return value[:limit] if isinstance(value, str) else ""


class Told(PeerViolation):
    """The peer refuses us: nothing to answer."""

    def __init__(self, frame: Frame) -> None:
        refusal = read_refusal(frame.code, frame.payload)
        super().__init__("Told", str(refusal), code=refusal.code, token=refusal.token)
