"""Every option of the edge: its name, unit, range and default; TOML text in, dataclasses out.

``options.py`` has one line per key and is all the checks there are. A dataclass field is named
like its key plus the unit: ``store.object_max`` is ``StoreConfig.object_max_bytes``. All
mistakes of a file are found in one go. ``default.toml`` is the manual.

A *cap* bounds memory or load. Board profiles are files of caps, and can only lower them.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from overlay_edge.config.options import CAPS, OPTIONS, PATHS, PROFILES, SECTIONS
from overlay_edge.config.sections import (
    AdminConfig,
    AuditConfig,
    AuthConfig,
    AuthMode,
    Config,
    ControlConfig,
    DiscoveryConfig,
    DownstreamConfig,
    GossipConfig,
    LogLevel,
    MqttConfig,
    OapConfig,
    OnRemoval,
    PanicConfig,
    PeerConfig,
    PqMode,
    QuotaConfig,
    ReadinessConfig,
    SessionConfig,
    StoreConfig,
    TimeoutsConfig,
    TlsConfig,
    TransportConfig,
)
from overlay_edge.config.topicmap import conflicts
from overlay_edge.config.url import is_near, split_url
from overlay_edge.config.values import (
    MAX_SHOWN,
    MIB,
    bare,
    format_size,
    literal,
    quoted,
    shown,
    shown_key,
    split_addr,
)
from overlay_edge.errors import ConfigError

__all__ = [
    "CAPS",
    "DEFAULTS",
    "MAX_MISTAKES",
    "MAX_TEXT",
    "OPTIONS",
    "PATHS",
    "PROFILES",
    "SECTIONS",
    "AdminConfig",
    "AuditConfig",
    "AuthConfig",
    "AuthMode",
    "Config",
    "ControlConfig",
    "DiscoveryConfig",
    "DownstreamConfig",
    "GossipConfig",
    "LogLevel",
    "MqttConfig",
    "OapConfig",
    "OnRemoval",
    "PanicConfig",
    "PeerConfig",
    "PqMode",
    "QuotaConfig",
    "ReadinessConfig",
    "SessionConfig",
    "StoreConfig",
    "TimeoutsConfig",
    "TlsConfig",
    "TransportConfig",
    "apply_profile",
    "get",
    "lowered",
    "override",
    "parse",
    "paths_in",
    "require_fit",
    "show",
    "to_toml",
]

MAX_TEXT = 64 << 10  # characters; the manual with every key and comment has a tenth of it
MAX_MISTAKES = 50  # lines reported; a file of noise must not become a wall of text

DEFAULTS = Config()


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


def require_fit(config: Config) -> None:
    """Refuse limits whose worst case is over the memory budget; call it on the final config.

    Raises:
        ConfigError: With the sum, and its largest part as a hint.
    """
    from overlay_edge.config.budget import total_bytes, worst_case

    rows = worst_case(
        config.transport,
        config.peer,
        config.store,
        config.downstream,
        config.gossip,
        config.discovery,
        config.mqtt,
    )
    needed = -(-total_bytes(rows) // MIB) * MIB
    if needed > config.memory_budget_bytes:
        found = format_size(config.memory_budget_bytes)
        largest = max(rows, key=lambda row: row.total_bytes)
        raise ConfigError(
            [f"memory_budget: {found}, expected at least {format_size(needed)} for all limits"],
            hint=f"the largest part is {largest.name}: {format_size(largest.total_bytes)};"
            " ronctl budget prints them all",
        )


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


def paths_in(config: Config) -> dict[str, str]:
    """Every file and folder the config names, by key."""
    return {key: named for key in PATHS if (named := get(config, key))}


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
    downstream = config.downstream
    for name in downstream.required:
        if not getattr(downstream, name):
            yield f"downstream.{name}: missing, expected because downstream.required names it"
    if downstream.index and not downstream.storage:
        yield "downstream.storage: missing, expected because downstream.index is set"
    if downstream.write_through and not downstream.storage:
        yield "downstream.storage: missing, expected because downstream.write_through is set"
    if config.gossip.cap_key and not config.gossip.cap:
        yield "gossip.cap: missing, expected because gossip.cap_key is set"
    yield from _mqtt_conflicts(config)
    if config.oap.addr == config.admin.addr and split_addr(config.oap.addr)[1]:
        yield f"admin.addr: {quoted(config.admin.addr)}, expected another one than oap.addr"


def _mqtt_conflicts(config: Config) -> Iterator[str]:
    mqtt = config.mqtt
    yield from conflicts(mqtt.out_topics, mqtt.in_topics)
    if not mqtt.url:
        for name, is_set in (
            ("out", mqtt.out_topics),
            ("in", mqtt.in_topics),
            ("telemetry", mqtt.telemetry),
        ):
            if is_set:
                yield f"mqtt.url: missing, expected because mqtt.{name} is set"
        return
    if (mqtt.out_topics or mqtt.in_topics) and not config.gossip.enabled:
        yield "gossip.enabled: false, expected true because mqtt.out or mqtt.in is set"
    if (mqtt.out_topics or mqtt.in_topics) and not mqtt.will:
        yield 'mqtt.will: "", expected a topic, by which the bridges of a broker know each other'
    found = split_url(mqtt.url)
    if found.path != "/":
        yield f"mqtt.url: {quoted(mqtt.url)}, expected no path: topics are in mqtt.out and mqtt.in"
    if not found.is_tls and not mqtt.insecure:
        yield f"mqtt.insecure: false, expected true because {quoted(mqtt.url)} is not encrypted"
    if not found.is_tls and not is_near(found.host):
        yield f"mqtt.url: {quoted(mqtt.url)}, expected mqtts:// to a host outside of this network"


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
