"""Picture: a run as SVG, and as a few lines of text for a terminal.

Boards stand on a circle in the order that a walk over the tree meets them, so that most links
of the tree are short. A link is of the tree if both its ends would push to each other.
"""

from math import cos, pi, sin

from overlay_edge.sim.network import Board
from overlay_edge.sim.trial import TOPIC, Report, Trial, percentile

SIZE, MARGIN = 760, 30  # of the circle's square, in units of the picture
PLOT_HEIGHT, PLOT_GAP = 160, 40
BINS = 60
COLUMNS = 44  # with its caption a line has 80
LIVE, DEAD, LINK, TREE, BARS = "#1a5fb4", "#bbbbbb", "#dddddd", "#e66100", "#26a269"
BLOCKS = " ▁▂▃▄▅▆▇█"

Point = tuple[float, float]


def svg(trial: Trial, report: Report) -> str:
    """The overlay at the end, its tree, and the deliveries over time."""
    boards = trial.network.boards
    places = _places(boards)
    radius = max(1.2, min(7.0, 300 / len(boards)))
    height = SIZE + PLOT_GAP + PLOT_HEIGHT + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{SIZE}" height="{height}" fill="white"/>',
    ]
    thin = max(0.15, min(1.0, 60 / len(boards)))
    for here, there in sorted(_links(boards)):
        parts.append(_line(places[here], places[there], LINK, thin))
    for here, there in sorted(_tree(boards)):
        parts.append(_line(places[here], places[there], TREE, 2 * thin))
    for board in boards:
        x, y = places[board.index]
        colour = LIVE if board.is_alive else DEAD
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"/>')
    parts += _plot(report, SIZE + PLOT_GAP)
    parts.append(f'<text x="{MARGIN}" y="{height - 10}">{_caption(report)}</text></svg>')
    return "\n".join(parts) + "\n"


def terminal(report: Report, width: int = COLUMNS) -> list[str]:
    """How long deliveries took, and when they were made, as two lines of bars."""
    took = [seconds for _, seconds in report.timeline]
    if not took:
        return ["nothing was delivered"]
    # The slowest few would squeeze all others into one bar: they are told as a number.
    most = max(1e-9, percentile(tuple(sorted(took)), 0.99))
    end = max(at for at, _ in report.timeline)
    made = [at for at, _ in report.timeline]
    latencies, deliveries = (
        _bars(_bins(values, span, width)) for values, span in ((took, most), (made, end))
    )
    return [
        f"latency     |{latencies}| 0 to {most:.2f} s, slowest {max(took):.2f} s",
        f"deliveries  |{deliveries}| 0 to {end:.0f} s",
    ]


def _caption(report: Report) -> str:
    return (
        f"{report.live} boards live, {report.published} messages, missed {report.missed}"
        f" ({report.gapped} told as gaps), RMR {report.rmr:.2f},"
        f" last hop {percentile(report.ldh, 1.0):.0f}"
    )


def _places(boards: list[Board]) -> dict[int, Point]:
    order = _order(boards)
    middle, radius = SIZE / 2, SIZE / 2 - MARGIN
    return {
        index: (
            middle + radius * sin(2 * pi * at / len(order)),
            middle - radius * cos(2 * pi * at / len(order)),
        )
        for at, index in enumerate(order)
    }


def _order(boards: list[Board]) -> list[int]:
    """Depth first over the tree; who is in none stands where it was made."""
    near: dict[int, list[int]] = {}
    for here, there in sorted(_tree(boards)):
        near.setdefault(here, []).append(there)
        near.setdefault(there, []).append(here)
    order: dict[int, None] = {}
    for root in boards:
        stack = [root.index]
        while stack:
            here = stack.pop()
            if here not in order:
                order[here] = None
                stack += reversed(near.get(here, []))
    return list(order)


def _links(boards: list[Board]) -> set[tuple[int, int]]:
    names = {board.contact.node: board.index for board in boards}
    return {
        (min(board.index, names[peer]), max(board.index, names[peer]))
        for board in boards
        if board.is_alive
        for peer in board.mesh.members.active
    }


def _tree(boards: list[Board]) -> set[tuple[int, int]]:
    names = {board.contact.node: board.index for board in boards}
    pushes = {
        (board.index, names[peer])
        for board in boards
        if board.is_alive
        for peer, role in board.mesh.delivery.broadcast.roles(TOPIC).items()
        if role != "lazy"
    }
    return {(here, there) for here, there in pushes if here < there and (there, here) in pushes}


def _line(here: Point, there: Point, colour: str, width: float) -> str:
    return (
        f'<line x1="{here[0]:.1f}" y1="{here[1]:.1f}" x2="{there[0]:.1f}" y2="{there[1]:.1f}"'
        f' stroke="{colour}" stroke-width="{width:.2f}"/>'
    )


def _plot(report: Report, top: float) -> list[str]:
    end = max((at for at, _ in report.timeline), default=1.0) or 1.0
    bins = _bins([at for at, _ in report.timeline], end, BINS)
    most = max(bins) or 1
    step = (SIZE - 2 * MARGIN) / BINS
    parts = [
        f'<rect x="{MARGIN + at * step:.1f}" y="{top + PLOT_HEIGHT * (1 - count / most):.1f}"'
        f' width="{step * 0.9:.1f}" height="{PLOT_HEIGHT * count / most:.1f}" fill="{BARS}"/>'
        for at, count in enumerate(bins)
        if count
    ]
    parts.append(
        f'<text x="{MARGIN}" y="{top - 8:.0f}">deliveries over time, 0 to {end:.0f} s,'
        f" at most {most} in {end / BINS:.2f} s</text>"
    )
    return parts


def _bins(values: list[float], most: float, number: int) -> list[int]:
    bins = [0] * number
    for value in values:
        bins[min(number - 1, int(number * value / most))] += value <= most
    return bins


def _bars(bins: list[int]) -> str:
    most = max(bins) or 1
    return "".join(
        BLOCKS[max(count > 0, round((len(BLOCKS) - 1) * count / most))] for count in bins
    )
