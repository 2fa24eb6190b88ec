"""The status page: one screen of text for a serial console, and for a phone beside the board.

At most 20 lines of 80 columns, most of them under 40; nothing on it moves the cursor.
"""

import socket
from collections.abc import Iterator, Mapping

from overlay_edge.admin.views import Counters
from overlay_edge.host.promise import Report
from overlay_edge.host.rules import Standing
from overlay_edge.host.terminal import printable
from overlay_edge.proto.readiness import Snapshot

MAX_LINES = 20
MAX_COLUMNS = 80
LABEL = 10  # columns of the labels on the left
MAX_HOSTS = 3  # addresses shown of one listener
MIB = 1 << 20
EVERYWHERE = {"0.0.0.0": socket.AF_INET, "[::]": socket.AF_INET6}  # noqa: S104 - compared, not bound


def render(
    snapshot: Snapshot,
    version: Mapping[str, object],
    counters: Counters,
    addresses: Mapping[str, str],
    hosts: Mapping[int, list[str]],
    amnesia: Report,
) -> str:
    """The page.

    Args:
        snapshot: Readiness as of now.
        version: Who the node is.
        counters: What it has done.
        addresses: Where it listens, as bound.
        hosts: The machine's addresses by family, for listeners on every interface.
        amnesia: The promise.
    """
    state = "READY" if snapshot.ready else "DEGRADED" if snapshot.degraded else "NOT READY"
    lines = [f"overlay-edge {version.get('version', '?')}   {state}"]
    for name, address in addresses.items():
        lines += _row(name, _reachable(address, hosts))
    if (lan := counters.discovery) is not None:
        lines += _row("lan", [f"{lan.name or 'no name'}, {lan.nodes} other nodes"])
    lines += _row("up", [_uptime(counters.uptime_s)])
    lines += _row("board", [f"{version.get('profile', '?')}, pq {version.get('pq_mode')}"])
    lines += _row("amnesia", [_promise(amnesia)])
    opened = f"{counters.sessions_active} open, {counters.sessions_opened} since start"
    lines += _row("sessions", [opened])
    refused = sum(counters.rejected.values())
    lines += _row("requests", [f"{counters.inflight_open} open, {refused} refused"])
    used, limit = counters.store_bytes / MIB, counters.store_limit_bytes / MIB
    lines += _row("objects", [f"{counters.store_objects}, {used:.1f} of {limit:.1f} MiB"])
    if fingerprint := str(version.get("fingerprint", "")):
        lines += ["fingerprint, for ronctl --pin:", *_fingerprint(fingerprint)]
    lines += _reasons(snapshot, MAX_LINES - len(lines))
    return "\n".join(printable(line, MAX_COLUMNS) for line in lines[:MAX_LINES]) + "\n"


def hosts_of_this_machine() -> dict[int, list[str]]:
    """Addresses others can reach, by family; loopback and link-local ones are left out."""
    import ipaddress

    import psutil  # type: ignore[import-untyped]

    found: dict[int, list[str]] = {socket.AF_INET: [], socket.AF_INET6: []}
    for interface in psutil.net_if_addrs().values():
        for entry in interface:
            if entry.family in found:
                address = ipaddress.ip_address(entry.address.partition("%")[0])
                if not (address.is_loopback or address.is_link_local):
                    found[entry.family].append(str(address))
    return found


def _row(label: str, values: list[str]) -> Iterator[str]:
    for value in values:
        yield f"{label:<{LABEL}}{value}"
        label = ""


def _promise(report: Report) -> str:
    """The promise in a few words: what is required and broken, or what else is."""
    if not report.is_on:
        return "off"
    if not report.is_kept:
        lost = report.names(required=True) + report.names(required=True, state=Standing.UNKNOWN)
        return f"BROKEN: {', '.join(lost)}"
    told = report.names(required=False)
    return f"on, kept; not {', '.join(told)}" if told else "on, kept"


def _reachable(address: str, hosts: Mapping[int, list[str]]) -> list[str]:
    """What to type elsewhere to get here: a listener on every interface has many names."""
    host, _, port = address.rpartition(":")
    if host not in EVERYWHERE:
        return [address]
    family = EVERYWHERE[host]
    names = hosts.get(family, [])[:MAX_HOSTS]
    shape = "[{}]:{}" if family == socket.AF_INET6 else "{}:{}"
    return [shape.format(name, port) for name in names] or [address]


def _uptime(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hour:02}:{minute:02}:{second:02}"


def _fingerprint(digest: str) -> Iterator[str]:
    """Groups of four, eight in a line: read aloud, compared by eye."""
    groups = [digest[at : at + 4] for at in range(0, len(digest), 4)]
    for at in range(0, len(groups), 8):
        yield "  " + " ".join(groups[at : at + 8])


def _reasons(snapshot: Snapshot, room: int) -> list[str]:
    """Why it is not ready, or what is wrong nonetheless, wrapped into the lines that are left."""
    from textwrap import wrap

    if not snapshot.missing:
        return []
    lines = ["ready, but:" if snapshot.ready else "not ready because of:"]
    for check in snapshot.checks:
        if not check.ok:
            text = printable(f"{check.name}: {check.reason}", 6 * MAX_COLUMNS)
            lines += wrap(text, MAX_COLUMNS, initial_indent="  ", subsequent_indent="    ")
    if len(lines) > room:
        lines = [*lines[: max(0, room - 1)], "  ... more: /readyz?verbose"]
    return lines
