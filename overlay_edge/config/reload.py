"""Reload: what differs between two configs, and may it change while the node runs.

A key is live only if it is listed here: whoever adds an option decides, and until then a
reload that touches it is refused instead of ignored. Values that tell where secrets are stay
out of what is published.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from overlay_edge.config import OPTIONS, get, show
from overlay_edge.config.sections import Config
from overlay_edge.errors import ConfigError

LIVE = frozenset(  # a name with a dot at its end is a whole section
    {
        "handshake_timeout",  # for the next handshake
        "drain_deadline",
        "log_level",
        "memory_budget",  # a promise about the others, checked before they change
        "oap.pq_mode",  # for the next handshake
        "tls.",  # for the next handshake; the files are read again even if nothing differs
        "peer.",  # for the next session
        "timeouts.",
        "transport.",
        "quota.",
        "store.object_max",
        "store.total_max",
        "store.max_objects",
        "store.ttl",
        "readiness.",
        "control.",
        "auth.",
    }
)
REDACTED = frozenset({"tls.key", "audit.credentials", "auth.keys", "mqtt.credentials"})
HIDDEN = "..."


@dataclass(frozen=True, slots=True)
class Change:
    """One key and its values as they may be shown."""

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


def compare(old: Config, new: Config) -> tuple[Change, ...]:
    """What a running node has to change to get from ``old`` to ``new``.

    Raises:
        ConfigError: Something differs that only a restart can change; each such key is named.
    """
    changes = tuple(_differences(old, new))
    fixed = [change for change in changes if not is_live(change.key)]
    if fixed:
        raise ConfigError(
            [f"{change}: needs a restart" for change in fixed],
            hint="nothing was changed; restart the node, or set these keys back",
        )
    return changes


def is_live(key: str) -> bool:
    """True if a running node can take another value of the key."""
    return key in LIVE or f"{key.partition('.')[0]}." in LIVE


def _differences(old: Config, new: Config) -> Iterator[Change]:
    for key in OPTIONS:
        if get(old, key) != get(new, key):
            values = (HIDDEN, HIDDEN) if key in REDACTED else (show(old, key), show(new, key))
            yield Change(key, *values)
