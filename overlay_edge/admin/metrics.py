"""Metrics: a node's counters as Prometheus families, made anew at each scrape.

Names and label keys are the platform's: dashboards and the operators' searches rely on them.
A family whose labels are known beforehand is there with zeros from the first scrape on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import psutil  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from overlay_edge.admin.views import Counters, View
from overlay_edge.host.promise import Report
from overlay_edge.host.rules import Standing
from overlay_edge.proto.nearby import NOTHING_SEEN, REASONS, Sightings
from overlay_edge.proto.readiness import Snapshot, State
from overlay_edge.store.wiping import Cause
from overlay_edge.tally import LATENCY_BUCKETS_S, Latency

Labelled = Mapping[Any, int]
DIRECTIONS = ("rx", "tx")
RULE_STATE = {Standing.KEPT: 1, Standing.BROKEN: 0, Standing.UNKNOWN: -1}
READYZ_STATE = {State.DOWN: 0, State.READY: 1, State.DEGRADED: 2}
MQTT_TEXTS = {
    "in": "Messages of the broker published in the mesh",
    "out": "Messages of the mesh that the broker has taken",
    "dropped_duplicates": "Messages of the broker that were known",
    "reconnects": "Connections to the broker after the first",
}
ZEROS: dict[str, Sequence[tuple[str, ...]]] = {  # what operators look for before it happens
    "overlay_handshake_failures": [("timeout",), ("tls",), ("proto",)],
    "tls_handshake_failures": [("alpn",), ("version",), ("cipher",), ("cert",)],
    "overlay_pq_negotiations": [("hybrid", "ok"), ("classical", "ok")],
    "overlay_frames": [(way, kind) for way in DIRECTIONS for kind in ("ctrl", "gossip", "other")],
    "overlay_bytes": [(way,) for way in DIRECTIONS],
    "auth_failures": [("denied",), ("expired",), ("invalid_caveat",), ("revoked",), ("unauth",)],
    "rejected": [("busy",), ("oversize",), ("quota",), ("ratio_cap",), ("timeout",), ("unauth",)],
    "overlay_ready_transitions": [(str(state),) for state in State],
    "overlay_store_purged": [(str(cause),) for cause in Cause],
    "overlay_mqtt_shed": [("backlog",), ("inbox",), ("rate",), ("refused",), ("too_large",)],
    "service_restarts": [],
    "overlay_discovery_refused": [(reason,) for reason in REASONS],
    "config_update": [("ok",), ("refused",)],
    "overlay_shed": [
        ("publish", "rate"),
        ("publish", "topics"),
        ("eager", "slow"),
        ("lazy", "slow"),
        ("subscriber", "slow"),
    ],
}


class NodeCollector:
    """Asks the node when Prometheus asks us."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._process = psutil.Process()

    def collect(self) -> Iterable[Metric]:
        """Every family, as of now."""
        now = self._view.counters()
        yield from _readiness(self._view.readiness())
        yield from _identity(self._view.version())
        yield from _promise(self._view.amnesia())
        yield from _sessions(now)
        yield from _store(now)
        yield from _bus(now)
        yield from _operation(now)
        yield from _gossip(now.gossip)
        yield from _discovery(now.discovery or NOTHING_SEEN)
        yield from _mqtt(now)
        yield _latency(now.latency)
        yield _canary(now.canary or Latency())
        yield from _process(self._process, now.uptime_s)


