"""Whether this edge may be sent work: a few named checks, and one honest answer.

All checks are declared up front and fail as "starting" until somebody says otherwise, so a
part that was forgotten keeps the node out of rotation instead of hiding. A gauge fails from
``high`` x limit on and comes back below ``low`` x limit; between the two it stays what it was.
"""

from dataclasses import dataclass
from enum import Enum

from overlay_edge.config import ReadinessConfig
from overlay_edge.errors import LocalMisuse

STARTING = "starting"
RETRY_STARTING_S = 1  # a start takes well under a second
RETRY_S = 5  # pressure and drains pass in seconds; guess


class Weight(Enum):
    """What a failing check means for work in progress."""

    VITAL = "nothing can be served"
    SOFT = "open work goes on, new work should go elsewhere"


@dataclass(frozen=True, slots=True)
class Check:
    """A check as it is declared."""

    name: str
    weight: Weight = Weight.VITAL
    starts_ok: bool = False


CHECKS = (
    Check("listeners"),
    Check("bus"),
    Check("config", Weight.SOFT),  # a node on safe defaults is reachable, but not as asked
    Check("store"),
    Check("tls"),
    Check("admin"),
    Check("inflight", Weight.SOFT),
    Check("store_space", Weight.SOFT),
    Check("draining", starts_ok=True),
)


@dataclass(frozen=True, slots=True)
class CheckState:
    """A check as it is; ``since`` is when ``ok`` last changed, in the caller's seconds."""

    name: str
    ok: bool
    reason: str
    since: float
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The answer at one moment.

    ``ready``: every check is ok. ``degraded``: not ready, but only for soft reasons, so what is
    open is still served. ``missing``: names of the failing checks, as declared.
    ``retry_after_s``: when asking again makes sense, 0 if ready. ``at``: when this was true.
    """

    ready: bool
    degraded: bool
    missing: tuple[str, ...]
    retry_after_s: int
    checks: tuple[CheckState, ...]
    at: float = 0.0


class Readiness:
    """Keeps the checks.

    Args:
        config: Where a gauge leaves and comes back.
        now: Seconds, of the same clock as in every later call.
        checks: What has to hold.
    """

    def __init__(
        self, config: ReadinessConfig, *, now: float, checks: tuple[Check, ...] = CHECKS
    ) -> None:
        self._config = config
        self._declared = {check.name: check for check in checks}
        self._states = {
            check.name: CheckState(check.name, True, "", now)
            if check.starts_ok
            else CheckState(check.name, False, STARTING, now)
            for check in checks
        }
        self._pending = {check.name for check in checks if not check.starts_ok}

    @property
    def is_ready(self) -> bool:
        """True when every check is ok."""
        return all(state.ok for state in self._states.values())

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
        return self._put(name, ok, reason or "failed", None, None, now)

    def gauge(self, name: str, value: float, limit: float, *, now: float) -> bool:
        """Say how full something is; hysteresis makes a check of it.

        Returns:
            True if this turned the whole node ready or not ready.
        """
        if not limit > 0:
            raise LocalMisuse(f"gauge {name}: limit {limit}, expected above 0")
        leave, back = self._config.high * limit, self._config.low * limit
        held = name in self._pending or self._state(name).ok
        ok = value < leave if held else value < back
        reason = f"{value:g} of {limit:g}, ready again below {back:g}"
        return self._put(name, ok, reason, value, limit, now)

    def snapshot(self, *, now: float) -> Snapshot:
        """The answer as of ``now``."""
        states = tuple(self._states.values())
        missing = tuple(state.name for state in states if not state.ok)
        soft = all(self._declared[name].weight is Weight.SOFT for name in missing)
        retry_after_s = RETRY_STARTING_S if self._pending else RETRY_S
        return Snapshot(
            ready=not missing,
            degraded=bool(missing) and soft,
            missing=missing,
            retry_after_s=retry_after_s if missing else 0,
            checks=states,
            at=now,
        )

    def _state(self, name: str) -> CheckState:
        if name not in self._states:
            raise LocalMisuse(f"readiness check {name!r} was never declared")
        return self._states[name]

    def _put(
        self,
        name: str,
        ok: bool,
        reason: str,
        value: float | None,
        limit: float | None,
        now: float,
    ) -> bool:
        before, was_ready = self._state(name), self.is_ready
        since = before.since if before.ok == ok and name not in self._pending else now
        self._pending.discard(name)
        self._states[name] = CheckState(name, ok, "" if ok else reason, since, value, limit)
        return was_ready != self.is_ready
