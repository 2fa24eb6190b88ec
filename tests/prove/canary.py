"""Canaries: secrets that are easy to find again, in whatever form something has kept them."""

import base64
import secrets
from dataclasses import dataclass, field

WINDOW = 16  # bytes: long enough that chance never makes one, short enough to find fragments


@dataclass(frozen=True, slots=True)
class Canary:
    """What is looked for as one class.

    Args:
        name: The class, such as ``object bytes``.
        secrets: Its secret byte strings, 16 bytes or longer, random in every run.
    """

    name: str
    secrets: tuple[bytes, ...] = field(repr=False)


def windows(secret: bytes) -> list[bytes]:
    """The pieces a secret is recognised by: both ends, and what lies between them."""
    if len(secret) < WINDOW:
        raise ValueError(f"a secret of {len(secret)} bytes, expected {WINDOW} or more")
    starts = {*range(0, len(secret) - WINDOW + 1, WINDOW), len(secret) - WINDOW}
    return [secret[start : start + WINDOW] for start in sorted(starts)]


def encodings(piece: bytes) -> dict[str, list[bytes]]:
    """The forms in which software keeps bytes, and what each looks like in memory.

    Base64 depends on where in a group of three the piece begins, so there are three of it, and
    the characters that also depend on its neighbours are left out.
    """
    aligned = []
    for lead in range(3):
        text = base64.b64encode(bytes(lead) + piece)
        last = (lead + len(piece)) * 8 // 6
        aligned.append(text[-(-lead * 8 // 6) : last])
    urlsafe = [text.translate(bytes.maketrans(b"+/", b"-_")) for text in aligned]
    hexed = piece.hex().encode()
    return {
        "raw": [piece],
        "reversed": [piece[::-1]],  # big numbers lie in memory with the lowest byte first
        "hex": [hexed, hexed.upper()],
        "base64": list(dict.fromkeys([*aligned, *urlsafe])),
        "utf-16": [b"".join(bytes([byte, 0]) for byte in piece)],
        "utf-32": [b"".join(bytes([byte, 0, 0, 0]) for byte in piece)],
        "escaped": [b"".join(b"\\x%02x" % byte for byte in piece)],  # as repr() prints bytes
    }


def random_text(label: str) -> bytes:
    """A secret that may stand in a text: a readable label and 128 random bits."""
    return f"{label}{secrets.token_hex(16)}".encode()
