"""`ronctl stop`: what it asks of a node, and when it says so."""

import pytest

from overlay_edge.ending import Ending
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled


@pytest.mark.parametrize(
    ("words", "then"),
    [
        ([], Ending.RESTART),
        (["--then", "restart"], Ending.RESTART),
        (["--then", "poweroff"], Ending.POWEROFF),
        (["--then", "reboot"], Ending.REBOOT),
    ],
)
def test_a_node_is_told_what_is_next(ronctl: Ronctl, words: list[str], then: Ending) -> None:
    with controlled() as node:
        done = ronctl("stop", "--admin", node.address, *words)
    assert (done.code, done.out) == (0, f"stopping, then {then.name.lower()}\n")
    assert node.controls.done == [("stop", then)]


def test_what_nobody_can_do_is_usage(ronctl: Ronctl) -> None:
    assert ronctl("stop", "--then", "panic").code == 2
