"""Neighbour: one service behind this edge, and the care that every call to it is made with.

    call --breaker--> attempt --failed--> budget, time, attempts left? --wait--> attempt ...
              |          |                          |
           refused     answer                    the failure

What goes wrong is a :class:`Failed` with an outcome of ``proto/retry.py``; there is nothing
else to catch.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from overlay_edge.config import DownstreamConfig
from overlay_edge.errors import Refused, TransportError
from overlay_edge.host.clock import monotonic
from overlay_edge.proto.breaker import Breaker, Call, State
from overlay_edge.proto.retry import RULES, Outcome, RetryBudget, wait_before

T = TypeVar("T")
RETRY_MS = 1000  # what a peer is told when nothing better is known; guess
MAX_ASKED_S = 60.0  # a service may ask for so much patience, not for a day


class Failed(TransportError):
    """A call to a neighbour came to nothing.

    Args:
        outcome: How.
        message: Which service, and what was found.
        asked_s: Seconds it asked us to wait, 0 if none.
    """

    def __init__(self, outcome: Outcome, message: str, *, asked_s: float = 0.0) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.asked_s = min(max(asked_s, 0.0), MAX_ASKED_S)

    def as_refused(self) -> Refused:
        """What the peer that waits for it is told."""
        rule = RULES[self.outcome]
        can_ask_again = rule.code in (503, 504)
        retry_ms = max(RETRY_MS, int(1000 * self.asked_s)) if can_ask_again else None
        return Refused(rule.code, rule.token, str(self), retry_after_ms=retry_ms)


@dataclass(frozen=True, slots=True)
class Health:
    """A neighbour's state, for readiness.

    Attributes:
        ok: It answered, and has not failed too often since.
        reason: Why not.
    """

    ok: bool
    reason: str = ""


class Neighbour:
    """Calls to one service.

    Args:
        name: ``index``, ``storage`` or ``mailbox``.
        config: Waits and limits.
        rng: Numbers from 0 up to 1.
        on_change: Called when its health may have changed.
    """

    def __init__(
        self,
        name: str,
        config: DownstreamConfig,
        rng: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.breaker = Breaker(config.failures, config.cooldown_s)
        self.budget = RetryBudget()
        self.outcomes: Counter[Outcome] = Counter()
        self.retries_total = 0
        self.answered_at: float | None = None
        self._config = config
        self._rng = rng
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._problem = "has not answered yet"

    @property
    def health(self) -> Health:
        """Whether it can be relied on now."""
        if self.answered_at is None or self.breaker.state is not State.CLOSED:
            return Health(False, self._problem)
        return Health(True)

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        is_safe: bool,
        until: float,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> tuple[T, Call]:
        """Make a call, and make it again where that helps.

        Args:
            attempt: One call, up to the begin of its answer. Raises :class:`Failed`.
            is_safe: Making it twice does no harm.
            until: Nobody waits longer, monotonic seconds.
            timeout_s: Of one attempt, if not the configured one.
            retries: At most, if not the configured number.

        Returns:
            The answer, and what :meth:`judged` needs when it is read.

        Raises:
            Failed: The last attempt's.
        """
        self.budget.called()
        most = self._config.retries if retries is None else retries
        patience_s = self._config.timeout_s if timeout_s is None else timeout_s
        number = 0
        while True:
            try:
                return await self._attempt(attempt, patience_s, until)
            except Failed as failure:
                wait_s = wait_before(
                    failure.outcome,
                    number,
                    most=most,
                    is_safe=is_safe,
                    asked_s=failure.asked_s,
                    left_s=until - monotonic(),
                    rng=self._rng,
                )
                if wait_s is None or not self.budget.take():
                    raise
            self.retries_total += 1
            number += 1
            await asyncio.sleep(wait_s)

    @contextmanager
    def judged(self, call: Call) -> Iterator[None]:
        """Hold this while an answer is read: how that ends is told to the breaker."""
        try:
            yield
        except Failed as failure:
            self._failed(call, failure)
            raise
        except BaseException:
            self.breaker.dropped(call)
            raise
        self.breaker.succeeded(call)

    async def ask(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        is_safe: bool,
        until: float,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> T:
        """Make a call whose whole answer the attempt reads; see :meth:`call`."""
        answer, call = await self.call(
            attempt, is_safe=is_safe, until=until, timeout_s=timeout_s, retries=retries
        )
        with self.judged(call):
            return answer

    async def watch(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Probe it when nothing was asked of it for a while, until cancelled.

        An idle edge must know, too, and one that is not asked because its breaker is open must
        learn that it may be asked again.
        """
        pause_s = min(self._config.cooldown_s, self._config.probe_s)
        while True:
            now = monotonic()
            wait_s = self._until_probe(now)
            if wait_s > 0:
                await self._rest(wait_s)
                continue
            with suppress(Failed):
                until = now + self._config.timeout_s
                await self.ask(probe, is_safe=True, until=until, retries=0)
            await self._rest(pause_s)

    def _until_probe(self, now: float) -> float:
        if self.answered_at is None or self.breaker.state is not State.CLOSED:
            return self.breaker.wait_s(now=now)
        return self.answered_at + self._config.probe_s - now

    async def _rest(self, wait_s: float) -> None:
        """Sleep, unless its health changes: then other times hold."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._changed.wait()

    async def _attempt(
        self, attempt: Callable[[], Awaitable[T]], patience_s: float, until: float
    ) -> tuple[T, Call]:
        now = monotonic()
        call = self.breaker.admit(now=now)
        if call is None:
            wait_s = self.breaker.wait_s(now=now)
            self.outcomes[Outcome.OPEN] += 1
            raise Failed(Outcome.OPEN, f"{self.name}: {self._problem}", asked_s=wait_s)
        timeout_s = max(0.0, min(patience_s, until - now))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await attempt()
        except TimeoutError:
            failure = Failed(Outcome.TIMEOUT, f"{self.name}: no answer in {timeout_s:.3g} s")
            self._failed(call, failure)
            raise failure from None
        except Failed as failure:
            self._failed(call, failure)
            raise
        except BaseException:
            self.breaker.dropped(call)
            raise
        was = self.health
        self.breaker.alive(call)
        self.outcomes[Outcome.ANSWERED] += 1
        self.answered_at = monotonic()
        self._compare(was)
        return answer, call

    def _failed(self, call: Call, failure: Failed) -> None:
        self.outcomes[failure.outcome] += 1
        was = self.health
        if RULES[failure.outcome].is_failure:
            self._problem = str(failure).removeprefix(f"{self.name}: ")
            self.breaker.failed(call, now=monotonic(), rng=self._rng)
        else:  # no more than an answer that says no
            self.breaker.succeeded(call)
            self.answered_at = monotonic()
        self._compare(was)

    def _compare(self, was: Health) -> None:
        if self.health != was:
            self._changed.set()
            self._on_change()
