"""`ronctl budget`: what all limits come to when everything is full at once."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.config import choose, effective
from overlay_edge.ctl.output import emit, size


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    text = "print the worst case of all limits against the memory budget; exit code 1 if over it"
    verb = verbs.add_parser("budget", parents=[shared], help=text, description=text)
    choose(verb)
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Print the sum."""
    from overlay_edge.config.budget import total_bytes, worst_case

    name, profile, config, _ = effective(args)
    rows = worst_case(
        config.transport,
        config.peer,
        config.store,
        config.downstream,
        config.gossip,
        config.discovery,
        config.mqtt,
    )
    total, budget = total_bytes(rows), config.memory_budget_bytes
    fits = total <= budget
    lines = [f"{name}, profile {profile}: the worst case, everything full at once"]
    lines += [
        f"  {row.name:<18}{row.number:>6} x {size(row.each_bytes):>10}{size(row.total_bytes):>12}"
        for row in rows
    ]
    lines.append(f"  {'sum':<18}{'':>19}{size(total):>12}")
    lines.append(
        f"  {'memory_budget':<18}{'':>19}{size(budget):>12}   {'fits' if fits else 'DOES NOT FIT'}"
    )
    fields: dict[str, object] = {
        "profile": profile,
        "rows": [
            {"name": row.name, "number": row.number, "each_bytes": row.each_bytes} for row in rows
        ],
        "sum_bytes": total,
        "budget_bytes": budget,
        "fits": fits,
    }
    emit(args.json, fields, *lines)
    return 0 if fits else 1
