"""Node: builds every room, runs until it is told to stop, and leaves in order.

    start   promise -> sockets are bound -> store -> TLS identity and self-test -> links -> admin
    stop    /readyz drops -> no new links or requests -> open requests finish -> objects wiped

Nothing is half-started: what cannot be had ends the start with one error, and what was taken
before it is given back. A task that dies is started again; one that keeps dying ends the node.
"""

import asyncio
import contextlib
import gc
import importlib
import random
import secrets
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from functools import partial
from typing import TYPE_CHECKING

from overlay_edge.bus import AuthFailed, Bus, Shutdown, Topic
from overlay_edge.canary import Canary, own_address
from overlay_edge.certificate import Certificate, Shown
from overlay_edge.client import Client, connect
from overlay_edge.config import AuthMode, Config, paths_in, require_fit
from overlay_edge.config.reload import compare
from overlay_edge.config.values import split_addr
from overlay_edge.errors import EdgeError
from overlay_edge.host.amnesia import raise_fd_limit
from overlay_edge.host.board import read_machine
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.host.journal import Journal
from overlay_edge.host.pressure import Pressure
from overlay_edge.host.promise import Promise
from overlay_edge.net.accept import accept_forever
from overlay_edge.net.listen import listen
from overlay_edge.net.stream import address_of
from overlay_edge.operations import Operations
from overlay_edge.peers import Peers
from overlay_edge.proto.audit import AuditLog
from overlay_edge.proto.authority import Authority, Reason
from overlay_edge.proto.capability import Op
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.checks import AUTH, CANARY, CHECKS, CLOCK, SAMPLED, downstreams
from overlay_edge.proto.clock import ClockFloor, built_time
from overlay_edge.reload import Reloader
from overlay_edge.shared import Limits, Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import open_medium
from overlay_edge.supervise import Supervisor
from overlay_edge.tally import Tally
from overlay_edge.view import View

if TYPE_CHECKING:
    from overlay_edge.admin.app import Admin
    from overlay_edge.admin.control import ControlPlane
    from overlay_edge.bridge.audit import AuditSink

SAMPLE_S = 0.25  # how often pressure is looked at when nobody asks
CLOSE_S = 2.0  # links and admin connections get this long to end after the drain
DRAIN_AUDIT_S = 1.0  # the last records get this long to reach their collector
SPARE_FDS = 64  # listeners, admin connections, the program's own files


