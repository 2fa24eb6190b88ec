"""Fuzz: every decoder that a stranger's bytes reach, under atheris; one process for each."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.fuzz_target import TARGETS
from tests.soak.report import Report, Scale, progress

AT_ONCE = 2
MAX_INPUT_BYTES = 4096
GRACE_S = 60  # to start and to stop
RUNS = re.compile(r"Done (\d+) (?:runs )?in")
TAIL_LINES = 12


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("fuzz")
    if importlib.util.find_spec("atheris") is None:
        report.skipped = "atheris is not installed: pip install atheris (CPython 3.11 to 3.13)"
        return report
    names = list(TARGETS)
    with TemporaryDirectory(dir="/dev/shm") as folder:
        for start in range(0, len(names), AT_ONCE):
            running = [
                _Target(name, Path(folder), scale) for name in names[start : start + AT_ONCE]
            ]
            try:
                for target in running:
                    target.finish(report)
            finally:
                for target in running:
                    target.kill()
    return report


class _Target:
    """One target at work."""

    def __init__(self, name: str, folder: Path, scale: Scale) -> None:
        self._name = name
        self._found = folder / f"{name}-found-"
        self._out = (folder / f"{name}.out").open("w+")
        seeds = folder / f"{name}-seeds"
        seeds.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds()):
            (seeds / str(number)).write_bytes(seed)
        self._timeout_s = scale.fuzz_s + GRACE_S
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.soak.fuzz_target", name, str(seeds)),
                f"-max_total_time={scale.fuzz_s}",
                f"-runs={scale.fuzz_runs}",
                f"-max_len={MAX_INPUT_BYTES}",
                f"-artifact_prefix={self._found}",
                "-timeout=5",
            ],
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    def finish(self, report: Report) -> None:
        """Wait for it and judge it."""
        code: int | str
        try:
            code = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            code = "no end"
        self._out.seek(0)
        text = self._out.read()
        found = RUNS.search(text)
        runs = int(found[1]) if found else 0
        progress(f"{self._name}: {runs} runs")
        for path in sorted(self._found.parent.glob(f"{self._found.name}*")):
            progress(f"{path.name}: {path.read_bytes().hex()}")
        if code != 0:
            print(*text.splitlines()[-TAIL_LINES:], sep="\n")
        report.judge(f"{self._name}, {runs} runs", f"exit {code}", "exit 0", code == 0)
        report.figures[self._name] = runs

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._out.close()
