"""Health: a snapshot of readiness as what probes, balancers and people ask for.

/livez            is this process worth keeping; never looks at a check
/readyz           may it be sent work; the status code is the answer, the body says why
/readyz?verbose   every check with value, limit, since when, and what clears it
/readyz?exclude=  the same for who does not care for some checks, names split by commas
/readyz/<check>   one check alone
/amnesia          the RAM-only promise, rule by rule
"""

import datetime
from collections.abc import Iterable
from typing import NamedTuple

from overlay_edge.host.promise import Report
from overlay_edge.host.rules import Standing
from overlay_edge.proto.readiness import RETRY_S, CheckState, Snapshot

DEAD_S = 10.0  # a loop this late serves nobody; before, a restart would only cost sessions
AGE = "X-Ready-Age"  # seconds since pressure was last sampled


class Answer(NamedTuple):
    """What goes into an HTTP response."""

    status: int
    body: dict[str, object]
    headers: dict[str, str]


def live(snapshot: Snapshot) -> Answer:
    """Whether the loop still turns: somebody who samples four times a second lately did."""
    if snapshot.age_s > DEAD_S:
        reason = f"the loop's heartbeat is {snapshot.age_s:.1f} s old, limit {DEAD_S:g} s"
        return Answer(503, {"alive": False, "reason": reason}, _headers(snapshot))
    return Answer(200, {"alive": True}, _headers(snapshot))


def ready(
    snapshot: Snapshot,
    *,
    exclude: Iterable[str] = (),
    verbose: bool = False,
    amnesia: Report | None = None,
    wall_now: float,
) -> Answer:
    """The answer of ``/readyz``.

    Args:
        snapshot: As of now.
        exclude: Names of checks, each may be several with commas; unknown ones change nothing.
        verbose: With every check.
        amnesia: The promise, to tell how it stands, and which rules are broken that no
            check stands for, because they are not required.
        wall_now: Seconds since 1970 at the snapshot's moment.
    """
    known = {check.name for check in snapshot.checks}
    excluded = {name.strip() for names in exclude for name in names.split(",")} & known
    if excluded:
        snapshot = snapshot.without(excluded)
    body: dict[str, object] = {
        "ready": snapshot.ready,
        "degraded": snapshot.degraded,
        "missing": list(snapshot.missing),
    }
    if not snapshot.ready:
        body["retry_after"] = snapshot.retry_after_s
    if snapshot.missing:
        body["reasons"] = {check.name: check.reason for check in snapshot.checks if not check.ok}
    if excluded:
        body["excluded"] = sorted(excluded)
    if verbose:
        body["checks"] = [_described(check, snapshot, wall_now) for check in snapshot.checks]
    if amnesia is not None:
        body["amnesia"] = {
            "on": amnesia.is_on,
            "kept": amnesia.is_kept,
            "told": {
                row.name: row.detail
                for row in amnesia.rows
                if row.state is Standing.BROKEN and not row.required
            },
        }
    headers = _headers(snapshot, snapshot.retry_after_s)
    return Answer(200 if snapshot.ready else 503, body, headers)


def one(snapshot: Snapshot, name: str, *, wall_now: float) -> Answer:
    """The answer of ``/readyz/<check>``."""
    for check in snapshot.checks:
        if check.name == name:
            retry_after_s = 0 if check.ok else snapshot.retry_after_s or RETRY_S
            body = _described(check, snapshot, wall_now)
            return Answer(200 if check.ok else 503, body, _headers(snapshot, retry_after_s))
    names = [check.name for check in snapshot.checks]
    return Answer(404, {"error": "not_found", "checks": names}, _headers(snapshot))


def promise(report: Report) -> Answer:
    """The answer of ``/amnesia``: always 200, it is the readiness check that turns work away."""
    rules = [
        {
            "rule": row.name,
            "required": row.required,
            "state": str(row.state),
            "promise": row.promise,
            "known_by": row.known_by,
            "detail": row.detail,
        }
        for row in report.rows
    ]
    body: dict[str, object] = {"amnesia": report.is_on, "kept": report.is_kept, "rules": rules}
    return Answer(200, body, {})


def _headers(snapshot: Snapshot, retry_after_s: int = 0) -> dict[str, str]:
    headers = {AGE: f"{snapshot.age_s:.3f}"}
    if retry_after_s:
        headers["Retry-After"] = str(retry_after_s)
    return headers


def _described(check: CheckState, snapshot: Snapshot, wall_now: float) -> dict[str, object]:
    for_s = max(0.0, snapshot.at - check.since)
    since = datetime.datetime.fromtimestamp(wall_now - for_s, datetime.UTC)
    return {
        "name": check.name,
        "ok": check.ok,
        "reason": check.reason,
        "weight": check.weight.name.lower(),
        "since": since.isoformat(timespec="milliseconds"),
        "for_s": round(for_s, 3),
        "value": check.value,
        "limit": check.limit,
        "clears": check.clears,
    }
