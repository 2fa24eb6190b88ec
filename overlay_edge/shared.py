"""Shared: what all links use together, so that none can use it up.

places     half-open connections, and the pace at which they come     proto/admission
requests   open on the whole node                                     a count
quotas     per capability or address, over all its sessions           proto/quota
bytes      long frames, chunks not taken, echoes not read back        proto/pool
"""

from collections.abc import Sequence
from dataclasses import dataclass

from overlay_edge.config import QuotaConfig, SessionConfig, TimeoutsConfig, TransportConfig
from overlay_edge.errors import Refused
from overlay_edge.proto.admission import Admission
from overlay_edge.proto.pool import Pool
from overlay_edge.proto.quota import Quotas

BUSY_RETRY_MS = 1000  # guess: a node at its limit has room again when some answers have left


@dataclass(frozen=True, slots=True)
class Limits:
    """The part of the config that links live by; a reload replaces it whole."""

    session: SessionConfig
    timeouts: TimeoutsConfig
    transport: TransportConfig
    quota: QuotaConfig


class Shared:
    """The counts of what is shared, and who may have more.

    Args:
        limits: In force.
        now: Monotonic seconds; the accept ramp starts here.
    """

    def __init__(self, limits: Limits, *, now: float) -> None:
        self.limits = limits
        self.inflight = 0
        self.admission = Admission(limits.transport, now=now)
        self.quotas = Quotas(limits.quota)
        self.pool = Pool(limits.transport.pool_bytes)

    def configure(self, limits: Limits) -> None:
        """Take other limits; what is open stays open."""
        self.limits = limits
        self.admission.configure(limits.transport)
        self.quotas.configure(limits.quota)
        self.pool.limit_bytes = limits.transport.pool_bytes

    def admit(
        self, key: str, *, rates: Sequence[tuple[str, int]] = (), now: float
    ) -> Refused | None:
        """Ask for one more open request; None admits and counts it until :meth:`release`.

        Args:
            key: Whose quota it draws on; empty = nobody's.
            rates: Lower rates that come with a capability, each with who set it.
            now: Monotonic seconds.
        """
        limit = self.limits.transport.max_inflight
        if self.inflight >= limit:
            return Refused(
                503,
                "busy",
                f"{self.inflight} requests open on this node, limit {limit}",
                retry_after_ms=BUSY_RETRY_MS,
            )
        refusal = self.quotas.admit(key, rates=rates, now=now) if key else None
        if refusal is None:
            self.inflight += 1
        return refusal

    def release(self, key: str) -> None:
        """A request that was admitted is over."""
        self.inflight -= 1
        if key:
            self.quotas.release(key)
