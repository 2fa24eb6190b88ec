"""Node: builds every room, runs until it is told to stop, and leaves in order.

    start   promise -> sockets are bound -> store -> TLS identity and self-test -> links -> admin
    stop    /readyz drops -> no new links or requests -> open requests finish -> objects wiped
    panic   everything is wiped at once, nobody is waited for

Nothing is half-started: what cannot be had ends the start with one error, and what was taken
before it is given back. A task that dies is started again; one that keeps dying ends the node.
"""

import asyncio
import contextlib
import importlib
import random
import secrets
import socket
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from overlay_edge import parts
from overlay_edge.bus import AuthFailed, Bus
from overlay_edge.canary import Canary, own_address
from overlay_edge.certificate import Certificate, Shown
from overlay_edge.client import Client, connect
from overlay_edge.config import AuthMode, Config, paths_in, require_fit
from overlay_edge.config.reload import compare
from overlay_edge.drain import CLOSE_S, Drain
from overlay_edge.ending import Ending
from overlay_edge.errors import EdgeError
from overlay_edge.host.amnesia import raise_fd_limit
from overlay_edge.host.board import read_machine
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.host.heap import settle
from overlay_edge.host.journal import Journal
from overlay_edge.host.pressure import Pressure
from overlay_edge.host.promise import Promise
from overlay_edge.net.accept import accept_forever
from overlay_edge.operations import Operations
from overlay_edge.panic import Panic
from overlay_edge.peers import Peers
from overlay_edge.proto.audit import NOTHING, AuditLog, Facts
from overlay_edge.proto.authority import Authority, Reason
from overlay_edge.proto.capability import Op
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.checks import checks_of
from overlay_edge.proto.clock import ClockFloor, built_time
from overlay_edge.reload import Reloader
from overlay_edge.shared import Limits, Shared
from overlay_edge.store.purge import expire_forever
from overlay_edge.supervise import Supervisor
from overlay_edge.tally import Tally
from overlay_edge.triggers import Triggers
from overlay_edge.view import View

if TYPE_CHECKING:
    from overlay_edge.admin.app import Admin
    from overlay_edge.admin.control import ControlPlane
    from overlay_edge.bridge.audit import AuditSink

