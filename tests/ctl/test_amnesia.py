"""`ronctl amnesia report`: readable on a phone, and an exit code for scripts."""

import pytest

from overlay_edge.host.promise import Report
from overlay_edge.host.rules import Standing
from tests.ctl.conftest import Done, Ronctl
from tests.support.controlled import controlled
from tests.support.hand_view import HandView, report


def ask(ronctl: Ronctl, promised: Report, *argv: str) -> Done:
    with controlled(HandView(promised=promised)) as node:
        return ronctl("amnesia", "report", "--admin", node.address, *argv)


def test_every_rule_is_told_with_how_it_is_known(ronctl: Ronctl) -> None:
    done = ask(ronctl, report())
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "amnesia on: every required rule holds"
    assert "* swap          kept" in lines
    assert "* log           not here" in lines
    assert "  disks         BROKEN" in lines
    assert "  freed_pages   unknown" in lines
    assert "    /proc/x: disks detail" in lines
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("state", [Standing.BROKEN, Standing.UNKNOWN])
def test_a_required_rule_that_does_not_hold_is_exit_code_1(ronctl: Ronctl, state: Standing) -> None:
    done = ask(ronctl, report(swap=state))
    assert done.code == 1
    assert done.out.startswith("amnesia on: BROKEN\n")


def test_a_node_without_the_promise_is_exit_code_1(ronctl: Ronctl) -> None:
    done = ask(ronctl, report(is_on=False))
    assert (done.code, done.out.splitlines()[0]) == (1, "amnesia off: nothing is promised")


def test_as_json_it_is_what_the_node_says(ronctl: Ronctl) -> None:
    done = ask(ronctl, report(), "--json")
    page = done.json
    assert (done.code, page["kept"], len(page["rules"])) == (0, True, 4)


@pytest.mark.slow
def test_a_real_node_tells_all_its_rules(to_node: Ronctl) -> None:
    done = to_node("amnesia", "report", "--json")
    assert len(done.json["rules"]) == 12
    assert done.code == (0 if done.json["kept"] else 1)
