"""What `ronctl` prints: one JSON object or a few lines, never a peer's control characters."""

import json
import sys
from collections.abc import Mapping

from overlay_edge.errors import ConfigError, EdgeError, PeerViolation, Refused
from overlay_edge.host.terminal import explain


def emit(as_json: bool, fields: dict[str, object], *lines: str) -> None:
    """Print a result: its fields, or its lines for people, which must be printable."""
    print(json.dumps(fields) if as_json else "\n".join(lines))


def complain(error: EdgeError, *, as_json: bool) -> None:
    """Tell on stderr what went wrong."""
    if not as_json:
        print(*explain(error), sep="\n", file=sys.stderr)
        return
    fields: dict[str, object] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, ConfigError):
        fields["mistakes"] = error.mistakes
    if isinstance(error, PeerViolation):
        fields["error"] = error.name
    if isinstance(error, Refused):
        fields |= {"error": error.token, "code": error.code}
        if error.retry_after_ms is not None:
            fields["retry_after_ms"] = error.retry_after_ms
    if error.hint:
        fields["hint"] = error.hint
    print(json.dumps(fields), file=sys.stderr)


def wiped(fields: Mapping[str, object]) -> str:
    """What a node says it has wiped and ended, for people."""

    def count(name: str) -> int:
        value = fields.get(name)
        return value if isinstance(value, int) else 0

    def some(name: str) -> str:
        return f"{count(name)} {name.removesuffix('s') if count(name) == 1 else name}"

    more = [some(name) for name in ("uploads", "messages") if count(name)]
    held = " and ".join([some("objects"), *more])
    ended = f"; {some('sessions')} ended" if count("sessions") else ""
    return f"{held} wiped, {size(count('bytes'))}{ended}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
