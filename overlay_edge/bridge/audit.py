"""Audit sink: every record leaves this node at least once, in order, or a gap says it did not.

    log --read(cursor)--> batch --deliver--> acknowledged: the cursor moves
                            '------<------- failed, or no answer: wait, then the same again

The cursor moves only when the whole batch is acknowledged, so a record may come twice; its
number shows that. What the ring has overwritten meanwhile comes as one ``gap`` record.

A collector gets batches of JSON lines by POST and answers 2xx once it has them. A broker gets
one message for each record, QoS 1: its acknowledgement means that the broker has it. Whether
its subscribers get it is the broker's own promise.
"""

import asyncio
import random
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from overlay_edge.bridge.mqtt import open_broker
from overlay_edge.config import AuditConfig
from overlay_edge.config.url import Url, split_url
from overlay_edge.errors import ConfigError, EdgeError, TransportError
from overlay_edge.host.clock import wall
from overlay_edge.host.files import read_private, read_public
from overlay_edge.host.journal import Journal
from overlay_edge.host.secret import Secret, gather, wipe
from overlay_edge.proto.audit import AuditLog, Cursor
from overlay_edge.proto.backoff import REDIAL_S, Backoff

BATCH = 64  # records at a time: at most 64 x 4 KiB in flight
IDLE_S = 10.0  # how often folded records are looked for when nothing happens
MAX_HEAD_BYTES = 8 << 10  # of a collector's answer

Deliver = Callable[[Sequence[str]], Awaitable[None]]
Carrier = Callable[[], AbstractAsyncContextManager[Deliver]]


class AuditSink:
    """Sends the log to one place, for as long as the node lives.

    Args:
        log: What to send.
        carrier: Opens the way there; :func:`carrier_to` makes one.
        timeout_s: Opening the way, and each batch, must be done in this time.
        sleep: Waits that many seconds; ``asyncio.sleep``.
        dice: 0 to 1; ``random.random``.
        journal: Told when the sink goes away and when it is back.
        clock: Wall seconds.
        credentials: What the carrier shows; zeroed by :meth:`close`.

    Attributes:
        delivered_total: Records acknowledged.
        lost_total: Records that the ring overwrote before.
        failures_total: Batches or connections that failed.
    """

    def __init__(
        self,
        log: AuditLog,
        carrier: Carrier,
        *,
        timeout_s: float,
        sleep: Callable[[float], Awaitable[None]],
        dice: Callable[[], float],
        journal: Journal,
        clock: Callable[[], float] = wall,
        credentials: Secret | None = None,
    ) -> None:
        self._credentials = credentials
        self.delivered_total = 0
        self.lost_total = 0
        self.failures_total = 0
        self._log = log
        self._carrier = carrier
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._dice = dice
        self._journal = journal
        self._clock = clock
        self._cursor = Cursor()
        self._backoff = Backoff(REDIAL_S, is_endless=True)
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._problem = ""

    @property
    def backlog(self) -> int:
        """Records not acknowledged yet."""
        return self._log.next_seq - self._cursor.seq

    def health(self) -> tuple[bool, str]:
        """Whether the last delivery went well, and what went wrong."""
        return not self._problem, self._problem

    def close(self) -> None:
        """Zero the credentials; when nothing is sent any more."""
        if self._credentials is not None:
            self._credentials.close()

    async def run(self) -> None:
        """Send until cancelled; what was acknowledged before is not sent again."""
        forget = self._log.watch(self._news.set)
        try:
            while True:
                try:
                    await self._serve()
                except (EdgeError, OSError, TimeoutError) as error:
                    await self._fail(error)
        finally:
            forget()

    async def drained(self) -> None:
        """Wait until every record is acknowledged; bound it by a timeout."""
        while self.backlog:
            self._moved.clear()
            await self._moved.wait()

    async def _serve(self) -> None:
        async with self._open() as deliver:
            while True:
                self._news.clear()
                batch = self._log.read(self._cursor, BATCH, ts_ms=int(1000 * self._clock()))
                if not batch.lines:
                    await self._wait_news()
                    continue
                async with asyncio.timeout(self._timeout_s):
                    await deliver(batch.lines)
                self.lost_total += batch.lost
                self.delivered_total += batch.cursor.seq - self._cursor.seq - batch.lost
                self._cursor = batch.cursor
                self._recovered()
                self._moved.set()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Deliver]:
        carrier = self._carrier()
        async with asyncio.timeout(self._timeout_s) as patience:
            async with carrier as deliver:
                patience.reschedule(None)
                yield deliver

    async def _wait_news(self) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _fail(self, error: Exception) -> None:
        self.failures_total += 1
        self._problem = str(error) or f"no answer within {self._timeout_s:g} s"
        self._journal.warning("audit_sink", reason=self._problem, backlog=self.backlog)
        wait_s = self._backoff.failed(dice=self._dice())
        await self._sleep(wait_s or 0.0)

    def _recovered(self) -> None:
        self._backoff.succeeded()
        if self._problem:
            self._problem = ""
            self._journal.info("audit_sink_back", delivered=self.delivered_total)


