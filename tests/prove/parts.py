"""The parts of the proof, in the order in which they run."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.prove import exits, leaks, purge_time, writes
from tests.prove.estate import settle
from tests.prove.evidence import Proof, progress
from tests.prove.exits import Act, Round, Trial, board_of

GPIO_BUTTON = '[panic]\ngpio = "gpiochip0:3"\n'  # QEMU wires its power button to this line
GPIO_FLAGS = ("-machine", "acpi=off")  # with ACPI the button is the firmware's, and no line
PULL_WIPES = '[panic]\non_removal = "panic"\n'
REQUESTS, LOAD_REQUESTS = 10_000, 1000
ITEMS = 1000
SHORT_CLASSES = ("object bytes", "capability", "MQTT credentials")


def try_exits(proof: Proof, folder: Path) -> None:
    """Every exit; a start of the board for each that ends it."""

    def note(trial: Trial) -> None:
        proof.trials.append(trial)
        progress(f"{trial.exit}: {'holds' if trial.holds else 'LEFT'}, {trial.seconds:.1f} s")

    if proof.is_short:
        with ExitStack() as stack:
            board = board_of(stack, settle(proof.image, folder / "lasting"))
            for name in ("purge", "crash", "power-off"):
                act = dict(exits.LASTING)[name]
                note(Round(board, SHORT_CLASSES).try_exit(name, act))
        return
    with ExitStack() as stack:
        estate = settle(proof.image, folder / "ttl", ttl=f"{exits.SHORT_TTL_S}s")
        note(Round(board_of(stack, estate)).try_exit("TTL", exits.wait_expiry))
    with ExitStack() as stack:
        board = board_of(stack, settle(proof.image, folder / "lasting"))
        proof.dump = exits.compare_dump(board, folder / "dump")
        for name, act in exits.LASTING:
            note(Round(board).try_exit(name, act))
    once: tuple[tuple[str, Act, str, str, tuple[str, ...]], ...] = (
        ("reboot", exits.ordered("reboot"), "virt", "", ()),
        ("panic button", exits.press_button, "virt", GPIO_BUTTON, GPIO_FLAGS),
        ("medium pulled", exits.pull_medium, "virt-usb", PULL_WIPES, ()),
    )
    for name, act, kind, more, flags in once:
        with ExitStack() as stack:
            estate = settle(proof.image, folder / name.replace(" ", "-"), more=more)
            board = board_of(stack, estate, kind=kind, flags=flags)
            note(Round(board).try_exit(name, act))
        shutil.rmtree(estate.image.parent)
    for name, act in (("kernel panic", exits.panic_kernel), ("power cut", exits.cut_power)):
        with ExitStack() as stack:
            estate = settle(proof.image, folder / name.replace(" ", "-"))
            board = board_of(stack, estate)
            note(exits.next_start(name, act, board, proof.image, estate.image.parent))
        shutil.rmtree(estate.image.parent)


def try_leaks(proof: Proof, folder: Path) -> None:
    """Every planted leak; one is enough for the short form."""
    for leak in leaks.LEAKS:
        if proof.is_short and leak.name != "a purge only forgets":
            continue
        place = folder / leak.name.replace(" ", "-").replace("'", "")
        caught = leaks.try_leak(leak, proof.image, place)
        shutil.rmtree(place)
        proof.leaks.append(caught)
        found = ", ".join(f"{name} {hits}" for name, hits in caught.hits.items())
        progress(f"{leak.name}: {'caught' if caught.holds else 'NOT CAUGHT'} ({found})")


def try_writes(proof: Proof, folder: Path) -> None:
    """Decoys beside the medium, and a load."""
    if not proof.is_short:
        proof.writes = writes.with_decoys(proof.image, folder / "decoys", LOAD_REQUESTS)
        progress(f"{len(proof.writes.drives)} drives, {proof.writes.reads} reads of the medium")


def try_pull(proof: Proof, folder: Path) -> None:
    """The medium goes, the service stays."""
    if not proof.is_short:
        proof.pull = writes.pull(proof.image, folder / "pull", REQUESTS)
        progress(f"{proof.pull.requests} requests served, {len(proof.pull.failures)} failures")


def try_purge(proof: Proof, folder: Path) -> None:
    """A thousand objects whose time ends."""
    if not proof.is_short:
        proof.purge = purge_time.measure(proof.image, folder / "purge", ITEMS)
        progress(f"p99 {proof.purge.p99_s:.2f} s")


PARTS: dict[str, Callable[[Proof, Path], None]] = {
    "exits": try_exits,
    "leaks": try_leaks,
    "writes": try_writes,
    "pull": try_pull,
    "purge": try_purge,
}
