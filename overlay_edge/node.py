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
import socket
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from functools import partial
from typing import TYPE_CHECKING

from overlay_edge.bus import AuthFailed, Bus, Shutdown, Topic
from overlay_edge.canary import Canary, own_address
from overlay_edge.client import Client, connect
from overlay_edge.config import AuthMode, Config
from overlay_edge.config.values import split_addr
from overlay_edge.host.amnesia import limit_core_dumps, raise_fd_limit
from overlay_edge.host.board import read_machine
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.host.files import read_private, read_public
from overlay_edge.host.journal import Journal
from overlay_edge.host.pressure import Pressure
from overlay_edge.net.accept import accept_forever
from overlay_edge.net.identity import Identity, make_ephemeral, read_identity
from overlay_edge.net.listen import listen
from overlay_edge.net.stream import address_of
from overlay_edge.net.tls import Context, self_test, server_context
from overlay_edge.peers import Peers
from overlay_edge.proto.authority import Authority, Reason
from overlay_edge.proto.checks import AUTH, CANARY, CHECKS, CLOCK, SAMPLED
from overlay_edge.proto.clock import ClockFloor, built_time
from overlay_edge.shared import Limits, Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import open_medium
from overlay_edge.tally import Tally
from overlay_edge.view import View

if TYPE_CHECKING:
    from overlay_edge.admin.app import Admin

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

    Attributes:
        view: What it shows of itself.
    """

    def __init__(
        self, config: Config, *, profile: str, config_error: str = "", journal: Journal
    ) -> None:
        self._config = config
        self._config_error = config_error
        self._journal = journal
        self._has_aes = read_machine().has_aes
        self._bus = Bus()
        self._kernel = self._bus.subscribe(Topic.KERNEL)
        self._is_stopping = False
        self._shared = Shared(limits_of(config), now=monotonic())
        about = {"profile": profile, "amnesia": config.amnesia, "pq_mode": str(config.oap.pq_mode)}
        built = built_time(read_build().build)
        clock = ClockFloor(built, config.auth.leeway_s)
        self._authority = Authority(config.auth, clock, self._auth_failed)
        self.view = View(
            about,
            config.readiness,
            self._shared,
            Tally(),
            self._bus,
            journal,
            checks=(*CHECKS, *SAMPLED, CANARY, CLOCK, AUTH),
        )
        self.view.auth_failures = self._authority.failures

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
            self.view.pressure = Pressure(
                memory_bytes=self._config.memory_budget_bytes - self._config.store.total_max_bytes,
                fds=fds,
            )
            self.view.set("bus")
            self.view.set("config", self._config_error)
            store = self._open_store(stack, fds)
            context = self._make_context()
            peers = Peers(
                self._shared, store, self._authority, self.view.tally, self._bus, self._journal
            )
            self.view.peers = peers
            async with asyncio.TaskGroup() as tasks:
                accepting = tasks.create_task(self._accept(oap, context, peers))
                interval_s = self._config.store.purge_interval_s
                running = [
                    tasks.create_task(self.view.purger.run(store, interval_s, monotonic)),
                    tasks.create_task(self._sample()),
                ]
                self.view.set("listeners")
                plane = await self._start_admin(admin)
                canary = Canary(
                    self._dial_self,
                    partial(self.view.set, "canary"),
                    interval_s=self._config.readiness.canary_interval_s,
                )
                self.view.flights = canary.latency
                flying = tasks.create_task(canary.run())
                self._authority.load()
                self._check_clock()
                self._announce()
                gc.collect()
                gc.freeze()
                gc.enable()
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

    async def _accept(self, oap: socket.socket, context: Context, peers: Peers) -> None:
        def out_of_files(error: OSError) -> None:
            self._journal.error("accept", reason=error.strerror)

        await accept_forever(oap, partial(peers.accept, context), peers.pace, out_of_files)

    async def _start_admin(self, sock: socket.socket) -> "Admin":
        # aiohttp takes as long to load as all the rest: links are served meanwhile.
        module = await asyncio.to_thread(importlib.import_module, "overlay_edge.admin.app")
        plane: Admin = module.Admin(self.view, sock)
        await plane.start()
        self.view.set("admin")
        return plane

    def _dial_self(self) -> AbstractAsyncContextManager[Client]:
        return connect(
            own_address(self.view.listening["oap.addr"]),
            pin=self.view.fingerprint,
            pq_mode=self._config.oap.pq_mode,
        )

    def _auth_failed(self, reason: Reason, fingerprint: str) -> None:
        self._bus.publish(AuthFailed(str(reason), fingerprint))
        self._journal.warning("auth_fail", reason=str(reason), cap_id=fingerprint)

    def _check_clock(self) -> None:
        """Say what expiry is judged by, and whether anybody can be believed at all."""
        _, is_trusted, reason = self._authority.clock.judge(wall())
        self.view.set("clock", "" if is_trusted else reason)
        nobody = self._authority.mode is not AuthMode.NONE and not self._authority.keys
        self.view.set("auth", "auth.keys is empty: nobody can write" if nobody else "")

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
            async with asyncio.timeout(self._config.drain_deadline_s):
                await peers.wait_quiet()
        cut = self._shared.inflight
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
            self.view.listening[key] = address_of(sock.getsockname())
            taken.append(sock)
        return taken[0], taken[1]

    def _open_store(self, stack: ExitStack | AsyncExitStack, fds: int) -> ObjectStore:
        room = max(1, fds - self._config.transport.max_conns - SPARE_FDS)
        store = ObjectStore(self._config.store, open_medium(self._config.store, max_blobs=room))
        stack.callback(store.close)
        self.view.store = store
        self.view.set("store")
        return store

    def _make_context(self) -> Context:
        identity = self._identity()
        mode = self._config.oap.pq_mode
        self_test(mode, has_aes=self._has_aes)
        context = server_context(identity, mode, has_aes=self._has_aes)
        self.view.fingerprint = identity.fingerprint
        self.view.set("tls")
        return context

    def _identity(self) -> Identity:
        cert, key = self._config.tls.cert, self._config.tls.key
        if not cert:
            return make_ephemeral()
        return read_identity(
            read_public("tls.cert", cert), read_private("tls.key", key), cert=cert, key=key
        )

    def _announce(self) -> None:
        snapshot, listening = self.view.readiness(), self.view.listening
        oap, admin = listening["oap.addr"], listening["admin.addr"]
        self._journal.info(
            "start",
            msg=f"ready={int(snapshot.ready)} oap={oap} admin={admin} bus=subscribed",
            ready=int(snapshot.ready),
            missing=list(snapshot.missing),
            oap_addr=oap,
            admin_addr=admin,
            **self.view.version(),
            start_ms=int(1000 * (monotonic() - self.view.started)),
        )


def limits_of(config: Config) -> Limits:
    """The part of a config that links live by."""
    return Limits(config.session("classical"), config.timeouts, config.transport, config.quota)
