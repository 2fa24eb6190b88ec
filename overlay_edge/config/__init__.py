"""Every option of the edge: its name, unit, range and default; TOML text in, dataclasses out.

``OPTIONS`` has one line per key and is all the checks there are. A dataclass field is named
like its key plus the unit: ``store.object_max`` is ``StoreConfig.object_max_bytes``. All
mistakes of a file are found in one go. ``default.toml`` is the manual.

A *cap* bounds memory or load. Board profiles are files of caps, and can only lower them.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from overlay_edge.config.values import (
    GIB,
    MAX_SHOWN,
    MIB,
    Option,
    absolute,
    addr,
    bare,
    choice,
    count,
    duration,
    flag,
    format_size,
    fraction,
    literal,
    path,
    quoted,
    shown,
    shown_key,
    size,
    split_addr,
)
from overlay_edge.errors import ConfigError

PROFILES = ("generic", "zero2w", "pi3", "pi4", "pi5")

MAX_TEXT = 64 << 10  # characters; the manual with every key and comment has a tenth of it
MAX_MISTAKES = 50  # lines reported; a file of noise must not become a wall of text


class PqMode(StrEnum):
    """Key exchange a link may use; ``off`` is read as ``classical``."""

    CLASSICAL = "classical"
    HYBRID = "hybrid"


class LogLevel(StrEnum):
    """Least important log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class OapConfig:
    """Where peers and clients connect; port 0 takes any free one."""

    addr: str = "127.0.0.1:9444"
    pq_mode: PqMode = PqMode.HYBRID


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Where health, metrics and status are read."""

    addr: str = "127.0.0.1:9600"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files, both or neither; without them the identity is made in RAM at start."""

    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """What one peer may use: open requests, 64 KiB frames ahead of a credit, requests/s."""

    inflight_frames: int = 64
    send_window_frames: int = 16
    max_rps: int = 500


@dataclass(frozen=True, slots=True)
class TimeoutsConfig:
    """How long a started read, a blocked write and a silent link are kept."""

    read_s: float = 5.0
    write_s: float = 5.0
    idle_s: float = 15.0


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """What all peers together may use: connections and open requests."""

    max_conns: int = 1024
    max_inflight: int = 512


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Objects in RAM; an empty path keeps them in memfds, else it is a tmpfs directory."""

    path: str = ""
    object_max_bytes: int = 64 * MIB
    total_max_bytes: int = 96 * MIB
    max_objects: int = 4096
    ttl_s: float = 3600.0
    purge_interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ReadinessConfig:
    """Fractions of a limit: not ready from ``high`` on, ready again below ``low``."""

    high: float = 0.85
    low: float = 0.75


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What one session needs to know; derived, not a section of the file."""

    handshake_timeout_s: float
    idle_timeout_s: float
    read_timeout_s: float
    inflight_frames: int
    send_window_frames: int
    max_rps: int
    pq: str


