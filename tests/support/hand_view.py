"""A node made by hand: shows exactly what a test puts into it."""

from dataclasses import dataclass, field, replace

from overlay_edge.admin.views import Counters
from overlay_edge.host.promise import Report, Row
from overlay_edge.host.rules import Standing
from overlay_edge.proto.readiness import CheckState, Snapshot

FINGERPRINT = "0123456789abcdef" * 4


@dataclass
class HandView:
    """A View whose answers are its fields."""

    snapshot: Snapshot = field(default_factory=lambda: snapshot())
    counted: Counters = field(default_factory=Counters)
    listeners: dict[str, str] = field(
        default_factory=lambda: {"oap": "127.0.0.1:9444", "admin": "127.0.0.1:9600"}
    )
    identity: dict[str, object] = field(
        default_factory=lambda: {
            "version": "0.1.0",
            "git": "unknown",
            "build": "unknown",
            "features": ["amnesia", "pq"],
            "fingerprint": FINGERPRINT,
            "profile": "pi4",
            "amnesia": True,
            "amnesia_kept": True,
            "pq_mode": "hybrid",
        }
    )

    promised: Report = field(default_factory=lambda: report())

    def readiness(self) -> Snapshot:
        return self.snapshot

    def version(self) -> dict[str, object]:
        return self.identity

    def counters(self) -> Counters:
        return self.counted

    def amnesia(self) -> Report:
        return self.promised

    def addresses(self) -> dict[str, str]:
        return self.listeners


def snapshot(*, degraded: bool = False, **reasons: str) -> Snapshot:
    """Readiness with these failing checks, ready without any."""
    names = ("listeners", "bus", "config", "store", "tls", "admin", "inflight", "store_space")
    checks = tuple(
        CheckState(name, name not in reasons, reasons.get(name, ""), 1.0) for name in names
    )
    ready = Snapshot(True, False, (), 0, checks, at=3.5)
    if not reasons:
        return ready
    return replace(ready, ready=False, degraded=degraded, missing=tuple(reasons), retry_after_s=5)


def report(*, is_on: bool = True, **states: Standing) -> Report:
    """A promise of four rules; ``swap`` and ``log`` are required."""
    known = {
        "swap": Standing.KEPT,
        "log": Standing.NOT_HERE,
        "disks": Standing.BROKEN,
        "freed_pages": Standing.UNKNOWN,
    } | states
    rows = tuple(
        Row(name, f"{name} promise", "/proc/x", name in {"swap", "log"}, state, f"{name} detail")
        for name, state in known.items()
    )
    holding = {Standing.KEPT, Standing.NOT_HERE}
    return Report(is_on, is_on and all(r.state in holding for r in rows if r.required), rows)
