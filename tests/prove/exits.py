"""Every way in which what a board holds may end, and what must be gone then."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tests.prove.board import Board, broker, reach
from tests.prove.estate import Estate, settle
from tests.prove.plant import Planted, order, plant
from tests.prove.scan import Found, Scanner

OBJECT = ("object bytes", "object metadata")
TRANSIT = ("put in progress", "echo in transit", "frame in transit", "gossip payload")
SESSION = ("capability", "TLS session secrets")
OPERATOR = ("bearer token (HTTP)",)
LOG = ("log line",)
SITE = ("private key", "MQTT credentials", "config secret")
CLASSES = (*OBJECT, *TRANSIT, *SESSION, *OPERATOR, *LOG, *SITE)
PROCESS = (*OBJECT, *TRANSIT, *SESSION, *OPERATOR)
GONE = {  # exit -> the classes that must be gone
    "TTL": OBJECT,
    "purge": (*OBJECT, *TRANSIT),
    "revoke": (*OBJECT, *TRANSIT[:1], *SESSION),
    "drain": PROCESS,
    "crash": PROCESS,
    "power-off": CLASSES,
    "reboot": CLASSES,
    "kernel panic": CLASSES,
    "power cut": CLASSES,
    "panic button": CLASSES,
    "medium pulled": CLASSES,
}
# What an exit leaves alone, and why.
IN_USE = "in use: the exit is not about it"
NEEDED = "the service starts again with the site's files, which stay in RAM"
TOLD = "the log stays in RAM, for the operator to read why"
LEAST = 0.999  # of what was planted in many copies must be found before
ARRIVE_S = 10.0  # what was sent is there by then, or was lost
SHORT_TTL_S = 30  # enough to plant everything and to find it, with an emulated board
PURGE_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One class and one exit.

    Attributes:
        before: Hits with everything in place: the positive control.
        after: Hits after the exit.
        must_go: They must be none.
        why: Else, the reason.
    """

    exit: str
    name: str
    before: int
    after: int
    must_go: bool
    why: str = ""

    @property
    def holds(self) -> bool:
        """It was found before, and is gone where it must be."""
        return not self.must_go or (self.before > 0 and self.after == 0)


@dataclass(frozen=True, slots=True)
class Trial:
    """One exit, tried.

    Attributes:
        cells: A cell for each class.
        seconds: From the order until all memory had been looked at.
        meanwhile: Hits between a crash of the machine and its next start, where there is one.
    """

    exit: str
    cells: tuple[Cell, ...]
    seconds: float
    nonzero_mib: int
    meanwhile: int = -1

    @property
    def holds(self) -> bool:
        """Every cell does."""
        return all(cell.holds for cell in self.cells)


Act = Callable[[Board, Planted], None]


class Round:
    """Plants, makes sure that all is found, exits, and looks again.

    Args:
        board: Running.
        names: The classes to look at.
    """

    def __init__(self, board: Board, names: Sequence[str] = CLASSES) -> None:
        self.board = board
        self._names = names
        self.planted: Planted | None = None
        self.scanner: Scanner | None = None
        self.before: Found | None = None

    def control(self) -> None:
        """Plant, and find everything.

        Raises:
            AssertionError: Something planted was not found: then finding nothing means nothing.
        """
        self.board.guest.wait_ready()
        self.planted = planted = plant(self.board.guest, self.board.estate)
        self.scanner = Scanner([c for c in planted.canaries if c.name in self._names])
        deadline = time.monotonic() + ARRIVE_S
        while missing := self._missing():
            if time.monotonic() > deadline:
                raise AssertionError(f"planted and not found: {', '.join(missing)}")

    def _missing(self) -> list[str]:
        """What was planted and is not in memory; what is on its way may take a moment."""
        assert self.planted is not None
        assert self.scanner is not None
        self.before = before = self.board.scan(self.scanner)
        least = {name: 1 for name in self._names}
        least |= {n: int(LEAST * k) for n, k in self.planted.least.items() if n in least}
        return [
            f"{name} ({before.hits[name]} of {copies})"
            for name, copies in least.items()
            if before.hits[name] < copies
        ]

    def judge(self, name: str, after: Found, seconds: float, meanwhile: int = -1) -> Trial:
        """Put together what was found before and after."""
        assert self.before is not None
        cells = tuple(
            Cell(
                name,
                found,
                self.before.hits[found],
                after.hits[found],
                found in GONE[name],
                "" if found in GONE[name] else _why(name, found),
            )
            for found in self._names
        )
        return Trial(name, cells, round(seconds, 2), after.nonzero_bytes >> 20, meanwhile)

    def try_exit(self, name: str, act: Act) -> Trial:
        """The whole round for an exit after which the board still runs, or has ended."""
        self.control()
        assert self.planted is not None
        assert self.scanner is not None
        began = time.monotonic()
        try:
            act(self.board, self.planted)
            after = self.board.scan(self.scanner)
        finally:
            self.planted.close()
        return self.judge(name, after, time.monotonic() - began)


def _why(name: str, found: str) -> str:
    if name in ("drain", "crash"):
        return TOLD if found in LOG else NEEDED
    return IN_USE


# -- what is done ---------------------------------------------------------------------------


def wait_expiry(board: Board, planted: Planted) -> None:
    """Wait until the objects' time is over, and as long again as wiping may take."""
    over = planted.stored + SHORT_TTL_S + board.held_s + PURGE_LIMIT_S
    time.sleep(max(0.0, over - time.monotonic()))


