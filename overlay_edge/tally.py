"""Tally: what this node counts. Plain numbers; the admin plane turns them into metrics.

Labels come from our own fixed words only, never from a peer: the number of series is bounded.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from overlay_edge.link import Link
from overlay_edge.proto.frame import FrameCounts

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(slots=True)
class Latency:
    """A histogram: how many took at most each bound, and the sum of all, in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Traffic:
    """Frames and plain bytes, each way."""

    received: FrameCounts = field(default_factory=FrameCounts)
    sent: FrameCounts = field(default_factory=FrameCounts)
    bytes_received: int = 0
    bytes_sent: int = 0

    def merge(self, others: "Traffic") -> None:
        """Count what others have counted."""
        self.bytes_received += others.bytes_received
        self.bytes_sent += others.bytes_sent
        self.received.add(others.received)
        self.sent.add(others.sent)

    def add(self, link: Link) -> None:
        """Count what a link has moved."""
        self.bytes_received += link.bytes_received
        self.bytes_sent += link.bytes_sent
        if link.session is not None:
            self.received.add(link.session.received)
            self.sent.add(link.session.sent)


@dataclass(slots=True)
class Tally:
    """Counts since start.

    Attributes:
        attempts: Connections accepted.
        handshakes: TLS handshakes by outcome: ``ok`` or why it failed.
        greetings_failed: Connections that ended before HELLO was done, by reason.
        pq: Finished handshakes by what was negotiated, ``hybrid`` or ``classical``.
        rejected: Refusals by reason, each counted once.
        traffic: Frames and bytes of links that are gone; those of open ones are added when asked.
        latency: By application and operation, START to the last frame of the answer.
    """

    attempts: int = 0
    handshakes: Counter[str] = field(default_factory=Counter)
    greetings_failed: Counter[str] = field(default_factory=Counter)
    pq: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    quota_exhaustions: int = 0
    sessions_opened: int = 0
    sessions_active: int = 0
    connections: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    latency: dict[tuple[str, str], Latency] = field(default_factory=dict)

    def reject(self, token: str) -> None:
        """Count a refusal by the token the peer was told."""
        self.rejected[REASONS.get(token, token)] += 1
        if token == "quota_exhausted":
            self.quota_exhaustions += 1

    def observe(self, app: str, op: str, seconds: float) -> None:
        """Count an answered request."""
        self.latency.setdefault((app, op), Latency()).observe(seconds)


REASONS = {"too_large": "oversize", "quota_exhausted": "quota"}  # token -> label, where they differ
