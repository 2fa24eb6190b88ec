"""Wiping: why something is wiped, how much it was, and what its next frame is told."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from overlay_edge.errors import Refused

MIN_RETRY_MS = 1000  # a refused upload may come again no sooner than this


class Cause(StrEnum):
    """Why an object was wiped; a metric label."""

    EXPIRED = "expired"
    PURGE = "purge"
    REVOKE = "revoke"
    DRAIN = "drain"
    PANIC = "panic"
    MEDIUM = "medium"


Why = Callable[[], Refused]  # each time a new one: a traceback would hold the bytes on its way


def purged() -> Refused:
    """What the next frame of an upload is told that was purged."""
    return Refused(503, "busy", "the store was purged", retry_after_ms=MIN_RETRY_MS)


def revoked() -> Refused:
    """The same, when the capability it came with was revoked."""
    return Refused(403, "denied", "the capability was revoked")


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What was wiped: objects, uploads in progress, and the bytes both held."""

    objects: int = 0
    uploads: int = 0
    bytes: int = 0
