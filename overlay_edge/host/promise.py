"""The promise to leave nothing behind: insisted on at the start, looked at ever after, and shown.

    start --a required rule is broken--> no start (exit code 3)
      '----> running --a required rule breaks--> not ready --it holds again--> ready

With ``amnesia = false`` nothing is refused, and everything that is shown says so.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from overlay_edge.errors import PolicyError
from overlay_edge.host import dumps
from overlay_edge.host.rules import HOLDING, RULES, Found, Rule, Scope, Standing

# What nobody waits for is looked at when the start is over: it takes milliseconds, and more
# where the kernel's configuration has to be unpacked.
LATER_S = 1.0


class Row(NamedTuple):
    """One rule, as it is shown."""

    name: str
    promise: str
    known_by: str
    required: bool
    state: Standing
    detail: str


class Report(NamedTuple):
    """Everything there is to say.

    Attributes:
        is_on: The promise is given.
        is_kept: It is given, and every required rule holds.
        rows: All rules.
    """

    is_on: bool
    is_kept: bool
    rows: tuple[Row, ...]

    def names(self, *, required: bool, state: Standing = Standing.BROKEN) -> list[str]:
        """Rules in this state."""
        return [r.name for r in self.rows if r.required is required and r.state is state]


class Promise:
    """Keeps what is known of each rule for as long as it is good.

    Args:
        is_on: The promise is given: ``amnesia``.
        paths: What the settings name, by key.
        log_fds: Descriptors that what is said goes to.
        root: Where /proc and /sys are.
        rules: What is promised.
    """

    def __init__(
        self,
        is_on: bool,
        paths: Mapping[str, str],
        *,
        log_fds: tuple[int, ...] = (1, 2),
        root: Path = Path("/"),
        rules: tuple[Rule, ...] = RULES,
    ) -> None:
        self.is_on = is_on
        self._scope = Scope(root, paths, log_fds)
        self._rules = rules
        self._found: dict[str, Found] = {}
        self._due: dict[str, float] = {}

    @property
    def is_kept(self) -> bool:
        """True while it is given and every required rule holds."""
        return self.is_on and bool(self._found) and not self._broken()

    def start(self, *, now: float) -> None:
        """Take what is ours to take, and insist on the required rules.

        Raises:
            PolicyError: One of them does not hold; the first is told with what helps.
        """
        if not self.is_on:
            return
        sys.dont_write_bytecode = True
        dumps.forbid(self._scope.root)
        for rule in self._rules:
            if rule.required:
                self._look_at(rule, now)
            else:
                self._due[rule.name] = now + LATER_S
        if broken := self._broken():
            raise self._refusal(*broken)

    def look(self, *, now: float) -> str:
        """Look at what is due.

        Returns:
            Why the promise is not kept; empty if it is, or if none was given.
        """
        if not self.is_on:
            return ""
        self._look_at_due(now)
        return "; ".join(f"{rule.name}: {self._found[rule.name].detail}" for rule in self._broken())

    def require(self, paths: Mapping[str, str]) -> None:
        """Judge other paths, before they are used.

        Raises:
            PolicyError: One of them is not in RAM.
        """
        scope = replace(self._scope, paths=paths)
        for rule in self._rules if self.is_on else ():
            if rule.name == "paths" and (found := rule.find(scope)).state not in HOLDING:
                raise PolicyError(f"amnesia: paths: {found.detail}", hint=found.hint)

    def take(self, paths: Mapping[str, str]) -> None:
        """These paths are in use from now on; they are looked at again at once."""
        self._scope.paths = paths
        self._due.pop("paths", None)

    def report(self, *, now: float) -> Report:
        """Everything; looks at what is due, so that asking often costs nothing."""
        self._look_at_due(now, at_once=True)
        rows = tuple(
            Row(rule.name, rule.promise, rule.known_by, rule.required, *self._found[rule.name][:2])
            for rule in self._rules
        )
        return Report(self.is_on, self.is_kept, rows)

    def _look_at_due(self, now: float, *, at_once: bool = False) -> None:
        """Required rules, and one of the others: all together would stall a small board's loop."""
        has_told = False
        for rule in self._rules:
            is_new = at_once and rule.name not in self._found
            is_due = now >= self._due.get(rule.name, now)
            if is_new or (is_due and (rule.required or not has_told)):
                has_told |= not rule.required
                self._look_at(rule, now)

    def _look_at(self, rule: Rule, now: float) -> None:
        self._found[rule.name] = rule.find(self._scope)
        self._due[rule.name] = now + rule.every_s

    def _broken(self) -> list[Rule]:
        """Required rules that do not hold; what cannot be known is not promised either."""
        return [
            rule
            for rule in self._rules
            if rule.required
            and rule.name in self._found
            and self._found[rule.name].state not in HOLDING
        ]

    def _refusal(self, first: Rule, *others: Rule) -> PolicyError:
        found = self._found[first.name]
        also = f" (and {', '.join(rule.name for rule in others)})" if others else ""
        return PolicyError(f"amnesia: {first.name}: {found.detail}{also}", hint=found.hint)
