"""Overload: /readyz says 503 before the first honest request is refused, and 200 afterwards."""

import asyncio
import http.client
import threading
import time

from overlay_edge.client import Client, connect
from overlay_edge.errors import EdgeError, Refused
from overlay_edge.proto.frame import END, REQ, START, App, Frame, encode_json
from tests.soak.caller import Caller
from tests.soak.gauge import Gauge, node
from tests.soak.report import Report, Scale, progress
from tests.support.program import Program

MAX_INFLIGHT = 40
CONFIG = f"""
[transport]
max_inflight = {MAX_INFLIGHT}
accept_rate = 20000
"""
HONEST = 4
STEP_S = 0.02  # from one slow upload to the next
OVER = 8  # uploads beyond the limit: those are refused, and so is the honest one after them
HOLD_S = 0.5
POLL_S = 0.002
SIZE = 4096
BACK_S = 1.0


class Watcher:
    """Asks /readyz all the time, on a thread of its own."""

    def __init__(self, admin: str) -> None:
        self.flips: list[tuple[float, int]] = []
        self.polls = 0
        self._admin = admin
        self._is_done = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watcher":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._is_done = True
        self._thread.join()

    def first(self, status: int, after: float) -> float | None:
        """When it first answered this, after a moment."""
        return next((at for at, found in self.flips if found == status and at > after), None)

    def _watch(self) -> None:
        connection = http.client.HTTPConnection(self._admin, timeout=5)
        was = 0
        while not self._is_done:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
            self.polls += 1
            if answer.status != was:
                was = answer.status
                self.flips.append((time.monotonic(), was))
            time.sleep(POLL_S)
        connection.close()


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("overload")
    with node(CONFIG) as (program, gauge), Watcher(program.admin) as watcher:
        asyncio.run(_rounds(report, program, gauge, watcher, scale.rounds))
    return report


async def _rounds(
    report: Report, program: Program, gauge: Gauge, watcher: Watcher, rounds: int
) -> None:
    margins, backs = [], []
    refused_before_flip = 0
    missing = 0
    other: list[str] = []
    for number in range(rounds):
        began = time.monotonic()
        refusals, done, failures = await _rise(program)
        other += failures
        released = done[-1]
        flipped = watcher.first(503, began)
        await asyncio.sleep(BACK_S)
        back = watcher.first(200, released)
        if flipped is None or back is None or not refusals:
            missing += 1
            continue
        refused_before_flip += sum(at < flipped for at in refusals)
        margins.append(refusals[0] - flipped)
        backs.append(back - released)
        progress(
            f"round {number + 1}: 503 {1000 * margins[-1]:.0f} ms before the first refusal,"
            f" 200 {1000 * backs[-1]:.0f} ms after the load"
        )
    report.equal("rounds without a flip, a refusal or a return", missing, 0)
    report.equal("honest requests refused before 503", refused_before_flip, 0)
    report.equal("honest failures that are no refusal", other[:3], [])
    report.judge(
        "200 again after the load",
        f"{max(backs, default=BACK_S):.2f} s",
        f"within {BACK_S:g} s",
        len(backs) == rounds,
    )
    metrics = gauge.metrics()
    inflight = metrics['overlay_inflight_frames{state="open"}']
    report.most("requests open afterwards", inflight, 1)
    report.figures |= {
        "polls": watcher.polls,
        "ahead_ms": [round(1000 * margin) for margin in margins],
        "back_ms": [round(1000 * back) for back in backs],
    }


async def _rise(program: Program) -> tuple[list[float], list[float], list[str]]:
    """Open uploads one by one until honest requests are refused; then finish them."""
    refusals: list[float] = []
    done: list[float] = []
    failures: list[str] = []
    is_over = asyncio.Event()

    async def honest(client: Client) -> None:
        while not is_over.is_set():
            try:
                await client.echo(b"honest")
            except Refused as refused:
                if refused.token != "busy":
                    failures.append(repr(refused))
                refusals.append(time.monotonic())
            except EdgeError as error:
                failures.append(repr(error))
                return
            await asyncio.sleep(0.01)

    async def load() -> None:
        # Two links: one peer alone may not have that many open.
        links = [await Caller.greeted(program.oap) for _ in range(2)]
        try:
            head = encode_json({"op": "put", "size": SIZE})
            for number in range(MAX_INFLIGHT + OVER):
                link = links[number % 2]
                frame = Frame(REQ | START, app=App.OBJECTS, corr_id=number + 1, payload=head)
                await link.send(frame)
                await asyncio.sleep(STEP_S)
            await asyncio.sleep(HOLD_S)
            for number in range(MAX_INFLIGHT + OVER):
                last = Frame(REQ | END, app=App.OBJECTS, corr_id=number + 1, payload=bytes(SIZE))
                await links[number % 2].send(last)
            done.append(time.monotonic())
            await asyncio.sleep(0.2)
        finally:
            is_over.set()
            for link in links:
                link.close()

    async with asyncio.TaskGroup() as tasks, connect(program.oap, pin=program.pin) as client:
        asked = [tasks.create_task(honest(client)) for _ in range(HONEST)]
        await load()
        await asyncio.wait(asked)
    return refusals, done, failures