def make_sink(log: AuditLog, config: AuditConfig, journal: Journal) -> AuditSink:
    """The sink of the settings, with what its files hold.

    Raises:
        IdentityError: A file cannot be read, or others may read it.
        ConfigError: The authorities or credentials cannot be used.
    """
    ca = read_public("audit.ca", config.ca) if config.ca else b""
    credentials = None
    if config.credentials:
        credentials = read_private("audit.credentials", config.credentials)
    client_id = f"svc-overlay-{secrets.token_hex(4)}"
    return AuditSink(
        log,
        carrier_to(config.sink, client_id=client_id, ca=ca, credentials=credentials),
        timeout_s=config.timeout_s,
        sleep=asyncio.sleep,
        dice=random.random,
        journal=journal,
        credentials=credentials,
    )


def carrier_to(
    sink: str, *, client_id: str, ca: bytes = b"", credentials: Secret | None = None
) -> Carrier:
    """The way to a sink.

    Args:
        sink: ``audit.sink``, not empty.
        client_id: What the broker knows this node as.
        ca: PEM of the authorities to believe; empty: the machine's.
        credentials: A bearer token for HTTP; ``user:password`` for a broker. They are read
            there each time they are shown, and no copy lives longer than that.

    Raises:
        ConfigError: The authorities or credentials cannot be used.
    """
    url = split_url(sink)
    context = trust("audit.ca", ca) if url.is_tls else None
    if credentials is not None:
        require_one_line("audit.credentials", credentials)
    if url.scheme.startswith("mqtt"):
        return lambda: open_broker(url, context, client_id, credentials)
    return lambda: _collector(url, context, credentials)


def trust(key: str, ca: bytes) -> ssl.SSLContext:
    """A client context that believes these authorities, or the machine's.

    Args:
        key: The setting they are from, for the error.
        ca: In PEM; empty: the machine's.
    """
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    except (ssl.SSLError, ValueError) as exc:
        raise ConfigError([f"{key}: not certificates in PEM: {exc}"]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def require_one_line(key: str, credentials: Secret) -> None:
    """Take the line end away, and refuse what no header or packet should carry."""
    credentials.strip()
    if not re.fullmatch(rb"[!-~ ]{0,4096}", credentials.reveal()):
        raise ConfigError([f"{key}: expected one line of printable ASCII"])


@asynccontextmanager
async def _collector(
    url: Url, context: ssl.SSLContext | None, token: Secret | None
) -> AsyncIterator[Deliver]:
    """POST over a connection for each batch: nothing is kept that could be half open."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    lines = [
        f"POST {url.path} HTTP/1.1",
        f"Host: {host}:{url.port}",
        "User-Agent: overlay-edge",
        "Content-Type: application/x-ndjson",
        "Connection: close",
    ]

    def request(body: bytes) -> bytearray:
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", ""]).encode("ascii")
        if not token:
            return gather((head, b"\r\n", body))
        return gather((head, b"Authorization: Bearer ", token.reveal(), b"\r\n\r\n", body))

    async def deliver(records: Sequence[str]) -> None:
        packet = request("".join(f"{record}\n" for record in records).encode())
        reader, writer = await asyncio.open_connection(
            url.host, url.port, ssl=context, limit=MAX_HEAD_BYTES
        )
        try:
            writer.write(packet)
            await writer.drain()
            status = await _status(reader)
        finally:
            writer.transport.abort()
            wipe(packet)  # after the transport has let go of what it could not send
        if not 200 <= status < 300:
            raise TransportError(f"{url.host}:{url.port}: answered {status}, expected 2xx")

    yield deliver


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of an answer; what is only on the way (1xx) is passed over."""
    for _ in range(4):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise TransportError("the sink's answer is not HTTP, or too long") from None
        match = re.match(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]", head)
        if match is None:
            raise TransportError("the sink's answer is not HTTP")
        if not match[1].startswith(b"1"):
            return int(match[1])
    raise TransportError("the sink answers without an end")
