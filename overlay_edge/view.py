"""View: what a node shows of itself, asked for when a page is asked for.

It holds no truth of its own: pressure is looked at when somebody asks, and everything else
is said by the room that knows.
"""

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING

import overlay_edge
from overlay_edge.bus import Bus, ReadyChanged
from overlay_edge.config import ReadinessConfig
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.host.pressure import Pressure
from overlay_edge.peers import Peers
from overlay_edge.proto.checks import CHECKS, Check
from overlay_edge.proto.readiness import Readiness, Snapshot
from overlay_edge.shared import Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.purge import Purger
from overlay_edge.tally import Latency, Tally, Traffic

if TYPE_CHECKING:
    from overlay_edge.admin.views import Counters


class View:
    """The admin plane's window into a node.

    Args:
        about: Fixed facts for ``/version``: profile, amnesia, pq_mode.
        config: Where readiness leaves and comes back.
        shared: What all links use together.
        tally: What is counted.
        bus: Told when readiness flips.
        journal: Told as well.

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
    ) -> None:
        self.listening: dict[str, str] = {}
        self.fingerprint = ""
        self.store: ObjectStore | None = None
        self.peers: Peers | None = None
        self.purger = Purger()
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
        self.auth_failures: Mapping[str, int] = {}
        self._was = self._readiness.state

    def set(self, check: str, reason: str = "") -> None:
        """Say how a check stands; an empty reason means that it holds."""
        self._readiness.set(check, not reason, reason, now=monotonic())
        self._notice()

    def _notice(self) -> None:
        """Tell the bus and the log when readiness has flipped."""
        if self._readiness.state is self._was:
            return
        self._was = self._readiness.state
        snapshot = self._readiness.snapshot(now=monotonic())
        self._bus.publish(ReadyChanged(snapshot.ready, snapshot.degraded, snapshot.missing))
        self._journal.info("readyz_change", ready=snapshot.ready, missing=list(snapshot.missing))

    def sample(self) -> None:
        """Look at what is too dear to be looked at for each page."""
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
            store_purged={"expired": self.purger.expired_objects},
            bus_published=self._bus.published_total,
            bus_lagged=self._bus.lagged_total,
            bus_overflow_dropped=self._bus.overflow_dropped_total,
            log_suppressed=self._journal.suppressed_total,
            latency=dict(tally.latency),
            canary=self.flights,
            auth_failures={str(reason): n for reason, n in self.auth_failures.items()},
        )

    def version(self) -> dict[str, object]:
        """What runs here."""
        return {
            "version": overlay_edge.__version__,
            **self._build._asdict(),
            "fingerprint": self.fingerprint,
            **self._about,
            "python": platform.python_version(),
            "features": ["comp:zstd", f"pq:{self._about['pq_mode']}"],
        }
