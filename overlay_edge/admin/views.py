"""What the admin plane may see of a node: a few plain values, asked for when a page is asked for.

Nothing is counted twice: the node keeps its own numbers, a scrape turns them into metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from overlay_edge.host.promise import Report
from overlay_edge.proto.nearby import Sightings
from overlay_edge.proto.readiness import Snapshot
from overlay_edge.tally import Latency


@dataclass(frozen=True, slots=True)
class Counters:
    """Everything countable at one moment; totals only ever rise.

    Label values come from fixed sets, never from a peer: a peer must not make metrics grow.

    Attributes:
        uptime_s: Since the process started.
        sessions_active: Peers past HELLO now.
        sessions_opened: Peers past HELLO since the start.
        handshake_attempts: Connections accepted.
        handshakes: Handshakes that finished.
        handshake_failures: By reason: timeout, tls, proto, ...
        tls_failures: By reason: alpn, version, cipher, cert.
        pq_negotiations: By (mode, outcome): (hybrid, ok), ...
        frames: By (dir, kind): (rx, ctrl), (tx, other), ...
        bytes: By dir: rx, tx; frames as they travel.
        inflight_open: Requests open now.
        inflight_high: The same while that is too many to be ready, else 0.
        rejected: Refusals sent to peers, by reason.
        quota_exhaustions: Refusals for too many requests.
        store_objects: Objects that can be fetched now.
        store_bytes: What objects and unfinished uploads hold.
        store_limit_bytes: What they may hold.
        store_purged: Objects wiped, by cause.
        bus_published: Events published.
        bus_lagged: Times a subscriber was told that it lost events.
        bus_overflow_dropped: Events lost.
        auth_failures: Requests without a good enough capability, by reason.
        log_suppressed: Log lines left out, because they repeat or nobody takes them.
        service_restarts: Restarts of supervised tasks, by name.
        config_updates: Reloads by result: ok, refused.
        audit_records: Records written.
        audit_folded: Records counted instead of written.
        audit_delivered: Records the sink has acknowledged.
        audit_lost: Records the sink never got, as its gaps say.
        audit_backlog: Records it has not acknowledged yet; 0 without a sink.
        audit_sink_failures: Batches or connections that failed.
        control_streams: Streams of bus and audit open now.
        gossip: Counters and sizes of the mesh, by name; empty = the node takes no part.
        latency: By (app, op): (objects, get), (echo, echo), ...
        canary: Of flights through the own listener; None without a canary.
        discovery: On the local network; None if nothing is looked for or told there.
    """

    uptime_s: float = 0.0
    sessions_active: int = 0
    sessions_opened: int = 0
    handshake_attempts: int = 0
    handshakes: int = 0
    handshake_failures: Mapping[str, int] = field(default_factory=dict)
    tls_failures: Mapping[str, int] = field(default_factory=dict)
    pq_negotiations: Mapping[tuple[str, str], int] = field(default_factory=dict)
    frames: Mapping[tuple[str, str], int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    inflight_open: int = 0
    inflight_high: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    quota_exhaustions: int = 0
    store_objects: int = 0
    store_bytes: int = 0
    store_limit_bytes: int = 0
    store_purged: Mapping[str, int] = field(default_factory=dict)
    bus_published: int = 0
    bus_lagged: int = 0
    bus_overflow_dropped: int = 0
    log_suppressed: int = 0
    service_restarts: Mapping[str, int] = field(default_factory=dict)
    config_updates: Mapping[str, int] = field(default_factory=dict)
    audit_records: int = 0
    audit_folded: int = 0
    audit_delivered: int = 0
    audit_lost: int = 0
    audit_backlog: int = 0
    audit_sink_failures: int = 0
    control_streams: int = 0
    mqtt: Mapping[str, int] = field(default_factory=dict)
    mqtt_shed: Mapping[str, int] = field(default_factory=dict)
    auth_failures: Mapping[str, int] = field(default_factory=dict)
    gossip: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[tuple[str, str], Latency] = field(default_factory=dict)
    canary: Latency | None = None
    discovery: Sightings | None = None


class View(Protocol):
    """What a node shows; every call is cheap and answers for this moment."""

    def readiness(self) -> Snapshot:
        """Whether it may be sent work, as of now."""
        ...  # pragma: no cover

    def version(self) -> dict[str, object]:
        """Who it is, and what it promises: version, git, build, fingerprint, amnesia, ..."""
        ...  # pragma: no cover

    def counters(self) -> Counters:
        """What it has done."""
        ...  # pragma: no cover

    def amnesia(self) -> Report:
        """What it promises of memory and disks, and how that stands."""
        ...  # pragma: no cover

    def addresses(self) -> Mapping[str, str]:
        """Where it listens: ``{"oap": "0.0.0.0:9444", "admin": "127.0.0.1:9600"}``, as bound."""
        ...  # pragma: no cover