SAMPLE_S = 0.25  # how often pressure is looked at when nobody asks


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
        panic: Wipes everything, and ends it.
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
        self._drain = Drain(self._bus, journal, self._record)
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
        self._supervisor = Supervisor(
            self._bus, journal, sleep=asyncio.sleep, dice=random.random, on_give_up=self._give_up
        )
        self._reloader: Reloader[Config] = Reloader(
            config,
            read=read_config or (lambda: config),
            compare=compare,
            prepare=self._prepare,
            bus=self._bus,
            journal=journal,
        )
        self._certificate = Certificate(has_aes=read_machine().has_aes, asks=config.gossip.enabled)
        self._plane: Admin | None = None
        self._operations: Operations | None = None
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
            checks=checks_of(
                config.panic, config.downstream, config.discovery, config.mqtt, random.random
            ),
            promise=self._promise,
        )
        self.panic = Panic(
            journal, self._audit, self._certificate, partial(self.view.set, "draining")
        )
        self.view.authority = self._authority
        self.view.audit = self._audit
        self.view.restarts = self._supervisor.restarts
        self.view.reloader = self._reloader
        self.view.set("bus")
        self.view.set("config", config_error)

    # -- life ---------------------------------------------------------------------------

    def request_stop(self, then: Ending | None = None) -> None:
        """Let the drain begin; idempotent. Call it on the event loop.

        Args:
            then: What is to come after; None = what was said before, or a restart.
        """
        self._drain.ask(then)

    def request_reload(self) -> None:
        """Read the settings again soon; the journal and the bus say what came of it."""
        self._reload_asked.set()

    async def run(self) -> Ending:
        """Run until :meth:`request_stop`; return after a clean drain what is to come then.

        Raises:
            EdgeError: Something the node cannot do without could not be had, or kept dying.
        """
        self._promise.start(now=monotonic())
        async with AsyncExitStack() as stack:
            stack.callback(self._forget)
            config = self._config
            oap = parts.bind(stack, "oap.addr", config.oap.addr, self.view.listening)
            admin = parts.bind(stack, "admin.addr", config.admin.addr, self.view.listening)
            fds = raise_fd_limit()
            memory_bytes = config.memory_budget_bytes - config.store.total_max_bytes
            self.view.pressure = Pressure(memory_bytes=memory_bytes, fds=fds)
            others = config.transport.max_conns + config.downstream.max_flights
            store = parts.open_store(stack, config.store, fds=fds - others)
            self.view.store = self.panic.store = store
            self.view.set("store")
            self._show(self._certificate.prepare(config.tls, config.oap.pq_mode))
            self.view.set("tls")
            peers = Peers(
                self._shared, store, self._authority, self.view.tally, self._bus, self._journal
            )
            peers.audit = self._audit
            self.view.peers = self.panic.peers = peers
            self.view.downstream = peers.downstream = parts.open_downstream(
                config.downstream, store, self.view.look_downstream
            )
            self.view.mesh = peers.mesh = parts.open_mesh(
                config.gossip, self._certificate, self.view.listening["oap.addr"], peers
            )
            self.view.lan = parts.open_lan(config.discovery, self.view, peers)
            self.view.mqtt = peers.mqtt = parts.open_mqtt(
                stack, config.mqtt, self._certificate, peers, partial(self.view.set, "mqtt")
            )
            self.panic.closers += [peers.mqtt.close] if peers.mqtt is not None else []
            operations = self._operations = Operations(
                store, self._authority, peers, self._reloader, self.request_stop, self.panic
            )
            triggers = Triggers(
                config.panic, operations, self.panic, self._journal, self._record, self.view.set
            )
            stack.callback(triggers.close)
            try:
                async with asyncio.TaskGroup() as tasks:
                    await self._serve(tasks, peers, oap, admin, triggers)
            except Exception:  # after a panic nothing else matters
                if not self.panic.is_struck:
                    raise
        if self.panic.is_struck:
            if self._plane is not None:
                self._plane.abort()
            return Ending.PANIC
        if self._failure is not None:
            raise self._failure
        return self._drain.ending

    async def _serve(
        self,
        tasks: asyncio.TaskGroup,
        peers: Peers,
        oap: socket.socket,
        admin: socket.socket,
        triggers: Triggers,
    ) -> None:
        keep, purge_s = self._supervisor.keep, self._config.store.purge_interval_s
        purge = partial(expire_forever, peers.store, purge_s, monotonic)
        accepting = tasks.create_task(keep("accept", partial(self._accept, oap, peers)))
        self.panic.closers += [accepting.cancel, oap.close, self.view.leave_lan]
        triggers.start()
        running = [
            tasks.create_task(self.panic.over()),
            tasks.create_task(keep("purger", purge)),
            tasks.create_task(keep("sampler", partial(self._sample, triggers))),
            tasks.create_task(keep("reload", self._reload_when_asked)),
        ]
        self.view.set("listeners")
        self._check_clock()
        plane = await self._start_admin(admin)
        canary = Canary(
            self._dial_self,
            partial(self.view.set, "canary"),
            interval_s=self._config.readiness.canary_interval_s,
        )
        self.view.flights = canary.latency
        flying = tasks.create_task(keep("canary", canary.run))
        self.view.look_downstream()
        rooms = {"mesh": peers.mesh, "downstream": peers.downstream, "mqtt": peers.mqtt}
        kept = {**rooms, "discovery": self.view.lan}
        running += [tasks.create_task(keep(name, one.run)) for name, one in kept.items() if one]
        if self._config.audit.sink:
            sink = parts.open_sink(self._audit, self._config.audit, self._journal)
            self._sink = self.view.sink = sink
            self.panic.closers.append(sink.close)
            running.append(tasks.create_task(keep("audit_sink", sink.run)))
        self._record(Kind.START)
        self.view.announce()
        settle()
        await asyncio.to_thread(self._authority.load)  # no probe waits for it
        await self._drain.asked()
        self.view.set("draining", "shutting down")
        self.view.leave_lan()
        flying.cancel()
        accepting.cancel()
        await asyncio.wait([accepting])
        oap.close()
        deadline_s = self._reloader.current.drain_deadline_s
        await self._drain.leave(peers, peers.store, self._sink, deadline_s=deadline_s)
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

    async def _start_admin(self, sock: socket.socket) -> "Admin":
        # aiohttp takes as long to load as all the rest: links are served meanwhile.
        app = await asyncio.to_thread(importlib.import_module, "overlay_edge.admin.app")
        control = importlib.import_module("overlay_edge.admin.control")
        self._control = control.ControlPlane(
            self._operations,
            self._bus,
            self._audit,
            self._config.control,
            authorize=self._authorize_control,
        )
        self.view.control = self._control
        plane: Admin = app.Admin(self.view, sock, self._control)
        self._plane = plane
        self.panic.closers.append(plane.stop_listening)
        await plane.start()
        self.view.set("admin")
        return plane

    def _forget(self) -> None:
        """Let go of keys and credentials; nothing can be served or sent any more."""
        self._certificate.forget()
        if self._sink is not None:
            self._sink.close()

    def _show(self, shown: Shown) -> None:
        self._certificate.show(shown)
        self.view.fingerprint = shown.fingerprint
        if self.view.mesh is not None:
            self.view.mesh.show(shown)

    def _dial_self(self) -> AbstractAsyncContextManager[Client]:
        return connect(own_address(self.view.listening["oap.addr"]), pin=self.view.fingerprint)

    async def _sample(self, triggers: Triggers) -> None:
        while True:
            self._check_clock()
            self.view.sample()
            await triggers.look()
            await asyncio.sleep(SAMPLE_S)

    # -- what is told -------------------------------------------------------------------

    def _record(
        self, kind: Kind, *, by: str = "node", subject: str = "", attrs: Facts = NOTHING
    ) -> None:
        about = {"name": subject} if subject else NOTHING
        now_ms = int(1000 * wall())
        self._audit.append(kind, ts_ms=now_ms, actor={"name": by}, subject=about, attrs=attrs)

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
                changed = " ".join(map(str, changes))
                self._record(Kind.POLICY_CHANGED, by="signal", attrs={"changed": changed})

    async def _prepare(self, new: Config) -> Callable[[], None]:
        """Do everything of a reload that can fail; what is returned cannot."""
        require_fit(new)
        self._promise.require(paths_in(new))
        shown = self._certificate.prepare(new.tls, new.oap.pq_mode)

        def commit() -> None:
            self._promise.take(paths_in(new))
            self._show(shown)
            self._shared.configure(limits_of(new))
            self._revoked(self._authority.reconfigure(new.auth))
            self._journal.configure(str(new.log_level))
            if self._control is not None:
                self._control.config = new.control
                self._control.recheck()
            if self.view.store is not None:
                self.view.store.configure(new.store)
            self.view.configure(new.readiness, pq_mode=str(new.oap.pq_mode))
            self.view.set("config")

        return commit

    def _revoked(self, ids: Collection[str]) -> None:
        """Wipe what is of a capability that a reload has revoked."""
        if not ids or self._operations is None:
            return
        try:
            report, _ = self._operations.forget(ids)
        except EdgeError as error:
            self._journal.error("revoke", reason=str(error))
            return
        self._journal.info("revoke", ids=len(ids), **report)
        for number in ids:
            self._record(Kind.CAP_REVOKED, by="reload", subject=number, attrs=report)


def limits_of(config: Config) -> Limits:
    """The part of a config that links live by."""
    return Limits(config.session("classical"), config.timeouts, config.transport, config.quota)
