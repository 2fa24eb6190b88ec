"""`ronctl sim`: a mesh of many nodes in this process, in time that passes as fast as it can.

It runs the same machines as a node does; only links, time and dice are made up. The exit code
is 1 if a message was missed that was not told as a gap.
"""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlay_edge.ctl.output import emit, size
from overlay_edge.ctl.progress import QUIET_S, STEP_S
from overlay_edge.host.clock import monotonic

if TYPE_CHECKING:
    from overlay_edge.sim.trial import Plan, Report

MAX_NODES = 20_000  # 60 KiB each, and a minute for each message of all
MAX_MESSAGES = 100_000
MAX_SIZE = 64 << 10


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    text = "run a mesh of many nodes in simulated time and report what came of it"
    verb = verbs.add_parser("sim", parents=[shared], help=text, description=text)
    add = verb.add_argument
    add("--nodes", type=_count(2, MAX_NODES), default=100, metavar="N", help="boards (100)")
    add("--messages", type=_count(1, MAX_MESSAGES), default=100, metavar="M", help="in all (100)")
    add(
        "--senders",
        choices=["one", "random", "burst"],
        default="one",
        help="one board, a random one each time, or all at once (one)",
    )
    add("--size", type=_count(1, MAX_SIZE), default=256, metavar="BYTES", help="each (256)")
    add("--interval", type=_seconds, default=0.2, metavar="S", help="between messages (0.2)")
    add(
        "--crash",
        type=_share,
        default=0.0,
        metavar="PERCENT",
        help="of the boards, after half of the messages, such as 50%%",
    )
    add("--drop", type=_share, default=0.0, metavar="PERCENT", help="of payloads on each link")
    add(
        "--partition",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="cut the network in two for so long, after half of the messages",
    )
    add("--latency", type=_span, default=(10, 50), metavar="MS-MS", help="of links (10-50)")
    add(
        "--notice",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="until a broken link is noticed, at most (1); a power cut is noticed by silence (15)",
    )
    add("--seed", type=_count(0, 2**32), default=1, metavar="N", help="of the dice (1)")
    add("--svg", metavar="FILE", help="draw the overlay, its tree and the deliveries")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Run and report."""
    from overlay_edge.config import GossipConfig
    from overlay_edge.sim.network import Weather
    from overlay_edge.sim.picture import svg, terminal
    from overlay_edge.sim.trial import Plan, Trial

    plan = Plan(
        nodes=args.nodes,
        messages=args.messages,
        senders=args.senders,
        size_bytes=args.size,
        interval_s=args.interval,
        crash=args.crash,
        part_s=args.partition,
        seed=args.seed,
        weather=Weather(
            latency_s=(args.latency[0] / 1000, args.latency[1] / 1000),
            drop=args.drop,
            notice_s=args.notice,
        ),
        config=GossipConfig(enabled=True),
    )
    began = monotonic()
    meter = Meter()
    trial = Trial(plan, meter)
    report = trial.run()
    meter.end()
    took_s = monotonic() - began
    if args.svg:
        Path(args.svg).write_text(svg(trial, report))
    lines = [*_lines(plan, report, took_s), *terminal(report)]
    if args.svg:
        lines.append(f"drawn       {args.svg}")
    emit(args.json, _fields(plan, report, took_s), *lines)
    return 1 if report.unaccounted or report.doubles else 0


def _lines(plan: "Plan", report: "Report", took_s: float) -> list[str]:
    from overlay_edge.sim.trial import percentile

    share = 100 * report.delivered / report.expected if report.expected else 100.0
    last = report.last_s
    return [
        f"nodes       {plan.nodes}, {report.live} live at the end, seed {plan.seed}",
        f"messages    {report.published} of {plan.size_bytes} B, {report.shed} shed"
        f" at their publisher; senders {plan.senders}",
        f"delivered   {report.delivered} of {report.expected} ({share:.3f} %)",
        f"missed      {report.missed}, told as gaps {report.gapped},"
        f" unaccounted for {report.unaccounted}, delivered twice {report.doubles}",
        f"redundancy  RMR {report.rmr:.3f}: copies per delivery, less one",
        f"last hop    max {percentile(report.ldh, 1):.0f}, p95 {percentile(report.ldh, 0.95):.0f}",
        f"last board  p50 {percentile(last, 0.5):.2f} s, p95 {percentile(last, 0.95):.2f} s,"
        f" max {percentile(last, 1):.2f} s; {report.early} late, repaired in"
        f" {report.repair_s:.1f} s",
        f"per node    {report.control_per_node:.0f} control payloads,"
        f" {size(report.sent_per_node)} sent, {size(report.held_per_node)} held"
        f" (most {size(report.held_most)})",
        f"run         {report.events} events, {report.virtual_s:.0f} s simulated in {took_s:.1f} s",
    ]


def _fields(plan: "Plan", report: "Report", took_s: float) -> dict[str, object]:
    from overlay_edge.sim.trial import percentile

    return {
        "nodes": plan.nodes,
        "live": report.live,
        "seed": plan.seed,
        "messages": report.published,
        "shed": report.shed,
        "expected": report.expected,
        "delivered": report.delivered,
        "missed": report.missed,
        "gapped": report.gapped,
        "unaccounted": report.unaccounted,
        "delivered_twice": report.doubles,
        "rmr": round(report.rmr, 4),
        "ldh_max": percentile(report.ldh, 1),
        "ldh_p95": percentile(report.ldh, 0.95),
        "last_p50_s": round(percentile(report.last_s, 0.5), 4),
        "last_p95_s": round(percentile(report.last_s, 0.95), 4),
        "last_max_s": round(percentile(report.last_s, 1), 4),
        "late": report.early,
        "repair_s": round(report.repair_s, 2),
        "control_per_node": round(report.control_per_node, 1),
        "sent_bytes_per_node": round(report.sent_per_node),
        "held_bytes_per_node": round(report.held_per_node),
        "held_bytes_most": report.held_most,
        "events": report.events,
        "simulated_s": round(report.virtual_s, 2),
        "took_s": round(took_s, 2),
        "counts": report.counts,
    }


class Meter:
    """How far a long run is, on a terminal's stderr."""

    def __init__(self) -> None:
        self._next = monotonic() + QUIET_S if sys.stderr.isatty() else float("inf")
        self._is_drawn = False

    def __call__(self, what: str, share: float) -> None:
        """Show it if it is time."""
        now = monotonic()
        if now >= self._next:
            self._next = now + STEP_S
            self._is_drawn = True
            print(f"\r{what:<12}{min(1.0, share):4.0%}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave an empty line."""
        if self._is_drawn:
            print("\r" + " " * 20 + "\r", end="", file=sys.stderr, flush=True)


def _count(least: int, most: int) -> Any:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"expected {least} to {most}")
        return int(text)

    return read


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise ArgumentTypeError("expected a share such as 10%, below 100%")
    return value / 100


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ArgumentTypeError("expected 0 to 3600 seconds")
    return value


def _span(text: str) -> tuple[float, float]:
    low, _, high = text.removesuffix("ms").partition("-")
    try:
        span = (float(low), float(high or low))
    except ValueError:
        span = (-1.0, -1.0)
    if not 0 < span[0] <= span[1] <= 10_000:
        raise ArgumentTypeError("expected milliseconds such as 10-50")
    return span