def purge(board: Board, planted: Planted) -> None:
    """What `ronctl purge --all` asks for; the answer comes when it is done."""
    answer = order(board.guest, planted.operator, "/control/purge", {"all": True})
    if answer["objects"] != planted.objects or answer["uploads"] != 1:
        raise AssertionError(f"purge counted {answer}")


def revoke(board: Board, planted: Planted) -> None:
    """What `ronctl cap revoke` asks for."""
    order(board.guest, planted.operator, "/control/revoke", {"id": planted.token[1]})


def drain(board: Board, planted: Planted) -> None:
    """The service leaves in order, and init starts it again."""
    since = time.monotonic()
    order(board.guest, planted.operator, "/control/stop", {"then": "restart"})
    planted.close()
    _wait_next(board, since)


def crash(board: Board, planted: Planted) -> None:
    """The service is killed, and init starts it again."""
    since = time.monotonic()
    board.crash("killall -KILL python3")
    planted.close()
    _wait_next(board, since)


def crash_for_good(board: Board, planted: Planted) -> None:
    """The service is killed, and nobody starts it again: its memory is as the kernel left it."""
    assert board.agent is not None
    board.agent.order("killall -STOP service; killall -KILL python3")
    # The stopped keeper does not take note of its end: what is left of it is a name without memory.
    board.agent.order("while grep -q VmRSS /proc/$(pidof python3)/status; do sleep 0.1; done")


def ordered(then: str) -> Act:
    """The operator's order to power off or reboot; the guest's reset ends QEMU here."""

    def act(board: Board, planted: Planted) -> None:
        order(board.guest, planted.operator, "/control/stop", {"then": then})
        board.guest.wait_end()

    return act


def panic_kernel(board: Board, planted: Planted) -> None:
    """The kernel stops where it stands, and resets a second later."""
    board.crash("echo c >/proc/sysrq-trigger")
    board.guest.wait_end()


def cut_power(board: Board, planted: Planted) -> None:
    """QEMU is killed."""
    board.guest.cut_power()


def press_panic(board: Board, planted: Planted) -> None:
    """What `ronctl panic` asks for."""
    order(board.guest, planted.operator, "/control/panic", {})
    board.guest.wait_end()


def press_button(board: Board, planted: Planted) -> None:
    """A press on the line that the settings name: QEMU's own power button is wired to it."""
    with board.guest.qmp() as qmp:
        qmp.call("system_powerdown")
    board.guest.wait_end()


def pull_medium(board: Board, planted: Planted) -> None:
    """The stick the board was started from is pulled out."""
    with board.guest.qmp() as qmp:
        qmp.call("device_del", id="disk")
        qmp.wait_event("DEVICE_DELETED")
    board.guest.wait_end()


def _wait_next(board: Board, since: float) -> None:
    """Wait until a service is ready that is younger than a moment of ours."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            page = board.guest.get("/metrics", timeout_s=10).body
        except (OSError, HTTPException):
            time.sleep(0.2)  # between two lives nobody answers
            continue
        age_s = float(re.search(r"^process_uptime_seconds (\S+)", page, re.M)[1])  # type: ignore[index]
        if age_s < time.monotonic() - since:
            board.guest.wait_ready(limit_s=board.guest.uptime_s() + 60)
            return
        time.sleep(0.2)
    raise AssertionError("the service did not come back")


# -- the whole of it --------------------------------------------------------------------------


# The exits after which the board still runs, and then its power-off: one start serves them all.
LASTING: tuple[tuple[str, Act], ...] = (
    ("purge", purge),
    ("revoke", revoke),
    ("drain", drain),
    ("crash", crash),
    ("power-off", ordered("poweroff")),
)


def compare_dump(board: Board, target: Path) -> tuple[int, int]:
    """Hits in a dump that QEMU writes itself, and in the shared file: is it all of memory?"""
    round_ = Round(board)
    round_.control()
    assert round_.planted is not None
    assert round_.scanner is not None
    found = board.compare_dump(round_.scanner, target)
    purge(board, round_.planted)
    round_.planted.close()
    return found


def next_start(name: str, act: Act, board: Board, built: Path, folder: Path) -> Trial:
    """An exit that nobody can act on: what counts is the next start, on the same memory.

    It starts from another medium, without the site's files, or they would be found again.
    """
    round_ = Round(board)
    round_.control()
    assert round_.planted is not None
    assert round_.scanner is not None
    began = time.monotonic()
    act(board, round_.planted)
    round_.planted.close()
    meanwhile = sum(board.scan(round_.scanner).hits.values())
    board.close()
    fresh = settle(built, folder / "next")
    fresh_ram = fresh.image.parent / "ram"
    board.ram.rename(fresh_ram)
    with Board(fresh) as again:
        again.guest.wait_answer()
        after = again.scan(round_.scanner)
    fresh_ram.unlink()
    return round_.judge(name, after, time.monotonic() - began, meanwhile)


def board_of(
    stack: ExitStack, estate: Estate, *, kind: str = "virt", flags: tuple[str, ...] = ()
) -> Board:
    """A running board of an estate, with its broker."""
    port = stack.enter_context(broker(estate))
    return stack.enter_context(Board(estate, kind=kind, outside=reach(port), flags=flags))