class Exposition:
    """The text of ``/metrics``."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, view: View) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(NodeCollector(view))

    def render(self) -> bytes:
        """All metrics as of now."""
        return generate_latest(self._registry)


def _readiness(snapshot: Snapshot) -> Iterator[Metric]:
    state = READYZ_STATE[snapshot.state]
    yield _gauge("readyz_state", "0 down, 1 ready, 2 degraded", state)
    turned = {str(state): snapshot.turned.get(state, 0) for state in State}
    yield _counts("overlay_ready_transitions", "The node became", ["to"], turned)
    checks = GaugeMetricFamily("overlay_ready", "1 if the check is ok", labels=["check"])
    for check in snapshot.checks:
        checks.add_metric([check.name], float(check.ok))
    yield checks
    pressure = GaugeMetricFamily(
        "overlay_pressure_ratio", "How much of its limit is used", labels=["resource"]
    )
    for check in snapshot.checks:
        if check.value is not None and check.limit:
            pressure.add_metric([check.name], check.value / check.limit)
    yield pressure


def _identity(version: Mapping[str, object]) -> Iterator[Metric]:
    amnesia = version.get("amnesia") is True
    labels = {name: str(version.get(name, "")) for name in ("version", "profile", "pq_mode")}
    labels["amnesia"] = "on" if amnesia else "off"
    build = GaugeMetricFamily("overlay_build_info", "What is running", labels=list(labels))
    build.add_metric(list(labels.values()), 1)
    yield build


def _promise(report: Report) -> Iterator[Metric]:
    yield _gauge("amnesia_mode", "1 if amnesia is on and kept", int(report.is_kept))
    rules = GaugeMetricFamily(
        "overlay_amnesia_rule",
        "1 kept, 0 broken, -1 unknown; a rule that does not apply here has no sample",
        labels=["rule"],
    )
    for row in report.rows:
        if row.state in RULE_STATE:
            rules.add_metric([row.name], RULE_STATE[row.state])
    yield rules


def _sessions(now: Counters) -> Iterator[Metric]:
    yield _gauge("overlay_sessions_active", "Peers past HELLO now", now.sessions_active)
    yield _count("overlay_sessions_open", "Peers past HELLO", now.sessions_opened)
    yield _count("overlay_handshake_attempts", "Connections accepted", now.handshake_attempts)
    yield _count("handshake", "Handshakes that finished", now.handshakes)
    yield _counts(
        "overlay_handshake_failures", "Handshakes that failed", ["reason"], now.handshake_failures
    )
    yield _counts("tls_handshake_failures", "Failed inside TLS", ["reason"], now.tls_failures)
    yield _counts(
        "overlay_pq_negotiations", "Key exchanges", ["mode", "outcome"], now.pq_negotiations
    )
    yield _counts("overlay_frames", "Frames", ["dir", "kind"], now.frames)
    yield _counts("overlay_bytes", "Bytes of frames", ["dir"], now.bytes)
    inflight = GaugeMetricFamily(
        "overlay_inflight_frames", "Requests open, and when too many", labels=["state"]
    )
    inflight.add_metric(["open"], now.inflight_open)
    inflight.add_metric(["high"], now.inflight_high)
    yield inflight
    yield _counts("rejected", "Refusals sent to peers", ["reason"], now.rejected)
    yield _counts("auth_failures", "Capabilities refused", ["reason"], now.auth_failures)
    yield _count("quota_exhaustions", "Refusals for too many requests", now.quota_exhaustions)


def _store(now: Counters) -> Iterator[Metric]:
    yield _gauge("overlay_store_objects", "Objects that can be fetched", now.store_objects)
    yield _gauge("overlay_store_bytes", "Held by objects and uploads", now.store_bytes)
    yield _gauge("overlay_store_limit_bytes", "What they may hold", now.store_limit_bytes)
    yield _counts("overlay_store_purged", "Objects wiped", ["cause"], now.store_purged)


def _bus(now: Counters) -> Iterator[Metric]:
    yield _count("bus_published", "Events published", now.bus_published)
    yield _count("bus_lagged", "Times a subscriber lost events", now.bus_lagged)
    yield _count("bus_overflow_dropped", "Events lost", now.bus_overflow_dropped)
    yield _count("overlay_log_suppressed", "Log lines left out", now.log_suppressed)


def _operation(now: Counters) -> Iterator[Metric]:
    yield _counts("service_restarts", "Tasks started again", ["service"], now.service_restarts)
    yield _counts("config_update", "Reloads", ["result"], now.config_updates)
    yield _count("overlay_audit_records", "Audit records written", now.audit_records)
    yield _count("overlay_audit_folded", "Audit records only counted", now.audit_folded)
    yield _count("overlay_audit_delivered", "Records the sink has taken", now.audit_delivered)
    yield _count("overlay_audit_lost", "Records told to the sink as a gap", now.audit_lost)
    yield _count("overlay_audit_sink_failures", "Deliveries that failed", now.audit_sink_failures)
    yield _gauge("overlay_audit_backlog", "Records the sink has not taken", now.audit_backlog)
    yield _gauge("overlay_control_streams", "Streams of bus and audit open", now.control_streams)


def _discovery(lan: Sightings) -> Iterator[Metric]:
    yield _gauge("overlay_discovery_peers", "Nodes of the local network known", lan.nodes)
    told = lan.announcements
    yield _count("overlay_discovery_announcements", "This node was announced there", told)
    yield _count("overlay_discovery_conflicts", "Its host name was another's", lan.conflicts)
    yield _counts("overlay_discovery_refused", "Not believed", ["reason"], lan.refused)


def _gossip(now: Mapping[str, int]) -> Iterator[Metric]:
    """The mesh; neither topics nor peers are labels, as peers would make them up."""
    gaps = sum(count for name, count in now.items() if name.startswith("gapped_"))
    for name, text, value in (
        ("published", "Messages published here", now.get("published", 0)),
        ("delivered", "Messages delivered to subscribers", now.get("delivered", 0)),
        ("duplicates", "Messages that came again", now.get("duplicates", 0)),
        ("gap_messages", "Messages given up, and told", gaps),
        ("impostors", "Dialled, and not who was said to be there", now.get("impostors", 0)),
    ):
        yield _count(f"overlay_gossip_{name}", text, value)
    words = (name.removeprefix("shed_").split("_", 1) for name in now if name.startswith("shed_"))
    shed = {(kind, why): now[f"shed_{kind}_{why}"] for kind, why in words}
    yield _counts("overlay_shed", "Messages not taken or not passed on", ["class", "reason"], shed)
    views = GaugeMetricFamily("overlay_gossip_peers", "Nodes of the mesh known", labels=["view"])
    for view in ("active", "passive", "graylisted"):
        views.add_metric([view], now.get(view, 0))
    yield views
    yield _gauge("overlay_gossip_held_bytes", "What the mesh holds", now.get("held_bytes", 0))


def _mqtt(now: Counters) -> Iterator[Metric]:
    if not now.mqtt:  # there is no bridge
        return
    for name, text in MQTT_TEXTS.items():
        yield _count(f"overlay_mqtt_{name}", text, now.mqtt[name])
    yield _counts("overlay_mqtt_shed", "Messages given up", ["reason"], now.mqtt_shed)
    yield _gauge("overlay_mqtt_backlog", "Messages that wait for the broker", now.mqtt["backlog"])


def _latency(kinds: Mapping[tuple[str, str], Latency]) -> Metric:
    family = HistogramMetricFamily(
        "request_latency_seconds", "First frame in to last frame out", labels=["app", "op"]
    )
    for (app, operation), latency in kinds.items():
        family.add_metric([app, operation], _buckets(latency), latency.sum_s)
    return family


def _canary(latency: Latency) -> Metric:
    family = HistogramMetricFamily(
        "overlay_canary_seconds", "Dialling the own listener until 64 KiB are back", labels=[]
    )
    family.add_metric([], _buckets(latency), latency.sum_s)
    return family


def _buckets(latency: Latency) -> list[tuple[str, float]]:
    bounds = [*map(str, LATENCY_BUCKETS_S), "+Inf"]
    return list(zip(bounds, accumulate(latency.counts), strict=True))


def _process(process: psutil.Process, uptime_s: float) -> Iterator[Metric]:
    with process.oneshot():
        cpu = process.cpu_times()
        memory = process.memory_info().rss
        descriptors = process.num_fds()
    yield _gauge("process_resident_memory_bytes", "Memory held in RAM", memory)
    yield _gauge("process_open_fds", "Open descriptors", descriptors)
    yield _count("process_cpu_seconds", "CPU time used", cpu.user + cpu.system)
    yield _gauge("process_uptime_seconds", "Since the process started", uptime_s)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _count(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)  # it adds `_total`


def _counts(name: str, text: str, labels: list[str], values: Labelled) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    known = {_key(key): 0 for key in ZEROS[name]} | {_key(key): n for key, n in values.items()}
    for key, value in sorted(known.items()):
        family.add_metric(list(key), value)
    return family


def _key(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key
