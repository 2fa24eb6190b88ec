"""Discovery: multicast DNS, to find other nodes of the local network and to be found there.

    kernel's bell, a look every ten seconds --> interfaces --> sockets --> host name --> services
    packets --> Door --> records --> Nearby --> the mesh is told of nodes that came and went

What to make of it all is decided in :mod:`overlay_edge.proto.nearby` and ``hostname``; here it is
asked and told. The network may be late, and may go and come back: this waits for it.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from overlay_edge.bridge.lan import About, Audience, Guard, no_programs, silence
from overlay_edge.config import DiscoveryConfig
from overlay_edge.config.values import split_addr
from overlay_edge.host.clock import monotonic
from overlay_edge.host.network import Bell, Link, read_links
from overlay_edge.proto.beacon import SERVICE, Service, services
from overlay_edge.proto.hostname import HostName, Step, Telling, base_name, is_probe
from overlay_edge.proto.nearby import LIFETIME_S, Ask, Browse, Effect, Lookup, Nearby, Sightings

with no_programs():
    import zeroconf
    from zeroconf import (  # type: ignore[attr-defined]
        DNSOutgoing,
        DNSPointer,
        DNSQuestion,
        IPVersion,
        RecordUpdate,
        RecordUpdateListener,
    )
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

LOOK_S = 10.0  # a new certificate, or a bell that did not ring
LATE_S = 5.0  # after the start, or a pulled cable, an address may take that long
SETTLE_S = 0.3  # an interface that comes up rings several times
START_S = 5.0  # sockets are ready within a turn of the loop
MAX_KEPT_BYTES = 16 << 10  # of packets; 20 times as much once they are objects, measured
CLOSE_S = 1.0  # three goodbyes take a quarter of a second
LOOKUP_MS = 3000
A, PTR, AAAA, SRV, EVERYTHING = 1, 12, 28, 33, 255  # RFC 1035, 3596, 2782
INTERNET, TO_ME_ALONE = 1, 0x8000  # RFC 6762 section 5.4
QUERY = 0x0000
KNOWN_S = 4500  # RFC 6762 section 10, of what is not the name of a host


class Discovery:
    """Finds, and is found, while it runs.

    Args:
        config: What of both.
        about: This node as of now; asked again and again.
        audience: Told of other nodes, and of this one's name.
        tell: Takes why it does not work; empty = it does.
        lifetime_s: How long a node that says nothing is believed to be there.
        late_s: How long it may be without a network before it says so.
        kept_bytes: Packets that the library may keep of others.
        links: Reads the machine's interfaces.
    """

    def __init__(
        self,
        config: DiscoveryConfig,
        about: Callable[[], About],
        *,
        audience: Audience,
        tell: Callable[[str], None],
        lifetime_s: float = LIFETIME_S,
        late_s: float = LATE_S,
        kept_bytes: int = MAX_KEPT_BYTES,
        links: Callable[[Iterable[str]], tuple[Link, ...]] = read_links,
    ) -> None:
        self._config = config
        self._about = about
        self._audience = audience
        self._tell = tell
        self._read_links = links
        self._links: tuple[Link, ...] = ()
        self._zc: AsyncZeroconf | None = None
        self._nearby = Nearby(lifetime_s, now=monotonic())
        self._guard = Guard(self._nearby.refused, self._overhear)
        self._host = HostName("")
        self._told: list[Service] = []
        self._announcements = 0
        self._telling = Telling()
        self._is_over = False
        self._late_s = late_s
        self._kept_bytes = kept_bytes
        self._alone_since = monotonic()
        self._wake_at = 0.0
        self._stir = asyncio.Event()
        self._settling: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def sightings(self) -> Sightings:
        """What it has done."""
        return Sightings(
            f"{self._host.name}.local" if self._host.is_held else "",
            len(self._nearby),
            self._announcements,
            self._host.conflicts_total,
            dict(self._nearby.refused),
        )

    async def run(self) -> None:
        """Go on until cancelled; then say goodbye."""
        await asyncio.to_thread(self._read_links, ())  # what it needs is loaded there
        loop = asyncio.get_running_loop()
        bell = Bell()
        if bell.fileno() >= 0:
            loop.add_reader(bell.fileno(), self._ring, bell)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                while not self._is_over:
                    try:
                        await self._turn()
                    except (OSError, TimeoutError, zeroconf.Error) as exc:
                        self._tell(f"{type(exc).__name__}: {exc}")
                        await self._close()
                        self._links = ()  # begin anew at the next look
                    await self._pause()
        finally:
            if bell.fileno() >= 0:
                loop.remove_reader(bell.fileno())
            bell.close()
            if self._settling is not None:
                self._settling.cancel()
            try:
                await self._close()
            finally:
                self.leave()

    def look(self) -> None:
        """Look at interfaces and at this node itself now, not in a while."""
        self._stir.set()

    def leave(self) -> None:
        """Say goodbye and let go of the sockets, without waiting for anything."""
        self._is_over = True
        zc, self._zc = self._zc, None
        if zc is not None:
            goodbye = zc.zeroconf.generate_unregister_all_services()
            if goodbye is not None:
                zc.zeroconf.async_send(goodbye)
            zc.zeroconf.close()
        self._stir.set()

    # -- one turn -----------------------------------------------------------------------

    async def _turn(self) -> None:
        about = self._about()
        self._nearby.me = about.beacon.node
        links = self._read_links(self._config.interfaces)
        if links != self._links:
            await self._close()
            await self._open(links, about)
        if self._zc is None:
            self._do(self._nearby.clear())
            is_late = monotonic() - self._alone_since >= self._late_s
            self._tell(silence(self._config.interfaces) if is_late else "")
            return
        self._alone_since = monotonic()
        if self._guard.let_in_bytes > self._kept_bytes:
            self._forget(self._zc.zeroconf)
        self._do(self._nearby.wake(now=monotonic()))
        reason = self._be_found(self._zc, about) if self._config.announce else ""
        self._tell(reason)

    def _forget(self, core: zeroconf.Zeroconf) -> None:
        """Let go of what the library keeps of others' words, but who is there: to hear them go."""
        self._guard.let_in_bytes = 0
        cache = core.cache
        kept = [one for name in cache.names() for one in cache.async_entries_with_name(name)]
        cache.async_remove_records(kept)
        core.question_history.clear()
        cache.async_add_records(self._pointers(self._nearby.instances))

    def _pointers(self, instances: Iterable[str]) -> list[Any]:
        return [DNSPointer(SERVICE, PTR, INTERNET, KNOWN_S, name) for name in instances]

    async def _open(self, links: tuple[Link, ...], about: About) -> None:
        is_v6 = ":" in split_addr(about.oap)[0]
        choice = [name for link in links for name in link.names(has_v6=is_v6)]
        self._links = links
        own = self._guard.own = [address for link in links for address in link.addresses]
        if not choice:
            return
        version = IPVersion.All if is_v6 else IPVersion.V4Only
        self._zc = AsyncZeroconf(interfaces=choice, ip_version=version)
        core = self._zc.zeroconf
        await core.async_wait_for_start(START_S)
        for reader in core.engine.readers:
            self._guard.watch(reader.transport)
        core.async_add_listener(_Ear(self._hear), None)
        if self._config.enabled:
            self._nearby.browse(now=monotonic())
        self._host.begin([one.ip for one in own], now=monotonic())

    async def _close(self) -> None:
        """Say goodbye three times, as far as there is a network."""
        zc = self._zc
        self._told = []
        self._telling.stop()
        if zc is None:
            return
        with suppress(TimeoutError, OSError, zeroconf.Error):
            async with asyncio.timeout(CLOSE_S):
                await zc.async_close()
        if self._zc is zc:
            self._zc = None

    async def _pause(self) -> None:
        now = monotonic()
        deadlines = [now + LOOK_S]
        if self._zc is None and now < self._alone_since + self._late_s:
            deadlines.append(self._alone_since + self._late_s)
        if self._zc is not None:
            waits = [self._nearby.deadline(), self._telling.deadline]
            waits += [self._host.deadline] if self._config.announce else []
            deadlines += [at for at in waits if at is not None]
        self._wake_at = min(deadlines)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._wake_at - now)):
                await self._stir.wait()
        self._stir.clear()

    def _ring(self, bell: Bell) -> None:
        bell.hush()
        if self._settling is not None:
            self._settling.cancel()
        self._settling = asyncio.get_running_loop().call_later(SETTLE_S, self._stir.set)

    # -- to be found --------------------------------------------------------------------

    def _be_found(self, zc: AsyncZeroconf, about: About) -> str:
        """Have a name, and tell it; returns why that is not so."""
        host, now = self._host, monotonic()
        if (base := base_name(about.machine, about.beacon.node)) != host.base:
            self._take(host.rename(base, now=now))
        own = self._guard.own
        host.have([one.ip for one in own], now=now)
        self._take(host.wake(now=now))
        if not host.is_held:
            return f"{host.name}.local: taken, as every name before it" if host.is_denied else ""
        wanted = services(about.beacon, host.name, about.oap, about.admin, own)
        if wanted != self._told:
            self._register(zc.zeroconf, wanted)
            self._telling.begin(now=now)
        if self._telling.is_due(now=now):
            self._announcements += bool(wanted)
            for service in wanted:
                self._broadcast(zc.zeroconf, service)
        return "" if wanted else f"oap.addr is {about.oap}: it cannot be reached on any interface"

    def _register(self, core: zeroconf.Zeroconf, wanted: list[Service]) -> None:
        """Answer for these from now on, and say goodbye for those that are no more."""
        names = {service.instance for service in wanted}
        for service in self._told:
            if service.instance not in names:
                self._broadcast(core, service, ttl=0)
        self._told = wanted
        core.registry.async_remove(core.registry.async_get_service_infos())
        for service in wanted:  # nobody else's: one is named by the id, one by the host name
            core.registry.async_add(_info(service))

    def _broadcast(self, core: zeroconf.Zeroconf, one: Service, ttl: int | None = None) -> None:
        has_host = ttl is None  # the host's addresses may be those of another service, too
        core.async_send(core.generate_service_broadcast(_info(one), ttl, has_host))

    def _take(self, steps: list[Step]) -> None:
        """Do what the host name asks for."""
        zc, name = self._zc, self._host.name
        if zc is None:
            return
        for step in steps:
            match step:
                case Step.PROBE:
                    # Some do not answer to "everything", though they should.
                    kinds, asked = (EVERYTHING, A, AAAA), f"{name}.local."
                    self._ask(*(DNSQuestion(asked, one, INTERNET | TO_ME_ALONE) for one in kinds))
                case Step.TELL:
                    self._telling.begin(now=monotonic())
                    self._audience.named(name)
                case Step.HIDE:
                    self._told = []
                    self._telling.stop()
                    registry = zc.zeroconf.registry
                    registry.async_remove(registry.async_get_service_infos())

    # -- to find ------------------------------------------------------------------------

    def _overhear(self, packet: bytes) -> None:
        """A packet is let in: the library answers to some questions, and not to this one."""
        if self._host.is_held and is_probe(packet, self._host.name):
            self._telling.urge(now=monotonic())
            self._stir.set()

    def _hear(self, record: Any, *, is_expired: bool) -> None:
        """Somebody said something, or what they said is not true any more."""
        now = monotonic()
        if self._guard.let_in_bytes > self._kept_bytes:
            self._stir.set()
        if record.type in (A, AAAA):
            if self._config.announce and record.key == f"{self._host.name}.local." and record.ttl:
                name, address = self._host.name, ip_address(record.address)
                if not is_expired and (steps := self._host.heard(address, now=now)):
                    self._audience.contested(name)
                    self._take(steps)
                    self._stir.set()
        elif not self._config.enabled:
            return
        elif record.type == PTR and record.key == SERVICE:
            if record.ttl:
                self._heard(record.alias, now, is_expired=is_expired)
            else:
                self._do(self._nearby.gone(record.alias))
        elif record.type == SRV and record.key.endswith(f".{SERVICE}"):
            self._heard(record.name, now, is_expired=is_expired)

    def _heard(self, instance: str, now: float, *, is_expired: bool) -> None:
        if is_expired:  # what is true of a node is asked again in time
            return
        self._do(self._nearby.heard(instance, self._guard.source, now=now))
        if (due := self._nearby.deadline()) is not None and due < self._wake_at:
            self._stir.set()

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Lookup(instance):
                    if self._tasks is not None and self._zc is not None:
                        self._tasks.create_task(self._look_up(self._zc, instance))
                case Ask(instance):
                    self._ask(DNSQuestion(instance, SRV, INTERNET))
                case Browse(known):
                    self._ask(DNSQuestion(SERVICE, PTR, INTERNET), known=self._pointers(known))
                case _:
                    self._audience.tell(effect)

    def _ask(self, *questions: Any, known: Sequence[Any] = ()) -> None:
        query = DNSOutgoing(QUERY)
        for question in questions:
            query.add_question(question)
        for answer in known:
            query.add_answer_at_time(answer, 0)
        if self._zc is not None:
            self._zc.zeroconf.async_send(query)

    async def _look_up(self, zc: AsyncZeroconf, instance: str) -> None:
        info = AsyncServiceInfo(SERVICE, instance)
        try:
            is_found = await info.async_request(zc.zeroconf, LOOKUP_MS)
        except (OSError, zeroconf.Error):
            is_found = False
        if not is_found or self._zc is not zc:
            self._nearby.failed(instance)
            return
        effects = self._nearby.found(
            instance,
            txt=info.text or b"",
            addresses=info.parsed_scoped_addresses(),
            port=info.port,
            own=self._guard.own,
            now=monotonic(),
        )
        self._do(effects)
        self._stir.set()


class _Ear(RecordUpdateListener):
    """Hands on every record that comes in."""

    def __init__(self, hear: Callable[..., None]) -> None:
        self._hear = hear

    def async_update_records(
        self, _zc: zeroconf.Zeroconf, now: float, records: list[RecordUpdate]
    ) -> None:
        """Called by the library, with milliseconds of its own clock."""
        for update in records:
            self._hear(update.new, is_expired=update.new.is_expired(now))

    def async_update_records_complete(self) -> None:
        """Called by the library."""


def _info(service: Service) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        service.kind,
        service.instance,
        service.port,
        properties=dict(service.txt),
        server=service.host,
        addresses=[address.packed for address in service.addresses],
    )
