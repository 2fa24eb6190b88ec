"""Report: what a phase found, and what it had to find."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that must hold.

    Attributes:
        what: In words.
        found: What was measured.
        wanted: What it must be.
        holds: It is so.
    """

    what: str
    found: str
    wanted: str
    holds: bool


@dataclass(slots=True)
class Report:
    """One phase.

    Attributes:
        skipped: Why it was not run; empty if it was.
        figures: What else was measured, judged by nobody.
    """

    phase: str
    skipped: str = ""
    seconds: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Nothing was found that must not be; a phase that was skipped found nothing."""
        return all(verdict.holds for verdict in self.verdicts)

    def judge(self, what: str, found: object, wanted: str, holds: bool) -> None:
        """Note one thing that must hold."""
        self.verdicts.append(Verdict(what, str(found), wanted, holds))

    def equal(self, what: str, found: object, wanted: object) -> None:
        """It must be exactly this."""
        self.judge(what, found, f"{wanted}", found == wanted)

    def most(self, what: str, found: float, limit: float, unit: str = "") -> None:
        """It must not be more than this."""
        text = f"at most {limit:.10g} {unit}".rstrip()
        self.judge(what, f"{found:.4g} {unit}".rstrip(), text, found <= limit)

    def least(self, what: str, found: float, limit: float) -> None:
        """It must be at least this."""
        self.judge(what, f"{found:.10g}", f"at least {limit:.10g}", found >= limit)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything.

    Attributes:
        sessions: Held at once by the crowd.
        honest: Honest peers of the mixed load.
        window_s: How long each window of the mixed load lasts.
        knocks: Connects and disconnects.
        knock_s: They may take this long; if the machine is slower, there are fewer.
        cycles: Rounds of connects and disconnects, with a look after each.
        rounds: How often the load of the overload rises.
        fuzz_s: For each target.
        fuzz_runs: For each target, whichever ends first.
    """

    sessions: int
    honest: int
    window_s: float
    knocks: int
    knock_s: float
    cycles: int
    rounds: int
    fuzz_s: int
    fuzz_runs: int


FULL = Scale(1000, 228, 15.0, 50_000, 200.0, 10, 3, 20, 20_000_000)
QUICK = Scale(30, 114, 1.5, 600, 4.0, 3, 1, 1, 1_000_000)
TINY = Scale(12, 38, 1.0, 200, 4.0, 3, 1, 1, 2000)


def progress(text: str) -> None:
    """Say what is going on."""
    print(f"  {text}", flush=True)


def table(reports: list[Report]) -> str:
    """What was found, a line for each verdict."""
    rows = []
    for report in reports:
        name = f"{report.phase} ({report.seconds:.0f} s)"
        if report.skipped:
            rows.append(("skip", name, "", report.skipped, ""))
        for verdict in report.verdicts:
            mark = "ok" if verdict.holds else "FAIL"
            rows.append((mark, name, verdict.what, verdict.found, verdict.wanted))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = []
    for mark, name, what, found, wanted in rows:
        text = f"{mark:4}  {name:{widths[1]}}  {what:{widths[2]}}  {found}"
        lines.append(f"{text}   ({wanted})" if wanted else text)
    return "\n".join(lines)
