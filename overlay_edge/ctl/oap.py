"""`ronctl oap decode`: frames from a capture or a bug report, one JSON line each."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from overlay_edge.ctl.output import complain
from overlay_edge.errors import ConfigError, EdgeError, PeerViolation

if TYPE_CHECKING:
    from overlay_edge.proto.frame import Frame

MAX_SHOWN = 512  # bytes of a payload
READ_BYTES = 1 << 16
HEX = b"0123456789abcdefABCDEF"
SPACE = b" \t\r\n\v\f:"


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("oap", help="look at OAP/1 frames")
    halves = verb.add_subparsers(required=True, metavar="decode")
    half = halves.add_parser(
        "decode",
        parents=[shared],
        help="print one JSON line per frame",
        description="Print one JSON line per frame. A refused frame's name is on stderr, with "
        "exit code 1, behind the good frames before it.",
    )
    half.add_argument(
        "frames", metavar="HEX|-", help="hex digits, or - for standard input, hex or raw bytes"
    )
    half.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Decode until the end or the first refusal."""
    from overlay_edge.proto.frame import FrameDecoder

    decoder = FrameDecoder()
    source = _raw(_stdin()) if args.frames == "-" else [_unhex(args.frames.encode())]
    try:
        for data in source:
            decoder.feed(data)
            while (frame := decoder.next_frame()) is not None:
                print(json.dumps(describe(frame)))
    except PeerViolation as violation:
        sys.stdout.flush()
        if args.json:
            complain(violation, as_json=True)
        else:
            print(f"{violation.name}: {violation}", file=sys.stderr)
        return 1
    if decoder.buffered:
        sys.stdout.flush()
        held, missing = decoder.buffered, decoder.missing
        raise EdgeError(f"incomplete frame: {held} bytes, {missing} more are missing")
    return 0


def describe(frame: "Frame") -> dict[str, object]:
    """A frame for people; the capability is a secret, so only a short fingerprint of it.

    Raises:
        PeerViolation: Its payload is compressed, and cannot be inflated within the limits.
    """
    from overlay_edge.proto.compression import inflate
    from overlay_edge.proto.frame import APP_E2E, COMP, KINDS, App, Flag

    flags = [flag.name for flag in Flag if frame.flags & flag]
    known = {int(app): app.name.lower() for app in App}
    line: dict[str, object] = {
        "kind": next((flag.name for flag in Flag if frame.flags & KINDS & flag), None),
        "flags": flags,
        "code": frame.code,
        "app": frame.app,
        "app_name": known.get(frame.app),
        "tenant": f"{frame.tenant:#x}",
        "corr_id": frame.corr_id,
        "cap_bytes": len(frame.cap),
        "payload_bytes": len(frame.payload),
    }
    if frame.cap:
        from hashlib import sha256

        line["cap_sha256"] = sha256(frame.cap).hexdigest()[:12]
    payload = frame.payload
    if frame.flags & COMP and not frame.flags & APP_E2E:
        payload = inflate(frame)
        line["inflated_bytes"] = len(payload)
    if payload:
        is_open = not frame.flags & APP_E2E
        line |= _shown(payload, is_json=is_open and frame.app == App.CONTROL, is_open=is_open)
    return line


def _shown(payload: bytes, *, is_json: bool, is_open: bool) -> dict[str, object]:
    """The payload in the best form it has, cut."""
    if is_json:
        try:
            value = json.loads(payload)
            if len(json.dumps(value, allow_nan=False)) <= READ_BYTES:
                return {"payload": value}
        except (ValueError, RecursionError):
            pass
    shown: dict[str, object] = {}
    if len(payload) > MAX_SHOWN:
        shown["shown_bytes"] = MAX_SHOWN
    if is_open:
        try:
            # A cut may split the last character: that alone is no reason to show hex.
            text = payload.decode()
            return {"text": text.encode()[:MAX_SHOWN].decode(errors="ignore")} | shown
        except UnicodeDecodeError:
            pass
    return {"hex": payload[:MAX_SHOWN].hex()} | shown


def _stdin() -> Iterator[bytes]:
    while data := os.read(sys.stdin.fileno(), READ_BYTES):  # what is there, not what may come
        yield data


def _raw(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Bytes of frames. A frame starts with a zero byte, which no hex text contains."""
    first = next(pieces, b"")
    if first and first.lstrip(SPACE)[:1] not in [bytes([digit]) for digit in HEX]:
        yield first
        yield from pieces
        return
    rest = b""
    for piece in chain((first,), pieces):
        digits = rest + piece.translate(None, SPACE)
        even = len(digits) & ~1
        yield _unhex(digits[:even])
        rest = digits[even:]
    yield _unhex(rest)


def _unhex(text: bytes) -> bytes:
    digits = text.translate(None, SPACE)
    strange = digits.translate(None, HEX)
    if strange:
        raise ConfigError([f"hex: {strange[:1]!r} is not a hex digit"])
    if len(digits) % 2:
        raise ConfigError([f"hex: {len(digits)} digits, expected an even number"])
    return bytes.fromhex(digits.decode())