class Node:
    """One edge.

    Args:
        config: Every option, the board's profile already applied.
        profile: The profile's name, for people.
        config_error: A mistake in the site's settings; the node runs on safe defaults and
            says so in its readiness.
        journal: Where it logs.
        read_config: Gathers the settings again, for a reload; raises ConfigError.

    Attributes:
        view: What it shows of itself.
    """

    def __init__(
        self,
        config: Config,
        *,
        profile: str,
        config_error: str = "",
        journal: Journal,
        read_config: Callable[[], Config] | None = None,
    ) -> None:
        self._config = config
        self._journal = journal
        self._bus = Bus()
        self._kernel = self._bus.subscribe(Topic.KERNEL)
        self._is_stopping = False
        self._failure: EdgeError | None = None
        self._reload_asked = asyncio.Event()
        self._shared = Shared(limits_of(config), now=monotonic())
        clock = ClockFloor(built_time(read_build().build), config.auth.leeway_s)
        self._authority = Authority(config.auth, clock, self._auth_failed)
        self._audit = AuditLog(
            writer=f"svc-overlay@{socket.gethostname()}",
            boot=secrets.token_hex(8),
            max_records=config.audit.records,
            max_bytes=config.audit.ring_bytes,
        )
        dice = random.random
        self._supervisor = Supervisor(
            self._bus, journal, sleep=asyncio.sleep, dice=dice, on_give_up=self._give_up
        )
        self._reloader: Reloader[Config] = Reloader(
            config,
            read=read_config or (lambda: config),
            compare=compare,
            prepare=self._prepare,
            bus=self._bus,
            journal=journal,
        )
        self._certificate = Certificate(has_aes=read_machine().has_aes)
        self._control: ControlPlane | None = None
        self._sink: AuditSink | None = None
        self._promise = Promise(config.amnesia, paths_in(config), log_fds=journal.fds)
        self.view = View(
            {"profile": profile, "pq_mode": str(config.oap.pq_mode)},
            config.readiness,
            self._shared,
            Tally(),
            self._bus,
            journal,
            checks=(*CHECKS, *SAMPLED, CANARY, CLOCK, AUTH, *downstreams(config.downstream, dice)),
            promise=self._promise,
        )
        self.view.authority = self._authority
        self.view.audit = self._audit
        self.view.restarts = self._supervisor.restarts
        self.view.reloader = self._reloader
        self.view.set("bus")
        self.view.set("config", config_error)

    # -- life ---------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Publish ``Shutdown``: the drain begins. Idempotent; call it on the event loop."""
        if not self._is_stopping:
            self._is_stopping = True
            self._bus.publish(Shutdown())

    def forget(self) -> None:
        """Let go of the keys and credentials; nothing can be served or sent any more."""
        self._certificate.forget()
        if self._sink is not None:
            self._sink.close()

    def request_reload(self) -> None:
        """Read the settings again soon; the journal and the bus say what came of it."""
        self._reload_asked.set()

    async def run(self) -> None:
        """Run until :meth:`request_stop`; return after a clean drain.

        Raises:
            EdgeError: Something the node cannot do without could not be had, or kept dying.
        """
        self._promise.start(now=monotonic())
        async with AsyncExitStack() as stack:
            stack.callback(self.forget)
            oap, admin = self._take_sockets(stack)
            fds = raise_fd_limit()
            memory_bytes = self._config.memory_budget_bytes - self._config.store.total_max_bytes
            self.view.pressure = Pressure(memory_bytes=memory_bytes, fds=fds)
            store = self._open_store(stack, fds)
            self._show(self._certificate.prepare(self._config.tls, self._config.oap.pq_mode))
            self.view.set("tls")
            peers = Peers(
                self._shared, store, self._authority, self.view.tally, self._bus, self._journal
            )
            peers.audit = self._audit
            self.view.peers = peers
            if self._config.downstream.storage or self._config.downstream.mailbox:
                from overlay_edge.bridge.services import Downstream

                peers.downstream = Downstream(
                    self._config.downstream, store, self.view.look_downstream
                )
                self.view.downstream = peers.downstream
            async with asyncio.TaskGroup() as tasks:
                await self._serve(tasks, peers, oap, admin, store)
        if self._failure is not None:
            raise self._failure

    async def _serve(
        self,
        tasks: asyncio.TaskGroup,
        peers: Peers,
        oap: socket.socket,
        admin: socket.socket,
        store: ObjectStore,
    ) -> None:
        keep = self._supervisor.keep
        accepting = tasks.create_task(keep("accept", partial(self._accept, oap, peers)))
        running = [
            tasks.create_task(keep("purger", partial(self._purge, store))),
            tasks.create_task(keep("sampler", self._sample)),
            tasks.create_task(keep("reload", self._reload_when_asked)),
        ]
        self.view.set("listeners")
        self._check_clock()
        plane = await self._start_admin(admin, store)
        canary = Canary(
            self._dial_self,
            partial(self.view.set, "canary"),
            interval_s=self._config.readiness.canary_interval_s,
        )
        self.view.flights = canary.latency
        flying = tasks.create_task(keep("canary", canary.run))
        if peers.downstream is not None:
            self.view.look_downstream()
            running.append(tasks.create_task(keep("downstream", peers.downstream.run)))
        if self._config.audit.sink:
            running.append(tasks.create_task(keep("audit_sink", self._make_sink().run)))
        self._record(Kind.START)
        self.view.announce()
        gc.collect()
        gc.freeze()
        gc.enable()
        await asyncio.to_thread(self._authority.load)  # no probe waits for it
        await self._wait_shutdown()
        self.view.set("draining", "shutting down")
        flying.cancel()
        accepting.cancel()
        await asyncio.wait([accepting])
        oap.close()
        await self._drain(peers, store)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await plane.close()
        for task in running:
            task.cancel()

    async def _accept(self, oap: socket.socket, peers: Peers) -> None:
        def out_of_files(error: OSError) -> None:
            self._journal.error("accept", reason=error.strerror)

        def accept(host: str) -> asyncio.BaseProtocol:
            return peers.accept(self._certificate.context, host)

        await accept_forever(oap, accept, peers.pace, out_of_files)

    async def _purge(self, store: ObjectStore) -> None:
        await self.view.purger.run(store, self._config.store.purge_interval_s, monotonic)

    async def _start_admin(self, sock: socket.socket, store: ObjectStore) -> "Admin":
        # aiohttp takes as long to load as all the rest: links are served meanwhile.
        app = await asyncio.to_thread(importlib.import_module, "overlay_edge.admin.app")
        control = importlib.import_module("overlay_edge.admin.control")
        self._control = control.ControlPlane(
            Operations(store, self._authority, self._reloader),
            self._bus,
            self._audit,
            self._config.control,
            authorize=self._authorize_control,
        )
        self.view.control = self._control
        plane: Admin = app.Admin(self.view, sock, self._control)
        await plane.start()
        self.view.set("admin")
        return plane

    def _make_sink(self) -> "AuditSink":
        from overlay_edge.bridge.audit import make_sink

        self._sink = self.view.sink = make_sink(self._audit, self._config.audit, self._journal)
        return self._sink

    def _show(self, shown: Shown) -> None:
        self._certificate.show(shown)
        self.view.fingerprint = shown.fingerprint

    def _dial_self(self) -> AbstractAsyncContextManager[Client]:
        return connect(own_address(self.view.listening["oap.addr"]), pin=self.view.fingerprint)

    async def _sample(self) -> None:
        while True:
            self._check_clock()
            self.view.sample()
            await asyncio.sleep(SAMPLE_S)

    async def _wait_shutdown(self) -> None:
        async for event in self._kernel:
            # The flag, too: a Shutdown among a flood of events may be one that was lost.
            if isinstance(event, Shutdown) or self._is_stopping:
                return

    async def _drain(self, peers: Peers, store: ObjectStore) -> None:
        self._journal.info("shutdown_begin", inflight=self._shared.inflight)
        peers.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._reloader.current.drain_deadline_s):
                await peers.wait_quiet()
        cut = self._shared.inflight
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await peers.close()
        report = store.purge()
        self._record(Kind.STOP)
        if self._sink is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_AUDIT_S):
                    await self._sink.drained()
        self._journal.info("shutdown_end", cut=cut, purged_objects=report.objects)

    # -- what is told -------------------------------------------------------------------

    def _record(self, kind: Kind) -> None:
        self._audit.append(kind, ts_ms=int(1000 * wall()), actor={"name": "node"})

    def _give_up(self, name: str, reason: str) -> None:
        self._failure = self._failure or EdgeError(f"{name} keeps failing: {reason}")
        self.request_stop()

    def _auth_failed(self, reason: Reason, fingerprint: str) -> None:
        self._bus.publish(AuthFailed(str(reason), fingerprint))
        self._journal.warning("auth_fail", reason=str(reason), cap_id=fingerprint)

    def _authorize_control(self, bearer: str) -> str:
        return self._authority.bearer(bearer, Op.CONTROL, now=wall()).fingerprint

    def _check_clock(self) -> None:
        """Say what expiry is judged by, and whether anybody can be believed at all."""
        _, is_trusted, reason = self._authority.clock.judge(wall())
        self.view.set("clock", "" if is_trusted else reason)
        nobody = self._authority.mode is not AuthMode.NONE and not self._authority.keys
        self.view.set("auth", "auth.keys is empty: nobody can write" if nobody else "")

    # -- reload -------------------------------------------------------------------------

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            with contextlib.suppress(EdgeError):  # it is in the journal already
                changes = await self._reloader.reload()
                self._audit.append(
                    Kind.POLICY_CHANGED,
                    ts_ms=int(1000 * wall()),
                    actor={"name": "signal"},
                    attrs={"changed": " ".join(map(str, changes))},
                )

    async def _prepare(self, new: Config) -> Callable[[], None]:
        """Do everything of a reload that can fail; what is returned cannot."""
        require_fit(new)
        self._promise.require(paths_in(new))
        shown = self._certificate.prepare(new.tls, new.oap.pq_mode)

        def commit() -> None:
            self._promise.take(paths_in(new))
            self._show(shown)
            self._shared.configure(limits_of(new))
            self._authority.reconfigure(new.auth)
            self._journal.configure(str(new.log_level))
            if self._control is not None:
                self._control.config = new.control
            if self.view.store is not None:
                self.view.store.configure(new.store)
            self.view.configure(new.readiness, pq_mode=str(new.oap.pq_mode))
            self.view.set("config")

        return commit

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
            self.view.listening[key] = address_of(sock.getsockname())
            taken.append(sock)
        return taken[0], taken[1]

    def _open_store(self, stack: ExitStack | AsyncExitStack, fds: int) -> ObjectStore:
        spare = SPARE_FDS + self._config.downstream.max_flights
        room = max(1, fds - self._config.transport.max_conns - spare)
        store = ObjectStore(self._config.store, open_medium(self._config.store, max_blobs=room))
        stack.callback(store.close)
        self.view.store = store
        self.view.set("store")
        return store


def limits_of(config: Config) -> Limits:
    """The part of a config that links live by."""
    return Limits(config.session("classical"), config.timeouts, config.transport, config.quota)
