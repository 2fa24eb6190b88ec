"""Shapes of arguments: each takes the words of the command line, or says what was expected."""

import re
from argparse import ArgumentTypeError


def endpoint(text: str) -> str:
    """``host:port`` to connect to, IPv6 in brackets."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^:\[\]\s]+):([0-9]{1,5})", text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ArgumentTypeError('expected "host:port", IPv6 as "[::1]:9444"')
    return text


def url(text: str) -> str:
    """The ``host:port`` of an http URL, or one itself."""
    if text.startswith("https://"):
        raise ArgumentTypeError("the admin plane speaks plain http")
    return endpoint(text.removeprefix("http://").rstrip("/"))


def digest(text: str) -> str:
    """SHA-256 in hex, however it was copied: upper case, colons and spaces are fine."""
    bare = re.sub(r"[\s:]", "", text.strip().lower().removeprefix("sha256:"))
    if not re.fullmatch(r"[0-9a-f]{64}", bare):
        raise ArgumentTypeError(f"{len(bare)} characters, expected 64 hex digits")
    return bare


def object_address(text: str) -> str:
    """The name of an object."""
    if not re.fullmatch(r"b3:[0-9a-f]{64}", text):
        raise ArgumentTypeError('expected "b3:" and 64 lower-case hex digits')
    return text


def topic(text: str) -> str:
    """A label of objects."""
    if not 0 < len(text) <= 128 or not text.isprintable():
        raise ArgumentTypeError("expected 1 to 128 printable characters")
    return text


def seconds(text: str) -> float:
    """How long to wait."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 600:
        raise ArgumentTypeError("expected 0.1 to 600 seconds")
    return value
