"""Canary: goes the way of every peer, again and again, and says when that way is blocked.

It dials the node's own listener, so what it finds broken is broken for others, too: accepting,
TLS, HELLO, a stream and its windows. It has no privileges; on a full node it is refused like
anybody else, and that is an answer.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from overlay_edge.client import Client
from overlay_edge.config.values import split_addr
from overlay_edge.errors import EdgeError, TransportError
from overlay_edge.host.clock import monotonic
from overlay_edge.host.pressure import percentile
from overlay_edge.tally import Latency

PAYLOAD_BYTES = (64 << 10) + 1  # one more than a chunk: a stream, not a single frame
KEPT = 20  # durations that are judged
FAILURES = 3  # in a row; one alone may be the admission of a busy moment
SLOW_S = 1.0  # p95 of a way that takes 20 ms on a small board at rest
TIMEOUT_S = 5.0  # for one flight, from the first SYN to the last byte
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

Dial = Callable[[], AbstractAsyncContextManager[Client]]


class Canary:
    """Flies at a fixed interval, one flight at a time.

    Args:
        dial: Connects to the node's own listener, with its pin.
        report: Told after each flight why the way is blocked; empty when it is free.
        interval_s: From one start to the next; a flight that takes longer delays the next.
        sleep: Waits that many seconds.
        clock: Monotonic seconds.

    Attributes:
        latency: Durations of the flights that came back.
    """

    def __init__(
        self,
        dial: Dial,
        report: Callable[[str], object],
        *,
        interval_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._dial = dial
        self._report = report
        self._interval_s = interval_s
        self._sleep = sleep
        self._clock = clock
        self._payload = os.urandom(PAYLOAD_BYTES)  # nothing that compresses to one frame
        self._durations: deque[float] = deque(maxlen=KEPT)
        self._failures = 0
        self._failure = ""
        self.latency = Latency()

    async def run(self) -> None:
        """Fly until cancelled; return at once if the interval is 0."""
        while self._interval_s:
            started = self._clock()
            await self.fly()
            self._report(self.verdict)
            await self._sleep(max(0.0, self._interval_s - (self._clock() - started)))

    async def fly(self) -> None:
        """Go the way once and keep how it went."""
        started = self._clock()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                took_s = await self._there_and_back() - started
        except TimeoutError:
            self._failed(f"no answer within {TIMEOUT_S:g} s")
        except EdgeError as error:
            self._failed(str(error))
        else:
            self._failures = 0
            self._durations.append(took_s)
            self.latency.observe(took_s)

    @property
    def verdict(self) -> str:
        """Why the way is blocked, or nothing."""
        if self._failures >= FAILURES:
            return f"{self._failures} failures in a row, the last: {self._failure}"
        p95_s = percentile(self._durations, 0.95)
        if p95_s > SLOW_S:
            flights = len(self._durations)
            return f"p95 of the last {flights} flights {p95_s:.2f} s, limit {SLOW_S:g} s"
        return ""

    async def _there_and_back(self) -> float:
        """Return when the last byte came; whoever does not answer is not waited for."""
        client: Client | None = None
        try:
            async with self._dial() as client:
                try:
                    came = await client.echo(self._payload)
                    landed = self._clock()
                except BaseException:
                    client.link.abort()  # before the farewell, which would wait
                    raise
            if came != self._payload:
                raise TransportError("other bytes came back")
            return landed
        except BaseException:
            if client is not None:
                client.link.abort()  # the farewell itself may not end
            raise

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._failure = reason


def own_address(listening: str) -> str:
    """Where to dial a listener of this machine, ``host:port``, as bound."""
    host, port = split_addr(listening)
    host = EVERYWHERE.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
