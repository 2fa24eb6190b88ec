"""Hostile: what honest peers notice of one in twenty that is not, measured in turns.

Windows without and with the hostile peers alternate in one run, so that whatever else the
machine does meets both alike.
"""

import asyncio
import io
import json
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field

from overlay_edge.client import Client, connect
from overlay_edge.errors import EdgeError
from tests.soak.gauge import MIB, Gauge, budget_bytes, node, rejected
from tests.soak.report import Report, Scale, progress
from tests.soak.strangers import KINDS
from tests.support.program import Program

CONFIG = """
[transport]
accept_rate = 20000

[timeouts]
read = "1s"
write = "2s"
"""
PROFILE = "generic"
SEED = 3
WINDOWS = (False, True, False, True)
PAUSE_S = 2.0  # an honest peer thinks for about as long between two requests
OBJECTS = 24
SIZES = (64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20)
ECHOES = 0.7  # of all requests; the others put or get
TIMEOUT_S = 20.0
MAX_RATIO = 2.0
NEVER_GRANTED = 4 << 20  # a few windows
SETTLE_S = 0.5
TOKENS = {"quota_exhausted": "quota", "too_large": "oversize"}  # token -> label of rejected_total
ALWAYS = ("not_found", "ratio_cap", "quota", "timeout", "bad_request")


@dataclass
class Load:
    """What honest peers do, and how it went.

    Attributes:
        window: Number of the window; None = nobody measures.
        took_s: By window and operation.
    """

    objects: list[tuple[str, bytes]]
    window: int | None = None
    took_s: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    done: int = 0
    is_over: bool = False

    def p95_s(self, operation: str, *, hostile: bool) -> float:
        """Of all windows of one kind."""
        found = sorted(
            took_s
            for (window, name), all_s in self.took_s.items()
            if WINDOWS[window] is hostile and operation in (name, "all")
            for took_s in all_s
        )
        return found[int(0.95 * len(found))] if found else 0.0


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("hostile")
    with node(CONFIG, profile=PROFILE) as (program, gauge):
        asyncio.run(_measure(report, program, gauge, scale))
    return report


async def _measure(report: Report, program: Program, gauge: Gauge, scale: Scale) -> None:
    rng = random.Random(SEED)  # noqa: S311 - a load, no secret
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(scale.honest):
            made = connect(program.oap, pin=program.pin, timeout_s=TIMEOUT_S)
            clients.append(await stack.enter_async_context(made))
        load = Load(await _seed(clients[0], rng))
        big = rng.randbytes(NEVER_GRANTED)
        addr = await clients[0].put(io.BytesIO(big), len(big))
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(_honest(client, load, random.Random(rng.random())))  # noqa: S311
            await asyncio.sleep(SETTLE_S)
            before = await asyncio.to_thread(gauge.metrics)
            seen, highest = await _windows(load, program, gauge, scale, addr)
            await asyncio.sleep(SETTLE_S)
            after = await asyncio.to_thread(gauge.metrics)
            load.is_over = True
        stayed = sum(client.link.session is not None for client in clients)
    _judge(report, load, seen, before, after)
    report.equal("honest sessions that stay", stayed, scale.honest)
    report.most("memory at its highest", highest / MIB, budget_bytes(PROFILE) / MIB, "MiB")
    report.figures |= {"honest": scale.honest, "hostile": len(KINDS), "requests": load.done}


async def _windows(
    load: Load, program: Program, gauge: Gauge, scale: Scale, addr: str
) -> tuple[dict[str, Counter[str]], float]:
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    highest = 0.0
    for number, hostile in enumerate(WINDOWS):
        with _strangers(program, addr, seen, hostile):
            await asyncio.sleep(SETTLE_S)
            cpu_s, load.window = gauge.cpu_s(), number
            end = time.monotonic() + scale.window_s
            while time.monotonic() < end:
                await asyncio.sleep(min(0.5, scale.window_s / 4))
                highest = max(highest, await asyncio.to_thread(gauge.held_bytes))
            load.window = None
            busy = (gauge.cpu_s() - cpu_s) / scale.window_s
            progress(
                f"{'hostile' if hostile else 'honest alone'}: node's core {100 * busy:.0f} % busy, "
                + ", ".join(
                    f"{name} p95 {1000 * _p95([load.took_s[number, name]]):.1f} ms"
                    for name in ("echo", "put", "get")
                )
            )
    return seen, highest


