"""MQTT messages as the bridge sees them; whoever has these need not load a client for them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from overlay_edge.proto.crossing import Out
from overlay_edge.proto.telemetry import Record


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the broker.

    Attributes:
        tag: Its ``oe-id``, or empty.
        origin: Its ``oe-origin``, or empty.
    """

    topic: str
    data: bytes
    qos: int
    mid: int
    tag: str
    origin: str


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker tells everybody, retained, when this connection breaks."""

    topic: str
    data: bytes
    expiry_s: int


class Parcel(NamedTuple):
    """What goes to the broker, and where it is put back if it does not arrive."""

    topic: str
    data: bytes
    tags: tuple[tuple[str, str], ...] = ()
    origin: Out | Record | None = None


@dataclass(slots=True)
class Traffic:
    """What a bridge has done.

    Attributes:
        into: Messages published in the mesh.
        out: Messages the broker has taken.
        duplicates: Messages of the broker that were known already.
        reconnects: Connections after the first.
        shed: Messages given up, by reason.
        gaps: Messages the mesh could not deliver, by reason, and sessions the broker forgot.
    """

    into: int = 0
    out: int = 0
    duplicates: int = 0
    reconnects: int = 0
    shed: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)


def first_reason(group: BaseExceptionGroup[BaseException], timeout_s: float) -> str:
    """Why a connection broke, in one line: the first error of its tasks."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first) or f"no answer within {timeout_s:g} s"
