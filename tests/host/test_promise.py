"""The promise: no start without it, not ready while it is broken, and never another story."""

import math
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from overlay_edge.errors import PolicyError
from overlay_edge.host.promise import LATER_S, Promise
from overlay_edge.host.rules import Found, Rule, Scope, Standing

KEPT, BROKEN, UNKNOWN, NOT_HERE = Standing


@dataclass
class Hand:
    """Rules whose answers are set by hand, and how often each was asked."""

    answers: dict[str, Found] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def rule(self, name: str, *, required: bool, every_s: float) -> Rule:
        def look(scope: Scope) -> Found:
            self.asked.append(name)
            return self.answers.get(name, Found(KEPT, "fine"))

        return Rule(name, "holds", "by hand", look, required, every_s)

    def set(self, name: str, state: Standing, detail: str = "", hint: str = "") -> None:
        self.answers[name] = Found(state, detail or f"{name} is {state}", hint)

    def promise(self, *, is_on: bool = True) -> Promise:
        rules = (
            self.rule("paths", required=True, every_s=10.0),
            self.rule("swap", required=True, every_s=1.0),
            self.rule("disks", required=False, every_s=10.0),
            self.rule("allocator", required=False, every_s=math.inf),
        )
        return Promise(is_on, {}, rules=rules)


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    # What is forbidden to this process stays forbidden; test_dumps does it in children.
    monkeypatch.setattr("overlay_edge.host.dumps.forbid", lambda root: None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return Hand()


def test_a_start_looks_at_what_is_required_and_leaves_the_rest_for_later(hand: Hand) -> None:
    promise = hand.promise()
    assert not promise.is_kept
    promise.start(now=100.0)
    assert hand.asked == ["paths", "swap"]
    assert promise.is_kept
    assert promise.look(now=100.0 + LATER_S) == ""
    assert len({"disks", "allocator"} & set(hand.asked[2:])) == 1  # of the others one at a time
    assert promise.look(now=100.25 + LATER_S) == ""
    assert set(hand.asked[2:]) == {"swap", "disks", "allocator"}


def test_a_start_forbids_dumps_and_bytecode(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden: list[object] = []
    monkeypatch.setattr("overlay_edge.host.dumps.forbid", forbidden.append)
    hand.promise(is_on=False).start(now=0.0)
    assert (forbidden, sys.dont_write_bytecode) == ([], False)
    hand.promise().start(now=0.0)
    assert (len(forbidden), sys.dont_write_bytecode) == (1, True)


@pytest.mark.parametrize("state", [BROKEN, UNKNOWN])
def test_what_is_required_and_does_not_hold_ends_the_start_with_what_helps(
    hand: Hand, state: Standing
) -> None:
    hand.set("swap", state, "swap on /dev/sda2, expected none", "swapoff -a")
    with pytest.raises(PolicyError) as caught:
        hand.promise().start(now=0.0)
    assert str(caught.value) == "amnesia: swap: swap on /dev/sda2, expected none"
    assert caught.value.hint == "swapoff -a"


def test_of_several_the_first_is_told_in_full_and_the_others_by_name(hand: Hand) -> None:
    hand.set("paths", BROKEN, "x is on ext4")
    hand.set("swap", BROKEN)
    with pytest.raises(PolicyError, match=r"^amnesia: paths: x is on ext4 \(and swap\)$"):
        hand.promise().start(now=0.0)


def test_what_does_not_apply_holds_and_what_is_only_told_refuses_nothing(hand: Hand) -> None:
    hand.set("swap", NOT_HERE)
    hand.set("disks", BROKEN)
    promise = hand.promise()
    promise.start(now=0.0)
    assert promise.look(now=10.0) == ""
    assert promise.is_kept


def test_a_rule_that_breaks_later_is_the_reason_until_it_holds_again(hand: Hand) -> None:
    promise = hand.promise()
    promise.start(now=0.0)
    hand.set("swap", BROKEN, "swap on /dev/zram0")
    assert promise.look(now=0.5) == ""  # a look is good for a second
    assert promise.look(now=1.0) == "swap: swap on /dev/zram0"
    assert not promise.is_kept
    hand.set("swap", KEPT)
    assert promise.look(now=2.0) == ""
    assert promise.is_kept


def test_nothing_is_looked_at_more_often_than_it_must_be(hand: Hand) -> None:
    promise = hand.promise()
    promise.start(now=0.0)
    for quarter in range(400):
        promise.look(now=quarter / 4)
        promise.report(now=quarter / 4)
    assert hand.asked.count("swap") == 100
    assert hand.asked.count("disks") == 10
    assert hand.asked.count("allocator") == 1


def test_turned_off_it_refuses_nothing_and_says_so(hand: Hand) -> None:
    hand.set("swap", BROKEN)
    promise = hand.promise(is_on=False)
    promise.start(now=0.0)
    assert promise.look(now=1.0) == ""
    promise.require({"tls.key": "/etc/key.pem"})
    report = promise.report(now=1.0)
    assert not promise.is_kept
    assert not report.is_on
    assert not report.is_kept
    assert report.names(required=True) == ["swap"]


def test_a_report_has_every_rule_also_those_not_looked_at_yet(hand: Hand) -> None:
    hand.set("disks", BROKEN, "/ (ext4)")
    promise = hand.promise()
    promise.start(now=0.0)
    report = promise.report(now=0.0)
    assert [row.name for row in report.rows] == ["paths", "swap", "disks", "allocator"]
    row = report.rows[2]
    assert row == ("disks", "holds", "by hand", False, BROKEN, "/ (ext4)")
    assert (report.is_on, report.is_kept) == (True, True)
    assert report.names(required=False) == ["disks"]


def test_other_paths_are_judged_before_they_are_used() -> None:
    promise = Promise(True, {})
    with pytest.raises(PolicyError, match=r"amnesia: paths: tls\.key is /proc/x, on proc"):
        promise.require({"tls.key": "/proc/x"})
    promise.require({"tls.key": "/dev/shm/key.pem"})  # noqa: S108 - what is RAM on every Linux


def test_paths_in_use_are_looked_at_again_at_once(hand: Hand) -> None:
    promise = hand.promise()
    promise.start(now=0.0)
    hand.asked.clear()
    promise.take({"tls.key": "/run/new.pem"})
    promise.look(now=0.1)
    assert hand.asked == ["paths"]


def test_on_a_machine_without_swap_a_real_process_keeps_its_promise() -> None:
    code = (
        "from overlay_edge.host.promise import Promise; import sys\n"
        "from pathlib import Path\n"
        "promise = Promise(True, {'store.path': '/dev/shm'})\n"
        "swap = len(Path('/proc/swaps').read_text().splitlines()) > 1\n"
        "try: promise.start(now=0.0)\n"
        "except Exception as e: print(swap, str(e).startswith('amnesia: swap')); sys.exit()\n"
        "rows = promise.report(now=0.0).rows\n"
        "print(*sorted({str(row.state) for row in rows if row.required}), promise.is_kept)"
    )
    argv = [sys.executable, "-B", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout in {"kept True\n", "True True\n"}
