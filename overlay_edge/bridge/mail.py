"""Mail: requests of the mailbox application, and the calls they become (``oap1.md`` section 5)."""

import re
from dataclasses import dataclass

from overlay_edge.errors import PeerViolation, Refused
from overlay_edge.proto.frame import CHUNK_BYTES, decode_object, encode_json

MESSAGE_ID = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}")  # one segment of a path, as it is


@dataclass(frozen=True, slots=True)
class Mail:
    """A call to the mailbox service.

    Attributes:
        path: Of its URL.
        body: JSON.
        is_safe: Making it twice does no harm.
    """

    path: str
    body: bytes
    is_safe: bool


def read_mail(payload: bytes) -> Mail:
    """Read a request; all but ``op`` is the service's to judge.

    Raises:
        Refused: 400 ``bad_request``, 413 ``too_large``.
    """
    if len(payload) > CHUNK_BYTES:
        raise Refused(
            413, "too_large", f"mailbox request of {len(payload)} bytes, limit {CHUNK_BYTES}"
        )
    try:
        request = decode_object(payload, "mailbox request")
    except PeerViolation as violation:
        raise _bad_request(str(violation)) from None
    op = request.pop("op", None)
    match op:
        case "send" | "recv":
            return Mail(f"/v1/{op}", _encode(request), is_safe=False)
        case "ack":
            name = request.pop("id", None)
            if not isinstance(name, str) or not MESSAGE_ID.fullmatch(name):
                raise _bad_request("ack: id, expected up to 128 letters, digits and . _ ~ -")
            return Mail(f"/v1/ack/{name}", _encode(request), is_safe=True)
        case _:
            raise _bad_request("op, expected send, recv or ack")


def _encode(request: dict[str, object]) -> bytes:
    try:
        return encode_json(request)
    except UnicodeEncodeError:  # half of a character, which JSON can spell and UTF-8 cannot
        raise _bad_request("text that is not Unicode") from None


def _bad_request(message: str) -> Refused:
    return Refused(400, "bad_request", message)
