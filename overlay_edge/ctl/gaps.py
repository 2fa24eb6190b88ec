"""`ronctl gaps`: prove that every message was delivered, or told as a gap, on each of some nodes.

Each node keeps a ledger: for every topic and publisher how many messages it knows of, how many
it has, and how many it has given up. What the best informed of the nodes knows of was published.
"""

from argparse import ArgumentParser, Namespace
from copy import deepcopy
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.shapes import url
from overlay_edge.host.terminal import printable

Key = tuple[str, str, int]  # topic, publisher, epoch


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "gaps",
        parents=[deepcopy(shared)],
        conflict_handler="resolve",
        help="prove that no message was lost silently",
        description="Compare what nodes have delivered and given up with what was published. "
        "Exit code 0 if on each of them delivered + gapped = published, and nothing is pending.",
    )
    verb.add_argument(
        "--admin",
        type=url,
        action="append",
        dest="admins",
        metavar="URL",
        help="admin plane of a node; may be repeated",
    )
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask all of them."""
    from overlay_edge.ctl.control import read

    ledgers: dict[str, list[dict[str, Any]]] = {}
    for admin in getattr(args, "admins", None) or [args.admin]:
        asked = Namespace(**vars(args) | {"admin": admin})
        ledgers[admin] = read(asked, "/ledger").get("streams", [])
    streams = compare(ledgers)
    holds = all(one["holds"] for one in streams)
    lines = []
    for one in streams:
        lines.append(
            f"{one['topic']}  {one['publisher'][:16]}  epoch {one['epoch']}: "
            f"{one['published']} published"
        )
        lines += [
            f"  {admin:<24}{node['delivered']:>8} delivered{node['gapped']:>7} gapped"
            f"{node['pending']:>7} pending  {'' if node['holds'] else 'DOES NOT ADD UP'}".rstrip()
            for admin, node in one["nodes"].items()
        ]
    lines.append(
        "every message is accounted for" if holds else "NOT every message is accounted for"
    )
    emit(args.json, {"holds": holds, "streams": streams}, *(printable(line, 160) for line in lines))
    return 0 if holds else 1


def compare(ledgers: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every stream that any node knows, and how each node stands to it."""
    found: dict[Key, dict[str, dict[str, Any]]] = {}
    for admin, ledger in ledgers.items():
        for row in ledger:
            key = (str(row["topic"]), str(row["publisher"]), int(row["epoch"]))
            found.setdefault(key, {})[admin] = row
    streams = []
    for (topic, publisher, epoch), rows in sorted(found.items()):
        published = max(int(row["published"]) for row in rows.values())
        nodes = {admin: _stands(rows.get(admin, {}), published) for admin in ledgers}
        streams.append(
            {
                "topic": topic,
                "publisher": publisher,
                "epoch": epoch,
                "published": published,
                "holds": all(node["holds"] for node in nodes.values()),
                "nodes": nodes,
            }
        )
    return streams


def _stands(row: dict[str, Any], published: int) -> dict[str, Any]:
    counts = {name: int(row.get(name, 0)) for name in ("delivered", "gapped", "pending")}
    holds = counts["delivered"] + counts["gapped"] == published and not counts["pending"]
    return {**counts, "holds": holds}
