"""HELLO: how two edges greet each other (``oap1.md`` section 3)."""

from dataclasses import dataclass
from typing import Any

from overlay_edge.config import SessionConfig
from overlay_edge.errors import PeerViolation
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    KNOWN_FLAGS,
    MAX_FRAME_BYTES,
    REQ,
    RESP,
    START,
    VERSION,
    Frame,
    decode_object,
    encode_json,
)

MAX_NAME_CHARS = 128  # what of a peer's own names is kept; they end up in logs
MAX_HELLO_BYTES = 4 << 10  # ours has 350; a stranger's first frame need not be larger
MAX_WINDOW_FRAMES = 1024  # 64 MiB: a window beyond it is a mistake or a trap


@dataclass(frozen=True, slots=True)
class Hello:
    """What the other side said of itself.

    Attributes:
        ua: Its program, or empty.
        node: Its id in the mesh in hex, which somebody has yet to compare with what TLS has
            proven; or any other name, or empty.
        addr: Where it says that it can be dialled, or empty.
        has_gossip: It knows the gossip application.
        has_credit: It knows credit: both sides keep to windows.
        max_inflight: Requests we may have open there (only from an answer).
        window_frames: First credit of a stream, in chunks (only from an answer).
        answer: The answer's JSON as it came (only from an answer).
    """

    ua: str = ""
    node: str = ""
    addr: str = ""
    has_gossip: bool = False
    has_credit: bool = False
    max_inflight: int = 1
    window_frames: int = 0
    answer: dict[str, object] | None = None


def features(pq: str) -> dict[str, object]:
    """The ``features`` member both sides send.

    Args:
        pq: What the TLS handshake really negotiated, ``hybrid`` or ``classical``.
    """
    return {"comp": ["zstd"], "pq": pq, "gossip": 1}


def request_frame(ua: str, config: SessionConfig, cap: bytes = b"") -> Frame:
    """The dialling side's HELLO."""
    body = {"ua": ua, "features": features(config.pq), **_of_the_mesh(config)}
    return Frame(REQ | (START if cap else 0), cap=cap, payload=encode_json(body))


def answer_frame(request: Frame, config: SessionConfig) -> Frame:
    """The listening side's answer: five published keys first, in their order, then ours."""
    body = {
        "max_frame": MAX_FRAME_BYTES,
        "max_inflight": config.inflight_frames,
        "flags_supported": KNOWN_FLAGS,
        "versions": [VERSION],
        "transports": ["tcp+tls"],
        "chunk": CHUNK_BYTES,
        "window_frames": config.send_window_frames,
        "features": features(config.pq),
        **_of_the_mesh(config),
    }
    return Frame(
        RESP, 200, tenant=request.tenant, corr_id=request.corr_id, payload=encode_json(body)
    )


def read_request(payload: bytes) -> Hello:
    """Read the dialling side's HELLO; members we do not know are ignored.

    Raises:
        PeerViolation: Not a HELLO.
    """
    body = _body(payload)
    ua = body.get("ua")
    if ua is not None and not isinstance(ua, str):
        raise PeerViolation("BadHello", "HELLO: ua, expected a string or null")
    return Hello(
        ua=(ua or "")[:MAX_NAME_CHARS],
        has_credit=isinstance(body.get("features"), dict),
        **_read_mesh(body),
    )


def read_answer(payload: bytes) -> Hello:
    """Read the listening side's answer.

    Raises:
        PeerViolation: Not an answer, or one this side cannot speak with.
    """
    body = _body(payload)
    if body.get("max_frame") != MAX_FRAME_BYTES:
        raise PeerViolation("BadHello", f"HELLO answer: max_frame, expected {MAX_FRAME_BYTES}")
    versions = body.get("versions")
    if not isinstance(versions, list) or VERSION not in versions:
        raise PeerViolation("BadHello", f"HELLO answer: versions, expected {VERSION} among them")
    inflight, window = body.get("max_inflight"), body.get("window_frames")
    has_credit = isinstance(body.get("features"), dict) and _is_count(window, MAX_WINDOW_FRAMES)
    return Hello(
        has_credit=has_credit,
        max_inflight=inflight if _is_count(inflight, 1 << 16) else 1,  # type: ignore[arg-type]
        window_frames=window if has_credit else 0,  # type: ignore[arg-type]
        answer=body,
        **_read_mesh(body),
    )


def _of_the_mesh(config: SessionConfig) -> dict[str, object]:
    """Who we are there, and where we are dialled."""
    said = {"node": config.node, "addr": config.addr if config.node else ""}
    return {key: value for key, value in said.items() if value}


def _read_mesh(body: dict[str, object]) -> dict[str, Any]:
    node, addr, known = body.get("node"), body.get("addr"), body.get("features")
    return {
        "node": node[:MAX_NAME_CHARS] if isinstance(node, str) else "",
        "addr": addr if isinstance(addr, str) and len(addr) <= MAX_NAME_CHARS else "",
        "has_gossip": isinstance(known, dict) and known.get("gossip") == 1,
    }


def _body(payload: bytes) -> dict[str, object]:
    if len(payload) > MAX_HELLO_BYTES:
        raise PeerViolation("BadHello", f"HELLO of {len(payload)} bytes, limit {MAX_HELLO_BYTES}")
    return decode_object(payload, "HELLO")


def _is_count(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= limit
