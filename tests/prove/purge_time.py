"""How long an object stays in memory after its time is over: the guest runs on while we look."""

import mmap
import multiprocessing
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.prove.estate import section, settle
from tests.prove.exits import board_of
from tests.prove.talker import Talker
from tests.prove.writes import ROOMY

TTL_S = 10
OBJECT_BYTES = 4096
PREFIX_BYTES = 12
WAIT_S = 30.0  # after the last expiry; an object still there by then is a leak, not a delay


@dataclass(frozen=True, slots=True)
class PurgeTime:
    """From the end of an object's time to the first look that finds nothing of it.

    Each delay is counted from when its put was begun, and to the end of that look, so it is
    rather too long than too short.
    """

    items: int
    p50_s: float
    p99_s: float
    worst_s: float
    left: int
    look_s: float

    def holds(self, limit_s: float) -> bool:
        """All are gone, and almost all in time."""
        return not self.left and self.p99_s <= limit_s


def measure(built: Path, folder: Path, items: int) -> PurgeTime:
    """Put many objects that live for some seconds, and watch them go."""
    estate = settle(built, folder, ttl=f"{TTL_S}s", top=ROOMY)
    prefix = secrets.token_bytes(PREFIX_BYTES)
    due: dict[int, float] = {}
    gone: dict[int, float] = {}
    looks: list[float] = []
    with ExitStack() as stack:
        board = board_of(stack, estate)
        board.guest.wait_ready()
        token, _ = estate.mint()
        # A process of its own: looking holds Python's lock for as long as a look takes.
        context = multiprocessing.get_context("spawn")
        told = context.Queue()
        job = (board.guest.ports.oap, prefix, section(token), items, told)
        putting = context.Process(target=put_all, args=job)
        putting.start()
        stack.callback(putting.kill)
        seen: set[int] = set()
        last_due = float("inf")
        with board.ram.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        while (putting.is_alive() or seen) and time.monotonic() < last_due + WAIT_S:
            began = time.monotonic()
            found = look(memory, prefix)
            ended = time.monotonic()
            looks.append(ended - began)
            for number in seen - found:
                gone[number] = ended
            for number in found:
                gone.pop(number, None)
            seen = found
            while not told.empty():
                number, begun = told.get()
                due[number] = begun + TTL_S
            if not putting.is_alive():
                last_due = max(due.values(), default=0.0)
        putting.join()
        memory.close()
    delays = sorted(gone[number] - due[number] for number in gone if number in due)
    if len(due) != items or not delays:
        raise AssertionError(f"{len(due)} of {items} objects were stored, {len(delays)} seen")
    return PurgeTime(
        items=len(delays),
        p50_s=round(delays[len(delays) // 2], 2),
        p99_s=round(delays[int(0.99 * (len(delays) - 1))], 2),
        worst_s=round(delays[-1], 2),
        left=len(seen),
        look_s=round(sorted(looks)[len(looks) // 2], 2),
    )


def put_all(port: int, prefix: bytes, cap: bytes, items: int, told: Any) -> None:
    """Put the objects, and tell of each its number and when its put was begun."""
    with Talker(port) as talker:
        for number in range(items):
            mark = prefix + number.to_bytes(4, "big")
            begun = time.monotonic()
            answer = talker.put(mark * (OBJECT_BYTES // len(mark)), cap=cap)
            if answer.code != 200:
                raise ConnectionError(f"put: {answer.code} {answer.payload!r}")
            told.put((number, begun))


def look(memory: mmap.mmap, prefix: bytes) -> set[int]:
    """The numbers of all objects of which something is in memory now."""
    found: set[int] = set()
    place = memory.find(prefix)
    while place >= 0:
        end = place + len(prefix)
        found.add(int.from_bytes(memory[end : end + 4], "big"))
        place = memory.find(prefix, end)
    return found
