"""Whether this edge may be sent work: a few named checks, and one honest answer.

All checks are declared up front and fail as "starting" until somebody says otherwise, so a
part that was forgotten keeps the node out of rotation instead of hiding. A gauge fails from
``high`` x limit on and comes back below ``low`` x limit; between the two it stays what it was.

What a check goes through; GOOD and BAD count at once, or when they have lasted for its dwell::

    STARTING --GOOD--> OK --BAD--> LEAVING --BAD, lasting--> FAILED --GOOD--> RETURNING --+
                       ^  <-GOOD--  (ok)                        <-----BAD--- (not ok)     |
                       +---------------------------GOOD, lasting--------------------------+
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum

from overlay_edge.config import ReadinessConfig
from overlay_edge.errors import LocalMisuse
from overlay_edge.proto.checks import CHECKS, SAMPLER, Check, Dwell, Weight

STARTING = "starting"
RETRY_STARTING_S = 1  # a start takes well under a second
RETRY_S = 5  # pressure and drains pass in seconds; guess
STALE_S = 2.0  # eight samples missed: what we believe of loop and memory is no longer true


class State(StrEnum):
    """What the whole node is."""

    DOWN = "down"
    DEGRADED = "degraded"
    READY = "ready"


class Phase(Enum):
    """Where a check is."""

    STARTING = "nobody said anything yet"
    OK = "holds"
    LEAVING = "holds, but has been bad for less than its dwell"
    FAILED = "does not hold"
    RETURNING = "does not hold, but has been good for less than its dwell"


class Signal(Enum):
    """What was said of a check."""

    GOOD = "holds, or is below low"
    GOOD_LASTING = "good for as long as its dwell"
    BETWEEN = "below high, not below low"
    BAD = "does not hold, or is at high"
    BAD_LASTING = "bad for as long as its dwell"


LASTING = {Signal.GOOD: Signal.GOOD_LASTING, Signal.BAD: Signal.BAD_LASTING}
HOLDING = frozenset({Phase.OK, Phase.LEAVING})
TRANSITIONS: dict[Phase, dict[Signal, Phase]] = {
    Phase.STARTING: {
        Signal.GOOD: Phase.OK,  # a dwell is against flapping, and nothing flapped yet
        Signal.GOOD_LASTING: Phase.OK,
        Signal.BETWEEN: Phase.OK,
        Signal.BAD: Phase.LEAVING,
        Signal.BAD_LASTING: Phase.FAILED,
    },
    Phase.OK: {
        Signal.GOOD: Phase.OK,
        Signal.GOOD_LASTING: Phase.OK,
        Signal.BETWEEN: Phase.OK,
        Signal.BAD: Phase.LEAVING,
        Signal.BAD_LASTING: Phase.FAILED,
    },
    Phase.LEAVING: {
        Signal.GOOD: Phase.OK,
        Signal.GOOD_LASTING: Phase.OK,
        Signal.BETWEEN: Phase.OK,
        Signal.BAD: Phase.LEAVING,
        Signal.BAD_LASTING: Phase.FAILED,
    },
    Phase.FAILED: {
        Signal.GOOD: Phase.RETURNING,
        Signal.GOOD_LASTING: Phase.OK,
        Signal.BETWEEN: Phase.FAILED,
        Signal.BAD: Phase.FAILED,
        Signal.BAD_LASTING: Phase.FAILED,
    },
    Phase.RETURNING: {
        Signal.GOOD: Phase.RETURNING,
        Signal.GOOD_LASTING: Phase.OK,
        Signal.BETWEEN: Phase.FAILED,  # below low without a break, or it is no calm
        Signal.BAD: Phase.FAILED,
        Signal.BAD_LASTING: Phase.FAILED,
    },
}


@dataclass(frozen=True, slots=True)
class CheckState:
    """A check as it is.

    Attributes:
        name: As declared.
        ok: Whether it holds.
        reason: Why not.
        since: When ``ok`` last changed, in the caller's seconds.
        value: Of a gauge: how full.
        limit: Of a gauge: what full is.
        clears: What makes it hold again.
        weight: What it means now that it fails; never SHARED.
    """

    name: str
    ok: bool
    reason: str
    since: float
    value: float | None = None
    limit: float | None = None
    clears: str = ""
    weight: Weight = Weight.VITAL


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The answer at one moment.

    Attributes:
        ready: New work is welcome: what fails, if anything, is worth no more than a notice.
        degraded: Something fails, but what is open is still served.
        missing: Names of the failing checks, as declared.
        retry_after_s: When asking again makes sense, 0 if ready.
        checks: All of them.
        at: When this was true.
        age_s: Since pressure was last sampled.
        turned: How often the node became each state.
    """

    ready: bool
    degraded: bool
    missing: tuple[str, ...]
    retry_after_s: int
    checks: tuple[CheckState, ...]
    at: float = 0.0
    age_s: float = 0.0
    turned: Mapping[State, int] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The same in one word."""
        return _state(ready=self.ready, degraded=self.degraded)

    def without(self, names: Collection[str]) -> "Snapshot":
        """The answer for somebody who does not care for these checks."""
        checks = tuple(check for check in self.checks if check.name not in names)
        ready, degraded, missing = judge(checks)
        return replace(
            self,
            ready=ready,
            degraded=degraded,
            missing=missing,
            retry_after_s=0 if ready else self.retry_after_s or RETRY_S,
            checks=checks,
        )


def judge(checks: Iterable[CheckState]) -> tuple[bool, bool, tuple[str, ...]]:
    """Ready, degraded and missing, from checks whose weights are those of the moment."""
    failing = [check for check in checks if not check.ok]
    weights = {check.weight for check in failing}
    ready = weights <= {Weight.NOTICE}
    degraded = bool(failing) and Weight.VITAL not in weights
    return ready, degraded, tuple(check.name for check in failing)


def _state(*, ready: bool, degraded: bool) -> State:
    return State.DEGRADED if degraded else State.READY if ready else State.DOWN


@dataclass(slots=True)
class _Entry:
    """A declared check and what became of it."""

    check: Check
    state: CheckState
    phase: Phase
    signal: Signal = Signal.BETWEEN
    signal_since: float = 0.0


class Readiness:
    """Keeps the checks.

    Args:
        config: Where a gauge leaves and comes back, and how long that must last.
        now: Seconds, of the same clock as in every later call.
        checks: What has to hold.
    """

    def __init__(
        self, config: ReadinessConfig, *, now: float, checks: tuple[Check, ...] = CHECKS
    ) -> None:
        self._config = config
        self._now = now
        self._entries = {check.name: _entry(check, now) for check in checks}
        self._sampled_at: float | None = None
        self._was_ready_once = False
        self._judged: tuple[bool, bool, tuple[str, ...]] = (False, False, ())
        self._turned = Counter({state: 0 for state in State})
        self._judge()

    @property
    def is_ready(self) -> bool:
        """True when no check fails that keeps new work away."""
        return self._judged[0]

    @property
    def state(self) -> State:
        """The same with its shade; it also changes when only a notice comes or goes."""
        return _state(ready=self._judged[0], degraded=self._judged[1])

    def configure(self, config: ReadinessConfig) -> None:
        """Take other marks and dwells; they count from the next reading on."""
        self._config = config

    def set(self, name: str, ok: bool, reason: str = "", *, now: float) -> bool:
        """Say how a check stands.

        Args:
            name: One of the declared checks.
            ok: Whether it holds.
            reason: Why not, for people; dropped when it holds.
            now: Seconds.

        Returns:
            True if this turned the whole node ready or not ready.
        """
        entry = self._entry(name)
        self._move(entry, Signal.GOOD if ok else Signal.BAD, 0.0, now)
        return self._put(entry, reason or "failed", entry.check.clears, None, None)

    def gauge(self, name: str, value: float, limit: float, *, now: float) -> bool:
        """Say how full something is; hysteresis makes a check of it.

        Returns:
            True if this turned the whole node ready or not ready.
        """
        if not limit > 0:
            raise LocalMisuse(f"gauge {name}: limit {limit}, expected above 0")
        entry = self._entry(name)
        leave, back = self._config.high * limit, self._config.low * limit
        down_s, up_s = self._dwells(entry.check.dwell)
        if value >= leave:
            self._move(entry, Signal.BAD, down_s, now)
        else:
            self._move(entry, Signal.GOOD if value < back else Signal.BETWEEN, up_s, now)
        lasting = f" for {up_s:g} s" if up_s else ""
        calm = f"below {_number(back)}{lasting}"
        reason = f"{_number(value)} of {_number(limit)}, ready again {calm}"
        return self._put(entry, reason, calm, value, limit)

    def sampled(self, *, now: float) -> bool:
        """Say that pressure was just looked at; whoever began that must go on with it.

        Returns:
            True if this turned the whole node ready or not ready.
        """
        self._sampled_at = now
        return self.set(SAMPLER, True, now=now)

    def wake(self, *, now: float) -> bool:
        """Let time pass: samples grow stale, and what fails for long weighs more.

        Returns:
            True if this turned the whole node ready or not ready.
        """
        if self._sampled_at is not None and now - self._sampled_at > STALE_S:
            age_s = now - self._sampled_at
            return self.set(SAMPLER, False, f"sampler_stale: last look {age_s:.1f} s ago", now=now)
        self._now = max(self._now, now)
        return self._judge()

    def snapshot(self, *, now: float) -> Snapshot:
        """The answer as of ``now``."""
        self.wake(now=now)
        ready, degraded, missing = self._judged
        is_starting = any(entry.phase is Phase.STARTING for entry in self._entries.values())
        return Snapshot(
            ready=ready,
            degraded=degraded,
            missing=missing,
            retry_after_s=0 if ready else RETRY_STARTING_S if is_starting else RETRY_S,
            checks=self._states(),
            at=now,
            age_s=0.0 if self._sampled_at is None else max(0.0, now - self._sampled_at),
            turned=dict(self._turned),
        )

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise LocalMisuse(f"readiness check {name!r} was never declared")
        return self._entries[name]

    def _dwells(self, dwell: Dwell) -> tuple[float, float]:
        """Seconds that bad, and that good, must last."""
        match dwell:
            case Dwell.NONE:
                return 0.0, 0.0
            case Dwell.BACK:
                return 0.0, self._config.dwell_s
            case Dwell.BOTH:
                return self._config.dwell_down_s, self._config.dwell_up_s

    def _move(self, entry: _Entry, signal: Signal, dwell_s: float, now: float) -> None:
        self._now = max(self._now, now)
        if signal is not entry.signal:
            entry.signal, entry.signal_since = signal, now
        if now - entry.signal_since >= dwell_s:
            signal = LASTING.get(signal, signal)
        before, entry.phase = entry.phase, TRANSITIONS[entry.phase][signal]
        if before is Phase.STARTING or (before in HOLDING) != (entry.phase in HOLDING):
            entry.state = replace(entry.state, since=now)

    def _put(
        self, entry: _Entry, reason: str, clears: str, value: float | None, limit: float | None
    ) -> bool:
        ok = entry.phase in HOLDING
        entry.state = replace(
            entry.state,
            ok=ok,
            reason="" if ok else reason,
            value=value,
            limit=limit,
            clears=clears,
        )
        return self._judge()

    def _judge(self) -> bool:
        """Draw the conclusion; True if it turned ready or not ready."""
        before, was = self._judged, self.state
        self._judged = judge(self._states())
        self._was_ready_once |= self._judged[0]
        if self.state is not was:
            self._turned[self.state] += 1
        return before[0] != self._judged[0]

    def _states(self) -> tuple[CheckState, ...]:
        return tuple(
            entry.state
            if entry.check.weight is not Weight.SHARED
            else replace(entry.state, weight=self._shared_weight(entry))
            for entry in self._entries.values()
        )

    def _shared_weight(self, entry: _Entry) -> Weight:
        if not self._was_ready_once:
            return Weight.VITAL
        patience_s = entry.check.leave_after_s
        if patience_s is None or self._now - entry.state.since < patience_s:
            return Weight.NOTICE
        return Weight.SOFT


def _entry(check: Check, now: float) -> _Entry:
    ok = check.starts_ok
    weight = Weight.VITAL if check.weight is Weight.SHARED else check.weight
    state = CheckState(
        check.name, ok, "" if ok else STARTING, now, clears=check.clears, weight=weight
    )
    return _Entry(check, state, Phase.OK if ok else Phase.STARTING)


def _number(value: float) -> str:
    """Short, and whole when it is large: 5.1e+08 bytes tell nobody anything."""
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
