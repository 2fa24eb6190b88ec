"""Topic map: which topics of a broker are topics of the mesh, and the other way round.

    out   "site/alarm -> plant/alarm"     one topic of the mesh, to one of the broker
    in    "plant/state -> site/state"     one topic of the broker
          "plant/+ -> site"               plant/a is site/a
          "plant/# -> site"               plant/a/b is site/a/b, plant is site

A message must never come back as another one: what goes out may be heard by a filter only if
that leads to the same topic of the mesh again (a mirror; tags then tell that it is known).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from overlay_edge.config.values import Option, shown

ARROW = "->"
MAX_MAPS = 64  # of one direction: each is a subscription
MAX_MQTT_TOPIC = 256  # characters; the standard allows 65535 bytes
MAX_MESH_TOPIC = 128  # bytes, oap1.md section 7
WILDCARDS = frozenset("+#")
TOPICS = "_topics"  # what a field has behind its key: `in` is a word of Python


class Map(NamedTuple):
    """From a topic (or filter) to a topic (or prefix)."""

    source: str
    target: str


class TopicMap:
    """Both directions.

    Args:
        out: Maps out of the mesh, as the settings spell them, checked.
        into: Maps into the mesh.
        own: Prefixes of the broker that hold what bridges and nodes tell of themselves: never
            a message, whatever filter they match.
    """

    def __init__(self, out: Sequence[str], into: Sequence[str], *, own: Sequence[str] = ()) -> None:
        self.out = dict(split_map(text) for text in out)
        self.into = tuple(split_map(text) for text in into)
        self._own = tuple(f"{prefix}/" for prefix in own if prefix)

    def outward(self, topic: str) -> str | None:
        """The broker's topic for one of the mesh; None = it stays here."""
        return self.out.get(topic)

    def inward(self, topic: str) -> str | None:
        """The mesh's topic for one of the broker; None = it is not taken over."""
        if topic.startswith(self._own):
            return None
        for one in self.into:
            if (found := translated(one, topic)) is not None:
                return found
        return None


def translated(one: Map, topic: str) -> str | None:
    """What an inward map makes of a topic; None = its filter does not match."""
    if not is_match(one.source, topic):
        return None
    kept = len(one.source.rstrip("+#"))
    rest = topic[kept:] if one.source[-1:] in WILDCARDS else ""
    return f"{one.target}/{rest}" if rest else one.target


def is_match(pattern: str, topic: str) -> bool:
    """True if a filter with at most a last wildcard matches a topic (MQTT 5, section 4.7)."""
    if pattern == "#" or pattern == "+":
        return not topic.startswith("$") and (pattern == "#" or "/" not in topic)
    if pattern.endswith("/#"):
        return topic == pattern[:-2] or topic.startswith(pattern[:-1])
    if pattern.endswith("/+"):
        head = pattern[:-1]
        return topic.startswith(head) and "/" not in topic[len(head) :]
    return topic == pattern


def split_map(text: str) -> Map:
    """The two sides of a map."""
    source, _, target = text.partition(ARROW)
    return Map(source.strip(), target.strip())


def outward_maps() -> Option:
    """A list of maps out of the mesh."""
    return Option(lambda value: _maps(value, _check_outward), TOPICS)


def inward_maps() -> Option:
    """A list of maps into the mesh."""
    return Option(lambda value: _maps(value, _check_inward), TOPICS)


def mqtt_prefix(value: object) -> str:
    """A topic of the broker that others begin with, or nothing."""
    if not isinstance(value, str):
        raise ValueError("a topic without wildcards, or nothing")
    if value:
        _require_mqtt(value, "a topic")
    return value


def conflicts(out: Sequence[str], into: Sequence[str]) -> Iterator[str]:
    """What is wrong with maps that are right one by one."""
    outward, inward = [split_map(text) for text in out], [split_map(text) for text in into]
    for number, one in enumerate(outward):
        if any(one.source == other.source for other in outward[:number]):
            yield f"mqtt.out: {shown(one.source)} is mapped twice, expected once"
        for back in inward:
            found = translated(back, one.target)
            if found is not None and found != one.source:
                yield (
                    f"mqtt.out: {shown(_spelt(one))} comes back as {shown(found)} through mqtt.in "
                    f"{shown(_spelt(back))}, expected the same topic of the mesh, or none"
                )
    for number, one in enumerate(inward):
        for other in inward[:number]:
            if _overlap(one.source, other.source):
                yield (
                    f"mqtt.in: {shown(other.source)} and {shown(one.source)} hear the same topic, "
                    "expected one of them"
                )


def _overlap(one: str, other: str) -> bool:
    """True if some topic matches both filters."""
    (levels, low, high), (others, other_low, other_high) = _reach(one), _reach(other)
    is_same = all(a == b for a, b in zip(levels, others, strict=False))
    return is_same and low <= other_high and other_low <= high


def _reach(pattern: str) -> tuple[list[str], int, float]:
    """The levels that a filter names, and from how many to how many its topics have."""
    levels = pattern.split("/")
    if levels[-1] == "#":
        return levels[:-1], max(1, len(levels) - 1), math.inf
    named = levels[:-1] if levels[-1] == "+" else levels
    return named, len(levels), len(levels)


def _maps(value: object, check: Callable[[Map], None]) -> tuple[str, ...]:
    words = [word for word in value.split(",") if word] if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > MAX_MAPS:
        raise ValueError(f'a list of up to {MAX_MAPS} of "from {ARROW} to"')
    found = []
    for word in words:
        if not isinstance(word, str) or word.count(ARROW) != 1:
            raise ValueError(f'each as "from {ARROW} to", with one arrow')
        one = split_map(word)
        check(one)
        found.append(_spelt(one))
    return tuple(dict.fromkeys(found))


def _check_outward(one: Map) -> None:
    _require_mesh(one.source)
    _require_mqtt(one.target, f"{shown(one.target)} to be a topic")


def _check_inward(one: Map) -> None:
    fixed = one.source
    if fixed in ("#", "+"):
        fixed = "x"
    elif fixed.endswith(("/#", "/+")):
        fixed = fixed[:-2]
    elif set(fixed[-1:]) & WILDCARDS:
        raise ValueError(f"{shown(one.source)} to have its wildcard alone in the last level")
    if WILDCARDS & set(fixed):
        raise ValueError(f"{shown(one.source)} to have a wildcard only at its end")
    _require_mqtt(fixed, f"{shown(one.source)} to be a topic or filter")
    _require_mesh(one.target)


def _require_mesh(topic: str) -> None:
    if not topic or len(topic.encode()) > MAX_MESH_TOPIC or not topic.isprintable():
        raise ValueError(f"a topic of the mesh of 1 to {MAX_MESH_TOPIC} printable bytes")
    if topic.startswith("_"):
        raise ValueError(f"{shown(topic)} to be a topic of the mesh; _ is for its own")
    if WILDCARDS & set(topic):
        raise ValueError(f"{shown(topic)} to be a topic of the mesh, which knows no wildcards")


def _require_mqtt(topic: str, what: str) -> None:
    if not topic or len(topic) > MAX_MQTT_TOPIC or not topic.isprintable() or topic[0] == "$":
        raise ValueError(
            f"{what} of 1 to {MAX_MQTT_TOPIC} printable characters that does not begin with $"
        )
    if WILDCARDS & set(topic):
        raise ValueError(f"{what} without wildcards")


def _spelt(one: Map) -> str:
    return f"{one.source} {ARROW} {one.target}"
