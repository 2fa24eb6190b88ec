"""How one value of the config is read and printed: sizes, durations, addresses, words.

A reader takes what TOML gave and returns the checked value, or raises ``ValueError`` with
what was expected instead, which the caller puts behind the full key.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZE_UNITS = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "B": 1}  # largest first, for printing
MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
BYTES, SECONDS = "_bytes", "_s"  # what a field has behind its key
MAX_SHOWN = 60  # characters of a wrong value repeated back
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

Reader = Callable[[object], Any]


@dataclass(frozen=True, slots=True)
class Option:
    """How one key is read, the unit its dataclass field has behind the key, and is it a cap."""

    read: Reader
    suffix: str = ""
    cap: bool = False


def count(low: int, high: int, *, cap: bool = False) -> Option:
    """A whole number; TOML's ``true`` is not one."""

    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{low} to {high}")
        return value

    return Option(read, cap=cap)


def size(low: int, high: int) -> Option:
    """Bytes, written with a unit: a bare number says too little to be trusted."""

    def read(value: object) -> int:
        if type(value) is int:
            raise ValueError(f'a size in quotes with a unit, such as "{value}B" or "64KiB"')
        found = _with_unit(value, SIZE_UNITS)
        if found is None:
            raise ValueError('a size such as "64KiB": a whole number, then B, KiB, MiB or GiB')
        if not low <= found <= high:
            raise ValueError(f"{format_size(low)} to {format_size(high)}")
        return found

    return Option(read, BYTES, cap=True)


def duration(low_ms: int, high_ms: int, *, cap: bool = False) -> Option:
    """Seconds, written with a unit, bounded in milliseconds."""

    def read(value: object) -> float:
        if type(value) in (int, float):
            raise ValueError('a duration in quotes with a unit, such as "5s" or "250ms"')
        found = _with_unit(value, MILLISECONDS)
        if found is None:
            raise ValueError('a duration such as "5s": a whole number, then ms, s, m or h')
        if not low_ms <= found <= high_ms:
            raise ValueError(
                f"{format_duration(low_ms / 1000)} to {format_duration(high_ms / 1000)}"
            )
        return found / 1000

    return Option(read, SECONDS, cap)


def choice(words: Sequence[str], kind: type[str] = str, **synonyms: str) -> Option:
    """One of a few words."""

    def read(value: object) -> str:
        word = synonyms.get(value, value) if isinstance(value, str) else None
        if word not in words:
            raise ValueError("one of " + ", ".join(words))
        return kind(word)

    return Option(read)


def hex_words(digits: int, most: int) -> Option:
    """A list of numbers of so many hex digits; a flag has them with commas between."""

    def read(value: object) -> tuple[str, ...]:
        words = [word for word in value.split(",") if word] if isinstance(value, str) else value
        if (
            not isinstance(words, list)
            or len(words) > most
            or not all(
                isinstance(word, str) and re.fullmatch(rf"[0-9A-Fa-f]{{{digits}}}", word)
                for word in words
            )
        ):
            raise ValueError(f"a list of up to {most} texts of {digits} hex digits")
        return tuple(dict.fromkeys(word.lower() for word in words))

    return Option(read)


def some_of(*words: str) -> Option:
    """A list of some of a few words; a flag has them with commas between."""

    def read(value: object) -> tuple[str, ...]:
        found = [word for word in value.split(",") if word] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(word in words for word in found):
            raise ValueError("a list of some of " + ", ".join(words))
        return tuple(dict.fromkeys(found))

    return Option(read)


