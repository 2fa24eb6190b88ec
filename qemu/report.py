"""Collects what was checked, for people and for machines."""

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Args:
        name: What should be true.
        is_ok: Whether it was.
        detail: The figure or the reason.
    """

    name: str
    is_ok: bool
    detail: str


@dataclass(slots=True)
class Report:
    """The checks of one run, in order, and its figures."""

    checks: list[Check] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def check(self, name: str, is_ok: bool, detail: str = "") -> None:
        """Note a check and print it."""
        self.checks.append(Check(name, is_ok, detail))
        print(
            f"{'ok  ' if is_ok else 'FAIL'}  {name}{f'  ({detail})' if detail else ''}", flush=True
        )

    @property
    def is_ok(self) -> bool:
        """Whether every check passed, and there was one."""
        return bool(self.checks) and all(check.is_ok for check in self.checks)

    def summary(self) -> str:
        """The last line for people."""
        passed = sum(check.is_ok for check in self.checks)
        return f"{passed} passed, {len(self.checks) - passed} failed"

    def to_json(self) -> str:
        """Everything, for machines."""
        return json.dumps({"ok": self.is_ok, **asdict(self)}, indent=1)