def _p95(groups: list[list[float]]) -> float:
    found = sorted(took_s for group in groups for took_s in group)
    return found[int(0.95 * len(found))] if found else 0.0


@contextmanager
def _strangers(
    program: Program, addr: str, seen: dict[str, Counter[str]], hostile: bool
) -> Iterator[None]:
    """The hostile peers, in a process of their own; what they saw is added at the end."""
    if not hostile:
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.soak.strangers", program.oap, addr],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield
        said, _ = process.communicate(timeout=TIMEOUT_S)  # closes its stdin first
        for name, fields in json.loads(said).items():
            seen[name].update(fields["told"])
            seen[name]["connections"] += fields["connections"]
    finally:
        process.kill()
        process.wait()


async def _seed(client: Client, rng: random.Random) -> list[tuple[str, bytes]]:
    made = []
    for number in range(OBJECTS):
        data = rng.randbytes(SIZES[number % len(SIZES)])
        made.append((await client.put(io.BytesIO(data), len(data)), data))
    return made


async def _honest(client: Client, load: Load, rng: random.Random) -> None:
    await asyncio.sleep(PAUSE_S * rng.random())
    while not load.is_over:
        addr, data = rng.choice(load.objects)
        draw = rng.random()
        operation = "echo" if draw < ECHOES else "put" if draw < (1 + ECHOES) / 2 else "get"
        window, began = load.window, time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if operation == "echo":
                    is_right = await client.echo(data[:256]) == data[:256]
                elif operation == "put":
                    is_right = await client.put(io.BytesIO(data), len(data)) == addr
                else:
                    is_right = await client.get(addr, len) == len(data)
            if not is_right:
                load.failures.append(f"{operation}: other bytes")
        except (EdgeError, TimeoutError) as error:
            load.failures.append(f"{operation}: {error!r}")
        load.done += 1
        if window is not None:
            load.took_s[window, operation].append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_S * (0.5 + rng.random()))


def _judge(
    report: Report,
    load: Load,
    seen: dict[str, Counter[str]],
    before: dict[str, float],
    after: dict[str, float],
) -> None:
    for name in ("echo", "put", "get", "all"):
        alone, beside = (load.p95_s(name, hostile=hostile) for hostile in (False, True))
        report.judge(
            f"p95 of honest {name}, with to without",
            f"{beside / alone if alone else 0:.2f} ({1000 * beside:.1f} to {1000 * alone:.1f} ms)",
            f"at most {MAX_RATIO:g}",
            bool(alone) and beside / alone <= MAX_RATIO,
        )
    report.judge("honest failures", len(load.failures), "0", not load.failures)
    was, now = rejected(before), rejected(after)
    counted = {key: now[key] - was.get(key, 0) for key in now if now[key] != was.get(key, 0)}
    told: Counter[str] = Counter()
    for kind in seen.values():
        told.update({TOKENS.get(t, t): n for t, n in kind.items() if t != "connections"})
    more = {token: n for token, n in told.items() if n > counted.get(token, 0)}
    report.equal("refusals told and not counted", more, {})
    report.equal("reasons never counted", [key for key in ALWAYS if not counted.get(key)], [])
    exhausted = "quota_exhaustions_total"
    report.equal("quota_exhaustions_total", after[exhausted] - before[exhausted], counted["quota"])
    idle = [name for name, kind in seen.items() if not kind["connections"]]
    report.equal("hostile kinds that never got in", idle, [])
    report.figures |= {
        "counted": {key: int(n) for key, n in sorted(counted.items())},
        "told": dict(sorted(told.items())),
        "connections": {name: kind["connections"] for name, kind in seen.items()},
        "handshakes_failed": {
            key: after[key] - before.get(key, 0)
            for key in after
            if "handshake_failures" in key and after[key] != before.get(key, 0)
        },
        "failures": load.failures[:5],
    }