def fraction(value: object) -> float:
    """A share of a limit."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise ValueError("a fraction above 0, up to 1")
    return float(value)


def flag(value: object) -> bool:
    """True or false, the TOML words."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def addr(value: object) -> str:
    """Where to listen: ``host:port``."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError('"host:port" in quotes')
    split_addr(value)
    return value


def optional_addr(value: object) -> str:
    """``host:port``, or nothing."""
    return addr(value) if value != "" else ""


def addrs(most: int) -> Option:
    """A list of ``host:port``; a flag has them with commas between."""

    def read(value: object) -> tuple[str, ...]:
        words = [word for word in value.split(",") if word] if isinstance(value, str) else value
        if not isinstance(words, list) or len(words) > most:
            raise ValueError(f'a list of up to {most} of "host:port"')
        return tuple(dict.fromkeys(addr(word) for word in words))

    return Option(read)


def interfaces(most: int) -> Option:
    """A list of network interfaces by name; a flag has them with commas between."""

    def read(value: object) -> tuple[str, ...]:
        words = [word for word in value.split(",") if word] if isinstance(value, str) else value
        if (
            not isinstance(words, list)
            or len(words) > most
            or not all(
                isinstance(word, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}", word)
                for word in words
            )
        ):
            raise ValueError(f'a list of up to {most} names of interfaces such as "eth0"')
        return tuple(dict.fromkeys(words))

    return Option(read)


def path(value: object) -> str:
    """The name of a file, or nothing."""
    if not isinstance(value, str) or len(value) > 1024 or not value.isprintable():
        raise ValueError("a path of up to 1024 printable characters")
    return value


def absolute(value: object) -> str:
    """The full name of a directory, or nothing."""
    name = path(value)
    if name and not name.startswith("/"):
        raise ValueError("a path that starts with /, or nothing")
    return name


def block_device(value: object) -> str:
    """The name of a block device as the kernel has it, or nothing."""
    if not isinstance(value, str) or not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31})?", value):
        raise ValueError("a name under /sys/class/block such as mmcblk0, or nothing")
    return value


def gpio_line(value: object) -> str:
    """A line of a GPIO chip, ``:low`` if it is pressed when it is low, or nothing."""
    pattern = r"(gpiochip[0-9]{1,3}:[0-9]{1,5}(:low)?)?"
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError('a line such as "gpiochip0:17" or "gpiochip0:17:low", or nothing')
    return value


def split_addr(addr: str) -> tuple[str, int]:
    """Host (IPv6 without its brackets) and port of ``host:port``.

    Raises:
        ValueError: It is not one; the text says what was expected.
    """
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]{1,5})", addr)
    if match is None:
        raise ValueError('"host:port" with a port of 0 to 65535, IPv6 as "[::1]:9444"')
    host, port = match[1], int(match[2])
    if port > 65_535:
        raise ValueError("a port of 0 to 65535")
    if not host:
        raise ValueError(f'a host before the port, such as "0.0.0.0:{port}" for every interface')
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), port
        except ValueError:
            raise ValueError('an IPv6 address in the brackets, such as "[::1]:9444"') from None
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host)), port
        except ValueError:
            raise ValueError('an IPv4 address, such as "127.0.0.1:9444"') from None
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("a host name of letters, digits, dots and dashes")
    return host, port


def format_size(count: int) -> str:
    """Bytes with the largest unit that keeps them whole."""
    unit = next(unit for unit, factor in SIZE_UNITS.items() if count % factor == 0)
    return f"{count // SIZE_UNITS[unit]}{unit}" if count else "0B"


def format_duration(seconds: float) -> str:
    """Seconds with the largest unit that keeps the milliseconds whole."""
    ms = round(seconds * 1000)
    unit = next(unit for unit, factor in MILLISECONDS.items() if ms % factor == 0)
    return f"{ms // MILLISECONDS[unit]}{unit}" if ms else "0s"


def _with_unit(value: object, units: Mapping[str, int]) -> int | None:
    match = re.fullmatch(r"([0-9]{1,15})([A-Za-z]{1,3})", value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        return None
    return int(match[1]) * units[match[2]]


def bare(text: str) -> object:
    """The TOML value that a flag or a variable of the environment means."""
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,17}", text):
        return float(text)
    return {"true": True, "false": False}.get(text, text)


def literal(value: Any, suffix: str) -> str:
    """A checked value as it is written in TOML."""
    if suffix in (BYTES, SECONDS):
        return f'"{format_size(value) if suffix == BYTES else format_duration(value)}"'
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(quoted, value))}]"
    return "true" if value is True else "false" if value is False else repr(value)


def shown(value: object) -> str:
    """A value as a person wrote it, one line, not too long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"  # Python refuses to print the longest
    text = quoted(value[: MAX_SHOWN + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def shown_key(key: str) -> str:
    """A key as it is in the file, if it looks like one at all."""
    return key if re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", key) else shown(key)


def quoted(text: str) -> str:
    """A TOML basic string; what does not print is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
