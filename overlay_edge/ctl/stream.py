"""Streams of the admin plane: lines of JSON that come as things happen."""

import json
from argparse import Namespace
from collections.abc import Iterator

from overlay_edge.ctl.control import answer, bearer
from overlay_edge.ctl.target import MAX_PAGE_BYTES, admin_plane
from overlay_edge.errors import TransportError

SILENCE_S = 30.0  # the node says something every ten seconds, even if it is nothing
MAX_LINE_BYTES = 64 << 10


def lines(args: Namespace, path: str) -> Iterator[str]:
    """The lines of a stream until it ends; empty ones are left out.

    Raises:
        Refused: The node does not let us listen.
        TransportError: Nobody answers, or not in HTTP, or it fell silent.
    """
    with admin_plane(args) as connection:
        connection.connect()
        connection.sock.settimeout(SILENCE_S)
        connection.request("GET", path, headers=bearer(args))
        response = connection.getresponse()
        if response.status != 200:
            answer(args, path, response.status, response.read(MAX_PAGE_BYTES))
            raise TransportError(f"{args.admin}: {path} answers {response.status}, expected 200")
        while line := response.readline(MAX_LINE_BYTES):
            if text := line.decode(errors="replace").strip():
                yield text


def fields_of(line: str) -> dict[str, object]:
    """A line as its fields; one that is none has none."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def moment(ts_ms: object) -> str:
    """Milliseconds since 1970 for people, in UTC."""
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromtimestamp(float(str(ts_ms)) / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return "?"
