"""Picture: well-formed, with every board, and short enough for a terminal."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from overlay_edge.sim.picture import DEAD, LINK, LIVE, TREE, svg, terminal
from overlay_edge.sim.trial import Plan, Report, Trial

Drawn = tuple[Trial, Report]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    trial = Trial(Plan(nodes=10, messages=6, crash=0.3, size_bytes=2000))
    return trial, trial.run()


def test_every_board_is_drawn_and_the_dead_are_grey(drawn: Drawn) -> None:
    root = ElementTree.fromstring(svg(*drawn))  # noqa: S314
    circles = [one.get("fill") for one in root if one.tag.endswith("circle")]
    assert (circles.count(LIVE), circles.count(DEAD)) == (7, 3)


def test_the_tree_is_drawn_over_the_links(drawn: Drawn) -> None:
    drawing = svg(*drawn)
    assert 7 - 1 <= drawing.count(TREE) <= drawing.count(LINK)


def test_everything_is_inside_the_picture(drawn: Drawn) -> None:
    root = ElementTree.fromstring(svg(*drawn))  # noqa: S314
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for one in root.iter():
        for key, most in (("cx", width), ("x1", width), ("cy", height), ("y2", height)):
            assert 0 <= float(one.get(key, "0")) <= most


def test_the_terminal_gets_lines_of_80_columns_with_bars(drawn: Drawn) -> None:
    lines = terminal(drawn[1])
    assert len(lines) == 2
    assert all(len(line) <= 90 for line in lines)
    assert all("█" in line for line in lines)


def test_nothing_delivered_is_said(drawn: Drawn) -> None:
    assert terminal(replace(drawn[1], timeline=())) == ["nothing was delivered"]
