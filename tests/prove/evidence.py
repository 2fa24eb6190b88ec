"""What the proof has found: a table for people, JSON for machines."""

import hashlib
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.prove.exits import CLASSES, PURGE_LIMIT_S, Trial
from tests.prove.leaks import Caught
from tests.prove.purge_time import PurgeTime
from tests.prove.writes import Untouched

MARKS = {True: "ok", False: "FAIL"}


@dataclass(slots=True)
class Proof:
    """One run.

    Attributes:
        image: What was booted.
        is_short: Only a part of everything.
        broken: Parts that did not come to their end, and why.
        dump: Hits in a dump that QEMU wrote itself, and in the shared file, at one moment.
    """

    image: Path
    is_short: bool
    trials: list[Trial] = field(default_factory=list)
    leaks: list[Caught] = field(default_factory=list)
    writes: Untouched | None = None
    pull: Untouched | None = None
    purge: PurgeTime | None = None
    dump: tuple[int, int] | None = None
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def verdicts(self) -> dict[str, bool]:
        """What must hold, as far as it was tried."""
        found = {f"exit: {trial.exit}": trial.holds for trial in self.trials}
        found |= {f"leak caught: {leak.name}": leak.holds for leak in self.leaks}
        if self.writes is not None:
            found["nothing was written, decoys included"] = self.writes.holds
        if self.pull is not None:
            found["the medium was pulled and every request served"] = self.pull.holds
        if self.purge is not None:
            found[f"purged in {PURGE_LIMIT_S:g} s, p99"] = self.purge.holds(PURGE_LIMIT_S)
        if self.dump is not None:
            found["a dump by QEMU has the same hits"] = self.dump[0] == self.dump[1] > 0
        return found | {f"part {name}": False for name in self.broken}

    @property
    def holds(self) -> bool:
        """Everything that was tried, and something was."""
        return bool(self.verdicts) and all(self.verdicts.values())


def progress(text: str) -> None:
    """Say what is going on."""
    print(text if text.endswith(":") else f"  {text}", flush=True)


def report(proof: Proof) -> str:
    """The tables, and a verdict on each line."""
    lines = ["", *_matrix(proof.trials), ""]
    for text, holds in proof.verdicts.items():
        lines.append(f"{MARKS[holds]:4}  {text}")
    lines += [f"      {name}: {why}" for name, why in proof.broken.items()]
    lines += _figures(proof)
    failed = sum(not holds for holds in proof.verdicts.values())
    lines.append(f"{len(proof.verdicts) - failed} hold, {failed} do not, {proof.seconds:.0f} s")
    return "\n".join(lines)


def _matrix(trials: list[Trial]) -> list[str]:
    """Class by exit: hits after it; a dot where the exit is not about the class."""
    if not trials:
        return []
    names = [name for name in CLASSES if any(c.name == name for c in trials[0].cells)]
    cells = {(cell.name, trial.exit): cell for trial in trials for cell in trial.cells}
    rows = [["hits in all memory", "before", *(trial.exit for trial in trials)]]
    for name in names:
        most = max(cells[name, trial.exit].before for trial in trials)
        row = [name, str(most)]
        for trial in trials:
            cell = cells[name, trial.exit]
            row.append(str(cell.after) if cell.must_go else "·")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    made = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    why = sorted({cell.why for cell in cells.values() if cell.why})
    return [*made, *(f"· {reason}" for reason in why)]


def _figures(proof: Proof) -> list[str]:
    lines = []
    for trial in proof.trials:
        if trial.meanwhile >= 0:
            lines.append(f"{trial.exit}: {trial.meanwhile} hits until the next start")
    if proof.writes is not None:
        drives = ", ".join(proof.writes.drives)
        lines.append(f"drives watched: {drives}; {proof.writes.requests} requests served")
    for seen in (proof.writes, proof.pull):
        if seen is not None:
            lines += [f"written: {seen.written}"] if seen.written else []
            lines += [f"changed: {seen.changed}"] if seen.changed else []
            lines += [f"failure: {text}" for text in seen.failures[:5]]
    if proof.pull is not None:
        lines.append(f"after the medium was pulled: {proof.pull.requests} requests served")
    if proof.purge is not None:
        p = proof.purge
        lines.append(
            f"end of time to no hits in live memory, {p.items} objects: median {p.p50_s} s,"
            f" p99 {p.p99_s} s, worst {p.worst_s} s, left {p.left}; one look takes {p.look_s} s"
        )
    return lines


def to_json(proof: Proof) -> dict[str, Any]:
    """Everything, and what it was found on."""
    manifest = proof.image.with_name("manifest.json")
    with proof.image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    version = subprocess.run(
        ["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=False
    )
    return {
        "format": 1,
        "holds": proof.holds,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "image": {"name": proof.image.name, "sha256": digest},
        "service": json.loads(manifest.read_text())["service"] if manifest.is_file() else None,
        "qemu": version.stdout.splitlines()[0] if version.stdout else "",
        "host": f"{platform.system()} {platform.machine()}",
        "seconds": proof.seconds,
        "is_short": proof.is_short,
        "verdicts": proof.verdicts,
        "exits": [asdict(trial) for trial in proof.trials],
        "leaks": [asdict(leak) for leak in proof.leaks],
        "writes": asdict(proof.writes) if proof.writes else None,
        "pull": asdict(proof.pull) if proof.pull else None,
        "purge": asdict(proof.purge) if proof.purge else None,
        "dump": proof.dump,
        "broken": proof.broken,
    }
