"""Node: builds every room, runs until it is told to stop, and leaves in order.

    start   sockets are bound -> store -> TLS identity and self-test -> links -> admin plane
    stop    /readyz drops -> no new links or requests -> open requests finish -> objects wiped

Nothing is half-started: what cannot be had ends the start with one error, and what was taken
before it is given back.
"""

import asyncio
import contextlib
import gc
import importlib
import platform
import socket
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

import overlay_edge
from overlay_edge.bus import Bus, ReadyChanged, Shutdown, Topic
from overlay_edge.config import Config
from overlay_edge.config.values import split_addr
from overlay_edge.host.amnesia import limit_core_dumps, raise_fd_limit
from overlay_edge.host.board import read_machine
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import monotonic
from overlay_edge.host.files import read_private, read_public
from overlay_edge.host.journal import Journal
from overlay_edge.net.identity import Identity, make_ephemeral, read_identity
from overlay_edge.net.listen import listen
from overlay_edge.net.stream import address_of
from overlay_edge.net.tls import Context, self_test, server_context
from overlay_edge.peers import Peers
from overlay_edge.proto.readiness import Readiness, Snapshot
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import open_medium
from overlay_edge.store.purge import Purger
from overlay_edge.tally import Tally, Traffic

if TYPE_CHECKING:
    from overlay_edge.admin.views import Counters

SAMPLE_S = 0.25  # how often pressure is looked at when nobody asks
CLOSE_S = 2.0  # links and admin connections get this long to end after the drain
SPARE_FDS = 64  # listeners, admin connections, the program's own files


