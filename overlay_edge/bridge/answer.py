"""Answer: a short JSON answer of a neighbour, read whole and not believed."""

import json
from contextlib import closing
from typing import Any

from overlay_edge.bridge.flight import Body
from overlay_edge.bridge.neighbour import Failed
from overlay_edge.proto.retry import Outcome

MAX_ANSWER_BYTES = 64 << 10  # one frame's worth


async def read_text(body: Body, name: str) -> bytes:
    """Read a JSON object as it is and close the body; an empty body is an empty object.

    Raises:
        Failed: Too long, or something else.
    """
    parts, left = [], MAX_ANSWER_BYTES + 1
    with closing(body):
        while left and (data := await body.read(left)):
            parts.append(data)
            left -= len(data)
    if not left:
        raise Failed(Outcome.LIED, f"{name}: an answer of more than {MAX_ANSWER_BYTES} bytes")
    text = b"".join(parts) or b"{}"
    _object(text, name)
    return text


async def read_providers(body: Body, addr: str, name: str) -> None:
    """Read what the index has to say; return if somebody has the object.

    Raises:
        Failed: Nobody has it, or the answer makes no sense.
    """
    found = _object(await read_text(body, name), name)
    providers = found.get("providers")
    if found.get("key") != addr or not isinstance(providers, list):
        raise Failed(Outcome.LIED, f"{name}: no list of providers of what was asked for")
    if not providers:
        raise Failed(Outcome.MISSING, f"{name}: nobody has {addr}")


def _object(text: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Failed(Outcome.LIED, f"{name}: the answer is not a JSON object")
    return found