@dataclass(frozen=True, slots=True)
class Config:
    """Every option; the defaults are safe and stay on loopback."""

    profile: str = "auto"
    amnesia: bool = True
    handshake_timeout_s: float = 3.0
    drain_deadline_s: float = 3.0
    log_level: LogLevel = LogLevel.INFO
    oap: OapConfig = field(default_factory=OapConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    peer: PeerConfig = field(default_factory=PeerConfig)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    transport: TransportConfig = field(default_factory=TransportConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    readiness: ReadinessConfig = field(default_factory=ReadinessConfig)

    def session(self, pq: str) -> SessionConfig:
        """What a session gets; ``pq`` is the key exchange its link really negotiated."""
        return SessionConfig(
            handshake_timeout_s=self.handshake_timeout_s,
            idle_timeout_s=self.timeouts.idle_s,
            read_timeout_s=self.timeouts.read_s,
            inflight_frames=self.peer.inflight_frames,
            send_window_frames=self.peer.send_window_frames,
            max_rps=self.peer.max_rps,
            pq=pq,
        )


DEFAULTS = Config()


OPTIONS: dict[str, Option] = {
    "profile": choice(("auto", *PROFILES)),
    "amnesia": Option(flag),
    "handshake_timeout": duration(100, 60_000),
    "drain_deadline": duration(0, 60_000),
    "log_level": choice(tuple(LogLevel), LogLevel),
    "oap.addr": Option(addr),
    "oap.pq_mode": choice(tuple(PqMode), PqMode, off="classical"),
    "admin.addr": Option(addr),
    "tls.cert": Option(path),
    "tls.key": Option(path),
    "peer.inflight_frames": count(1, 1024, cap=True),
    "peer.send_window_frames": count(1, 256, cap=True),
    "peer.max_rps": count(1, 100_000, cap=True),
    "timeouts.read": duration(100, 600_000),
    "timeouts.write": duration(100, 600_000),
    "timeouts.idle": duration(100, 3_600_000),
    "transport.max_conns": count(1, 65_536, cap=True),
    "transport.max_inflight": count(1, 65_536, cap=True),
    "store.path": Option(absolute),
    "store.object_max": size(1, 16 * GIB),
    "store.total_max": size(1, 64 * GIB),
    "store.max_objects": count(1, 1_000_000, cap=True),
    "store.ttl": duration(10, 30 * 24 * 3_600_000),
    "store.purge_interval": duration(10, 60_000),
    "readiness.high": Option(fraction),
    "readiness.low": Option(fraction),
}
CAPS = frozenset(key for key, option in OPTIONS.items() if option.cap)
SECTIONS = tuple(dict.fromkeys(key.partition(".")[0] for key in OPTIONS if "." in key))


def parse(text: str, *, base: Config = DEFAULTS, source: str = "config") -> Config:
    """Read a TOML text over ``base``; ``source`` is its name in messages without a key.

    Raises:
        ConfigError: With one line for every mistake in the text.
    """
    return _checked(base, _read(text, source, frozenset(OPTIONS)))


def override(config: Config, key: str, value: str) -> Config:
    """Set one dotted key from a flag or the environment, with the same checks.

    Raises:
        ConfigError: The key is unknown or the value does not fit.
    """
    if key not in OPTIONS:
        raise ConfigError([f"{shown_key(key)}: unknown key"], hint=_suggest([key]))
    try:
        fit = OPTIONS[key].read(bare(value))
    except ValueError as misfit:
        raise ConfigError([f"{key}: {shown(bare(value))}, expected {misfit}"]) from None
    return _checked(config, {key: fit})


def apply_profile(config: Config, text: str) -> Config:
    """Lower each cap of ``config`` to the profile's; what is lower already stays.

    Raises:
        ConfigError: The profile is malformed or names something that is not a cap.
    """
    ceilings = _read(text, "profile", CAPS)
    return _checked(config, {key: min(get(config, key), top) for key, top in ceilings.items()})


def lowered(before: Config, after: Config) -> tuple[str, ...]:
    """One line for each cap that a profile lowered, for the log."""
    return tuple(
        f"{key}: {show(before, key)} lowered to {show(after, key)}"
        for key in OPTIONS
        if key in CAPS and get(after, key) < get(before, key)
    )


def to_toml(config: Config) -> str:
    """The whole config as TOML that parses back to it."""
    lines: list[str] = []
    section = ""
    for key in OPTIONS:
        room, _, name = key.rpartition(".")
        if room != section:
            section = room
            lines += ["", f"[{room}]"]
        lines.append(f"{name} = {show(config, key)}")
    return "\n".join(lines) + "\n"


def get(config: Config, key: str) -> Any:
    """The value of a dotted key, in the unit of its field."""
    room, _, name = key.rpartition(".")
    return getattr(getattr(config, room) if room else config, name + OPTIONS[key].suffix)


def show(config: Config, key: str) -> str:
    """The value of a dotted key as it is written in TOML."""
    return literal(get(config, key), OPTIONS[key].suffix)


def _read(text: str, source: str, allowed: frozenset[str]) -> dict[str, Any]:
    """Checked values of the keys in a text, every mistake collected."""
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    unknown: list[str] = []
    for key, value in _flat(_load(text, source)):
        if key in SECTIONS:
            mistakes.append(f"{key}: {shown(value)}, expected a section [{key}]")
        elif key not in OPTIONS:
            unknown.append(key)
            mistakes.append(f"{shown_key(key)}: unknown {_sort_of(value)}")
        elif key not in allowed:
            mistakes.append(f"{key}: not a cap, and a profile may only lower caps")
        else:
            try:
                values[key] = OPTIONS[key].read(value)
            except ValueError as misfit:
                mistakes.append(f"{key}: {shown(value)}, expected {misfit}")
    if mistakes:
        raise ConfigError(_bounded(mistakes), hint=_suggest(unknown[:3]))
    return values


def _load(text: str, source: str) -> dict[str, Any]:
    """TOML to dictionaries; a file saved by a Windows editor is welcome."""
    if len(text) > MAX_TEXT:
        raise ConfigError([f"{source}: {len(text)} characters, limit {MAX_TEXT}"])
    try:
        return tomllib.loads(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))
    except tomllib.TOMLDecodeError as exc:  # it says line and column
        raise ConfigError([f"{source}: not TOML: {exc}"]) from None
    except (ValueError, RecursionError):  # numbers of 5000 digits, brackets 5000 deep
        raise ConfigError([f"{source}: not TOML: a value is too long or too deep"]) from None


def _flat(table: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if name in SECTIONS and isinstance(value, dict):
            yield from ((f"{name}.{inner}", deep) for inner, deep in value.items())
        else:
            yield name, value


def _checked(base: Config, values: Mapping[str, Any]) -> Config:
    """``base`` with the values set, if they go together."""
    rooms: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        room, _, name = key.rpartition(".")
        rooms.setdefault(room, {})[name + OPTIONS[key].suffix] = value
    top = rooms.pop("", {})
    sections = {room: replace(getattr(base, room), **fields) for room, fields in rooms.items()}
    config = replace(base, **top, **sections)
    if mistakes := list(_conflicts(config)):
        raise ConfigError(mistakes)
    return config


def _conflicts(config: Config) -> Iterator[str]:
    """Rules that need two keys."""
    store, tls, readiness = config.store, config.tls, config.readiness
    if store.object_max_bytes > store.total_max_bytes:
        found, limit = format_size(store.object_max_bytes), format_size(store.total_max_bytes)
        yield f"store.object_max: {found}, expected at most store.total_max, which is {limit}"
    if bool(tls.cert) != bool(tls.key):
        missing, present = ("key", "cert") if tls.cert else ("cert", "key")
        yield f"tls.{missing}: missing, expected because tls.{present} is set"
    if readiness.low >= readiness.high:
        yield (
            f"readiness.low: {readiness.low}, expected below readiness.high, "
            f"which is {readiness.high}"
        )
    if config.oap.addr == config.admin.addr and split_addr(config.oap.addr)[1]:
        yield f"admin.addr: {quoted(config.admin.addr)}, expected another one than oap.addr"


def _bounded(mistakes: list[str]) -> list[str]:
    rest = len(mistakes) - MAX_MISTAKES
    return mistakes if rest <= 0 else [*mistakes[:MAX_MISTAKES], f"and {rest} more"]


def _suggest(unknown: list[str]) -> str:
    """The nearest known keys: a wrong ending, a slip, or the right name in the wrong section."""
    from difflib import get_close_matches  # only on the way out

    hints: list[str] = []
    for key in unknown:
        leaf = key.rpartition(".")[2]
        near = [known for known in OPTIONS if known.rpartition(".")[2] == leaf]
        near += get_close_matches(key[:MAX_SHOWN], [*OPTIONS, *SECTIONS], n=1)
        if near:
            hints.append(f"did you mean {near[0]} instead of {shown_key(key)}?")
    return " ".join(hints)


def _sort_of(value: object) -> str:
    return "section" if isinstance(value, dict) else "key"