class Node:
    """One edge.

    Args:
        config: Every option, the board's profile already applied.
        profile: The profile's name, for people.
        config_error: A mistake in the site's settings; the node runs on safe defaults and
            says so in its readiness.
        journal: Where it logs.
    """

    def __init__(
        self, config: Config, *, profile: str, config_error: str = "", journal: Journal
    ) -> None:
        self._config = config
        self._profile = profile
        self._config_error = config_error
        self._journal = journal
        self._machine = read_machine()
        self._build = read_build()
        self._started = monotonic()
        self._readiness = Readiness(config.readiness, now=self._started)
        self._tally = Tally()
        self._purger = Purger()
        self._bus = Bus()
        self._kernel = self._bus.subscribe(Topic.KERNEL)
        self._is_stopping = False
        self._was_ready = False
        self._fingerprint = ""
        self._addresses: dict[str, str] = {}
        self._store: ObjectStore | None = None
        self._peers: Peers | None = None

    # -- life ---------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Publish ``Shutdown``: the drain begins. Idempotent; call it on the event loop."""
        if not self._is_stopping:
            self._is_stopping = True
            self._bus.publish(Shutdown())

    async def run(self) -> None:
        """Run until :meth:`request_stop`; return after a clean drain.

        Raises:
            EdgeError: Something the node cannot do without could not be had.
        """
        async with AsyncExitStack() as stack:
            oap, admin = self._take_sockets(stack)
            fds = raise_fd_limit()
            if self._config.amnesia:
                limit_core_dumps()
            self._set("bus")
            self._set("config", self._config_error)
            store = self._open_store(stack, fds)
            context = self._make_context()
            peers = Peers(
                self._config.session,
                self._config.timeouts,
                self._config.transport,
                store,
                self._tally,
                self._bus,
                self._journal,
            )
            self._peers = peers
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: peers.accept(context), sock=oap)
            stack.callback(server.close)
            self._set("listeners")
            await self._serve(peers, server, admin, store)

    async def _serve(
        self, peers: Peers, server: asyncio.Server, admin: socket.socket, store: ObjectStore
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(
                    self._purger.run(store, self._config.store.purge_interval_s, monotonic)
                ),
                tasks.create_task(self._sample()),
            ]
            # aiohttp takes as long to load as all the rest: links are served meanwhile.
            module = await asyncio.to_thread(importlib.import_module, "overlay_edge.admin.app")
            plane = module.Admin(self, admin)
            await plane.start()
            self._set("admin")
            self._announce()
            gc.collect()
            gc.freeze()
            gc.enable()
            await self._wait_shutdown()
            await self._drain(peers, server, store)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await plane.close()
            for task in running:
                task.cancel()

    async def _wait_shutdown(self) -> None:
        async for event in self._kernel:
            # The flag, too: a Shutdown among a flood of events may be one that was lost.
            if isinstance(event, Shutdown) or self._is_stopping:
                return

    async def _drain(self, peers: Peers, server: asyncio.Server, store: ObjectStore) -> None:
        self._set("draining", "shutting down")
        self._journal.info("shutdown_begin", inflight=self._tally.inflight)
        server.close()
        peers.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_deadline_s):
                await peers.wait_quiet()
        cut = self._tally.inflight
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await peers.close()
        report = store.purge()
        self._journal.info("shutdown_end", cut=cut, purged_objects=report.objects)

    # -- parts --------------------------------------------------------------------------

    def _take_sockets(
        self, stack: ExitStack | AsyncExitStack
    ) -> tuple[socket.socket, socket.socket]:
        taken = []
        for key, address in (
            ("oap.addr", self._config.oap.addr),
            ("admin.addr", self._config.admin.addr),
        ):
            sock = listen(address, *split_addr(address), key)
            stack.callback(sock.close)
            self._addresses[key] = address_of(sock.getsockname())
            taken.append(sock)
        return taken[0], taken[1]

    def _open_store(self, stack: ExitStack | AsyncExitStack, fds: int) -> ObjectStore:
        room = max(1, fds - self._config.transport.max_conns - SPARE_FDS)
        store = ObjectStore(self._config.store, open_medium(self._config.store, max_blobs=room))
        stack.callback(store.close)
        self._store = store
        self._set("store")
        return store

    def _make_context(self) -> Context:
        identity = self._identity()
        mode = self._config.oap.pq_mode
        self_test(mode, has_aes=self._machine.has_aes)
        context = server_context(identity, mode, has_aes=self._machine.has_aes)
        self._fingerprint = identity.fingerprint
        self._set("tls")
        return context

    def _identity(self) -> Identity:
        cert, key = self._config.tls.cert, self._config.tls.key
        if not cert:
            return make_ephemeral()
        return read_identity(
            read_public("tls.cert", cert), read_private("tls.key", key), cert=cert, key=key
        )

    def _announce(self) -> None:
        snapshot = self.readiness()
        oap, admin = self._addresses["oap.addr"], self._addresses["admin.addr"]
        self._journal.info(
            "start",
            msg=f"ready={int(snapshot.ready)} oap={oap} admin={admin} bus=subscribed",
            ready=int(snapshot.ready),
            missing=list(snapshot.missing),
            oap_addr=oap,
            admin_addr=admin,
            profile=self._profile,
            pq_mode=str(self._config.oap.pq_mode),
            fingerprint=self._fingerprint,
            start_ms=int(1000 * (monotonic() - self._started)),
        )

    # -- readiness ----------------------------------------------------------------------

    def _set(self, check: str, reason: str = "") -> None:
        self._readiness.set(check, not reason, reason, now=monotonic())
        self._notice()

    async def _sample(self) -> None:
        while True:
            self.readiness()
            await asyncio.sleep(SAMPLE_S)

    def _notice(self) -> None:
        """Tell the bus and the log when readiness has flipped."""
        if self._readiness.is_ready == self._was_ready:
            return
        self._was_ready = self._readiness.is_ready
        snapshot = self._readiness.snapshot(now=monotonic())
        self._bus.publish(ReadyChanged(snapshot.ready, snapshot.degraded, snapshot.missing))
        self._journal.info("readyz_change", ready=snapshot.ready, missing=list(snapshot.missing))

    # -- the admin plane's view ---------------------------------------------------------

    def readiness(self) -> Snapshot:
        """The truth of this moment: pressure is looked at now, not when it was last sampled."""
        now = monotonic()
        transport, store = self._config.transport, self._store
        self._readiness.gauge("inflight", self._tally.inflight, transport.max_inflight, now=now)
        if store is not None:
            # Bytes or descriptors, whichever is nearer to its end.
            full, limit = max(
                (store.used_bytes + store.reserved_bytes, self._config.store.total_max_bytes),
                (store.object_count + store.upload_count, store.max_objects),
                key=lambda pair: pair[0] / pair[1],
            )
            self._readiness.gauge("store_space", full, limit, now=now)
        self._notice()
        return self._readiness.snapshot(now=now)

    def addresses(self) -> dict[str, str]:
        """Where this node listens, as bound."""
        return {"oap": self._addresses["oap.addr"], "admin": self._addresses["admin.addr"]}

    def counters(self) -> "Counters":
        """What this node has done."""
        from overlay_edge.admin.views import Counters

        tally, store, config = self._tally, self._store, self._config
        traffic = self._peers.traffic() if self._peers else Traffic()
        frames = {"rx": traffic.received, "tx": traffic.sent}
        is_high = any(c.name == "inflight" and not c.ok for c in self.readiness().checks)
        return Counters(
            uptime_s=monotonic() - self._started,
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
            inflight_open=tally.inflight,
            inflight_high=tally.inflight if is_high else 0,
            rejected=dict(tally.rejected),
            quota_exhaustions=tally.quota_exhaustions,
            store_objects=store.object_count if store else 0,
            store_bytes=store.used_bytes + store.reserved_bytes if store else 0,
            store_limit_bytes=config.store.total_max_bytes,
            store_purged={"expired": self._purger.expired_objects},
            bus_published=self._bus.published_total,
            bus_lagged=self._bus.lagged_total,
            bus_overflow_dropped=self._bus.overflow_dropped_total,
            log_suppressed=self._journal.suppressed_total,
            latency=dict(tally.latency),
        )

    def version(self) -> dict[str, object]:
        """What runs here."""
        return {
            "version": overlay_edge.__version__,
            **self._build._asdict(),
            "fingerprint": self._fingerprint,
            "profile": self._profile,
            "amnesia": self._config.amnesia,
            "pq_mode": str(self._config.oap.pq_mode),
            "python": platform.python_version(),
            "features": ["comp:zstd", "pq:" + str(self._config.oap.pq_mode)],
        }
