"""CBOR: the deterministic subset that gossip speaks (RFC 8949, section 4.2.1).

    0 unsigned   1 negative   2 bytes   3 text   4 array   5 map   7 false, true, null

No floats, no tags, no indefinite lengths. Each value has one encoding, and the decoder takes no
other: numbers and lengths in their shortest form, keys in the order of their bytes, none twice,
nothing behind the value. What two nodes decode alike, they encode alike.

Own code, because the library at hand (cbor2) bounds depth and refuses indefinite lengths and
double keys, but takes numbers in longer forms, unsorted keys, floats, tags and bytes behind
the value; to be strict, everything would be encoded again and compared.
"""

from typing import Any

from overlay_edge.errors import LocalMisuse, PeerViolation

MAX_DEPTH = 6  # the deepest message has 5: map, streams, one stream, its holes, a number
MAX_ITEMS = 2048  # values in one payload: the fullest digest has 1700; each costs us 0.5 us
MAX_UINT = (1 << 64) - 1

UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP, SIMPLE = 0, 1, 2, 3, 4, 5, 7
FALSE, TRUE, NULL = 0xF4, 0xF5, 0xF6
WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}  # additional information -> bytes of the argument


def encode(value: object) -> bytes:
    """Print a value in its one form.

    Raises:
        LocalMisuse: It has a type or a size that the subset lacks.
    """
    out = bytearray()
    _write(out, value, 1)
    return bytes(out)


def decode(data: bytes) -> Any:
    """Read a value that is all of ``data``.

    The work is in proportion to ``data``, of which the caller bounds the length.

    Raises:
        PeerViolation: ``BadCbor``: broken, not in its one form, too deep or too many values.
    """
    reader = _Reader(data)
    value = reader.read(1)
    if reader.at != len(data):
        raise _bad(f"{len(data) - reader.at} bytes behind the value")
    return value


def _head(major: int, number: int) -> bytes:
    """Type and argument in the fewest bytes."""
    if number < 24:
        return bytes((major << 5 | number,))
    if number < 0x100:
        return bytes((major << 5 | 24, number))
    if number < 0x10000:
        return bytes((major << 5 | 25,)) + number.to_bytes(2, "big")
    if number < 0x100000000:
        return bytes((major << 5 | 26,)) + number.to_bytes(4, "big")
    if number <= MAX_UINT:
        return bytes((major << 5 | 27,)) + number.to_bytes(8, "big")
    raise LocalMisuse("a number of more than 64 bits")


_KEYS: dict[str, bytes] = {}  # words of the protocol, encoded once; bounded by _MAX_KEYS
_MAX_KEYS = 256


def _key(key: object) -> bytes:
    """An encoded key; those of messages come again and again."""
    if type(key) is str:
        known = _KEYS.get(key)
        if known is None:
            raw = key.encode()
            known = _head(TEXT, len(raw)) + raw
            if len(_KEYS) < _MAX_KEYS and len(raw) < 24:
                _KEYS[key] = known
        return known
    if type(key) is bytes:
        return _head(BYTES, len(key)) + key
    raise LocalMisuse(f"a key of type {type(key).__name__}, expected text or bytes")


def _write(out: bytearray, value: object, depth: int) -> None:
    kind = type(value)
    if kind is int:
        number: int = value  # type: ignore[assignment]
        out += _head(UINT, number) if number >= 0 else _head(NEGATIVE, -1 - number)
    elif kind is bytes:
        out += _head(BYTES, len(value))  # type: ignore[arg-type]
        out += value  # type: ignore[arg-type]
    elif kind is str:
        raw = value.encode()  # type: ignore[attr-defined]
        out += _head(TEXT, len(raw))
        out += raw
    elif value is None:
        out.append(NULL)
    elif kind is bool:
        out.append(TRUE if value else FALSE)
    elif depth > MAX_DEPTH:
        raise LocalMisuse(f"deeper than {MAX_DEPTH}")
    elif isinstance(value, list | tuple):
        out += _head(ARRAY, len(value))
        for item in value:
            _write(out, item, depth + 1)
    elif isinstance(value, dict):
        out += _head(MAP, len(value))
        for key, item in sorted((_key(key), item) for key, item in value.items()):
            out += key
            _write(out, item, depth + 1)
    else:
        raise LocalMisuse(f"a value of type {kind.__name__}")


class _Reader:
    """Where decoding is."""

    __slots__ = ("_data", "_left", "at")

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data
        self._left = MAX_ITEMS

    def read(self, depth: int) -> Any:
        """The next value."""
        self._left -= 1
        if self._left < 0:
            raise _bad(f"more than {MAX_ITEMS} values")
        data, at = self._data, self.at
        if at >= len(data):
            raise _bad("cut short")
        first = data[at]
        major = first >> 5
        if major == SIMPLE:
            self.at = at + 1
            return _simple(first)
        number = first & 0x1F
        if number < 24:
            self.at = at + 1
        else:
            number = self._argument(number)
        if major == TEXT:
            return self._text(number)
        if major == BYTES:
            return self._raw(number)
        if major == UINT:
            return number
        if major == NEGATIVE:
            return -1 - number
        if major > MAP:
            raise _bad("a tag")
        if depth > MAX_DEPTH:
            raise _bad(f"deeper than {MAX_DEPTH}")
        # Each item has a byte at least: a length beyond that is a lie, found before the work.
        if number > len(data) - self.at:
            raise _bad("cut short")
        if major == ARRAY:
            return [self.read(depth + 1) for _ in range(number)]
        return self._map(number, depth)

    def _argument(self, information: int) -> int:
        width = WIDTHS.get(information)
        if width is None:
            raise _bad("an indefinite length, or a reserved one")
        start = self.at + 1
        raw = self._data[start : start + width]
        if len(raw) < width:
            raise _bad("cut short")
        number = int.from_bytes(raw, "big")
        if number < (24 if width == 1 else 1 << (4 * width)):
            raise _bad("a number in a longer form than it needs")
        self.at = start + width
        return number

    def _raw(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            raise _bad("cut short")
        raw = self._data[self.at : end]
        self.at = end
        return raw

    def _text(self, length: int) -> str:
        try:
            return self._raw(length).decode()
        except UnicodeDecodeError:
            raise _bad("text that is not UTF-8") from None

    def _map(self, length: int, depth: int) -> dict[str | bytes, Any]:
        found: dict[str | bytes, Any] = {}
        before = b""
        for _ in range(length):
            start = self.at
            key = self.read(depth + 1)
            if type(key) is not str and type(key) is not bytes:
                raise _bad("a key that is neither text nor bytes")
            raw = self._data[start : self.at]
            if raw <= before:
                raise _bad("keys out of order, or one twice")
            before = raw
            found[key] = self.read(depth + 1)
        return found


def _simple(first: int) -> bool | None:
    if first in (TRUE, FALSE):
        return first == TRUE
    if first == NULL:
        return None
    raise _bad("a float, or a simple value that is not false, true or null")


def _bad(message: str) -> PeerViolation:
    return PeerViolation("BadCbor", f"not the CBOR of gossip: {message}")
