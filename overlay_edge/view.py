"""View: what a node shows of itself, asked for when a page is asked for.

It holds no truth of its own: pressure is looked at when somebody asks, and everything else
is said by the room that knows.
"""

import platform
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import overlay_edge
from overlay_edge.bus import Bus, Health, ReadyChanged
from overlay_edge.config import ReadinessConfig
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.host.pressure import Pressure
from overlay_edge.host.promise import Promise, Report
from overlay_edge.peers import Peers
from overlay_edge.proto.checks import CHECKS, Check
from overlay_edge.proto.readiness import Readiness, Snapshot
from overlay_edge.shared import Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.tally import Latency, Tally, Traffic

if TYPE_CHECKING:
    from overlay_edge.admin.control import ControlPlane
    from overlay_edge.admin.views import Counters
    from overlay_edge.bridge.audit import AuditSink
    from overlay_edge.bridge.lan import About, Lan
    from overlay_edge.bridge.mqtt_bridge import MqttBridge
    from overlay_edge.bridge.services import Downstream
    from overlay_edge.mesh import MeshPort
    from overlay_edge.proto.audit import AuditLog
    from overlay_edge.proto.authority import Authority
    from overlay_edge.reload import Reloader


class View:
    """The admin plane's window into a node.

    Args:
        about: Fixed facts for ``/version``: profile, pq_mode.
        config: Where readiness leaves and comes back.
        shared: What all links use together.
        tally: What is counted.
        bus: Told when readiness flips.
        journal: Told as well.
        promise: What is promised of this machine's memory and disks.

    Attributes:
        listening: Where the node listens, as bound, by setting.
        fingerprint: SHA-256 of its certificate.
        store: Its objects, once there is a store.
        peers: Its links, once it accepts any.
    """

    def __init__(
        self,
        about: dict[str, object],
        config: ReadinessConfig,
        shared: Shared,
        tally: Tally,
        bus: Bus,
        journal: Journal,
        checks: tuple[Check, ...] = CHECKS,
        *,
        promise: Promise,
    ) -> None:
        self.promise = promise
        self.listening: dict[str, str] = {}
        self.fingerprint = ""
        self.store: ObjectStore | None = None
        self.peers: Peers | None = None
        self.tally = tally
        self.started = monotonic()
        self._about = about
        self._build = read_build()
        self._shared = shared
        self._bus = bus
        self._journal = journal
        self._readiness = Readiness(config, now=self.started, checks=checks)
        self.pressure: Pressure | None = None
        self.flights: Latency | None = None
        self.authority: Authority | None = None
        self.audit: AuditLog | None = None
        self.restarts: Mapping[str, int] = {}
        self.reloader: Reloader[Any] | None = None
        self.control: ControlPlane | None = None
        self.sink: AuditSink | None = None
        self.downstream: Downstream | None = None
        self.lan: Lan | None = None
        self.mesh: MeshPort | None = None
        self.mqtt: MqttBridge | None = None
        self._was = self._readiness.state
        self._health: dict[str, bool] = {}  # what the bus was told last, by check

    def set(self, check: str, reason: str = "") -> None:
        """Say how a check stands; an empty reason means that it holds."""
        is_ok = not reason
        self._readiness.set(check, is_ok, reason, now=monotonic())
        if self._health.get(check) is not is_ok:
            self._health[check] = is_ok
            self._bus.publish(Health(check, is_ok))
        self._notice()

    def _notice(self) -> None:
        """Tell the bus and the log when readiness has flipped."""
        if self._readiness.state is self._was:
            return
        self._was = self._readiness.state
        snapshot = self._readiness.snapshot(now=monotonic())
        self._bus.publish(ReadyChanged(snapshot.ready, snapshot.degraded, snapshot.missing))
        self._journal.info("readyz_change", ready=snapshot.ready, missing=list(snapshot.missing))

    def look_downstream(self) -> None:
        """Ask the services behind the node how they are."""
        if self.downstream is not None:
            for name, health in self.downstream.health().items():
                self.set(f"downstream.{name}", "" if health.ok else health.reason)

    def announce(self) -> None:
        """Write the line that operators wait for: ready or not, and where."""
        snapshot = self.readiness()
        oap, admin = self.listening["oap.addr"], self.listening["admin.addr"]
        self._journal.info(
            "start",
            msg=f"ready={int(snapshot.ready)} oap={oap} admin={admin} bus=subscribed",
            ready=int(snapshot.ready),
            missing=list(snapshot.missing),
            oap_addr=oap,
            admin_addr=admin,
            **self.version(),
            start_ms=int(1000 * (monotonic() - self.started)),
        )

    def sample(self) -> None:
        """Look at what is too dear to be looked at for each page."""
        self.set("amnesia", self.promise.look(now=monotonic()))
        if self.pressure is not None:
            now = monotonic()
            for name, value, limit in self.pressure.beat(now=now):
                self._readiness.gauge(name, value, limit, now=now)
            self._readiness.gauge("bus_lag", self._bus.depth, self._bus.capacity, now=now)
            self._readiness.sampled(now=now)
        self.readiness()

    def readiness(self) -> Snapshot:
        """The truth of this moment: pressure is looked at now, not when it was last sampled."""
        now = monotonic()
        limits, store = self._shared.limits, self.store
        inflight, most = self._shared.inflight, limits.transport.max_inflight
        self._readiness.gauge("inflight", inflight, most, now=now)
        if store is not None:
            # Bytes or descriptors, whichever is nearer to its end.
            full, limit = max(
                (store.used_bytes + store.reserved_bytes, store.limit_bytes),
                (store.object_count + store.upload_count, store.max_objects),
                key=lambda pair: pair[0] / pair[1],
            )
            self._readiness.gauge("store_space", full, limit, now=now)
        self._readiness.wake(now=now)
        self._notice()
        return self._readiness.snapshot(now=now)

    def addresses(self) -> dict[str, str]:
        """Where this node listens, as bound."""
        return {key.partition(".")[0]: address for key, address in self.listening.items()}

    def leave_lan(self) -> None:
        """Be seen no more on the local network, from now on."""
        if self.lan is not None:
            self.lan.leave()

    def about(self) -> "About":
        """What neighbours on the local network may be told."""
        from overlay_edge.bridge.lan import About
        from overlay_edge.proto.beacon import ID_DIGITS, Beacon

        about = {key: str(self._about[key]) for key in ("profile", "pq_mode")}
        node = self.mesh.id.hex() if self.mesh is not None else self.fingerprint
        beacon = Beacon(
            node[:ID_DIGITS],
            self.fingerprint,
            self.mesh is not None,
            overlay_edge.__version__,
            about["profile"],
            about["pq_mode"],
        )
        oap, admin = self.listening["oap.addr"], self.listening["admin.addr"]
        return About(beacon, socket.gethostname(), oap, admin)

    def counters(self) -> "Counters":
        """What this node has done."""
        from overlay_edge.admin.views import Counters

        tally, store = self.tally, self.store
        traffic = self.peers.traffic() if self.peers else Traffic()
        frames = {"rx": traffic.received, "tx": traffic.sent}
        is_high = any(c.name == "inflight" and not c.ok for c in self.readiness().checks)
        return Counters(
            uptime_s=monotonic() - self.started,
            sessions_active=tally.sessions_active,
            sessions_opened=tally.sessions_opened,
            handshake_attempts=tally.attempts,
            handshakes=tally.handshakes["ok"],
            handshake_failures=dict(tally.greetings_failed),
            tls_failures={k: n for k, n in tally.handshakes.items() if k != "ok"},
            pq_negotiations={(mode, "ok"): n for mode, n in tally.pq.items()},
            frames={
                (way, kind): count
                for way, counts in frames.items()
                for kind, count in (
                    ("ctrl", counts.control),
                    ("gossip", counts.gossip),
                    ("other", counts.other),
                )
            },
            bytes={"rx": traffic.bytes_received, "tx": traffic.bytes_sent},
            inflight_open=self._shared.inflight,
            inflight_high=self._shared.inflight if is_high else 0,
            rejected=dict(tally.rejected),
            quota_exhaustions=tally.quota_exhaustions,
            store_objects=store.object_count if store else 0,
            store_bytes=store.used_bytes + store.reserved_bytes if store else 0,
            store_limit_bytes=store.limit_bytes if store else 0,
            store_purged=dict(store.purged) if store else {},
            bus_published=self._bus.published_total,
            bus_lagged=self._bus.lagged_total,
            bus_overflow_dropped=self._bus.overflow_dropped_total,
            log_suppressed=self._journal.suppressed_total,
            latency=dict(tally.latency),
            canary=self.flights,
            discovery=self.lan.sightings if self.lan else None,
            **self._kept(),
        )

    def _kept(self) -> dict[str, Any]:
        """What the rooms beside the links have counted."""
        authority, reloader, audit, sink = self.authority, self.reloader, self.audit, self.sink
        return {
            "auth_failures": {
                str(reason): n for reason, n in (authority.failures if authority else {}).items()
            },
            "service_restarts": dict(self.restarts),
            "config_updates": {
                "ok": reloader.version if reloader else 0,
                "refused": reloader.refused_total if reloader else 0,
            },
            "audit_records": audit.next_seq if audit else 0,
            "audit_folded": audit.folded_total if audit else 0,
            "audit_delivered": sink.delivered_total if sink else 0,
            "audit_lost": sink.lost_total if sink else 0,
            "audit_backlog": sink.backlog if sink else 0,
            "audit_sink_failures": sink.failures_total if sink else 0,
            "mqtt": self.mqtt.totals() if self.mqtt else {},
            "mqtt_shed": dict(self.mqtt.shed()) if self.mqtt else {},
            "control_streams": len(self.control.streaming) if self.control else 0,
            "gossip": self.mesh.stats() if self.mesh else {},
        }

    def amnesia(self) -> Report:
        """The promise, rule by rule."""
        return self.promise.report(now=monotonic())

    def configure(self, config: ReadinessConfig, *, pq_mode: str) -> None:
        """Take other marks, and say what is in force."""
        self._readiness.configure(config)
        self._about["pq_mode"] = pq_mode

    def version(self) -> dict[str, object]:
        """What runs here."""
        return {
            "version": overlay_edge.__version__,
            **self._build._asdict(),
            "fingerprint": self.fingerprint,
            **self._about,
            "amnesia": self.promise.is_on,
            "amnesia_kept": self.promise.is_kept,
            "python": platform.python_version(),
            "features": [
                "comp:zstd",
                f"pq:{self._about['pq_mode']}",
                *(["gossip"] if self.mesh else ()),
                *(["amnesia"] if self.promise.is_on else ()),
            ],
        }
