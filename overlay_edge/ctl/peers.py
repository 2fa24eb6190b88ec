"""`ronctl peers`: the neighbours of a node in the mesh, and what is held against them."""

from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.host.terminal import printable

HEAD = f"{'peer':<18}{'address':<24}{'role':<7}{'dir':<5}{'rtt ms':>8}{'score':>7}  faults"


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "peers",
        parents=[shared],
        help="show a node's neighbours in the mesh",
        description="Show a node's neighbours: eager ones are pushed messages, lazy ones are "
        "told which there are. A score below -10 may not push, below -50 it is sent away.",
    )
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask the admin plane."""
    from overlay_edge.ctl.control import read

    page = read(args, "/peers")
    lines = [HEAD, *map(row, page.get("peers", ()))]
    stats = page.get("stats", {})
    lines.append(
        f"{stats.get('active', 0)} neighbours, {stats.get('passive', 0)} other nodes known, "
        f"{stats.get('graylisted', 0)} sent away"
    )
    faults = {name: count for name, count in stats.items() if name.startswith("fault_")}
    if faults:
        told = (f"{name.removeprefix('fault_')} {count}" for name, count in sorted(faults.items()))
        lines.append("faults since the start: " + ", ".join(told))
    emit(args.json, page, *(printable(line, 160) for line in lines))
    return 0


def row(peer: dict[str, Any]) -> str:
    """One neighbour."""
    counts = Counter(str(one.get("fault")) for one in peer.get("faults", ()))
    faults = ", ".join(f"{name} x{count}" for name, count in counts.items()) or "-"
    way = "out" if peer.get("outbound") else "in"
    return (
        f"{str(peer.get('id'))[:16]:<18}{str(peer.get('addr', '')) or '-':<24}"
        f"{peer.get('role', '?'):<7}{way:<5}{peer.get('rtt_ms', 0):>8}{peer.get('score', 0):>7}"
        f"  {faults}{' CONGESTED' if peer.get('congested') else ''}"
    )
