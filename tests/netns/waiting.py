"""Waiting: for conditions of other processes, which have no bell, up to the bound of all tests."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.netns.board import Board

BOUND_S = 60.0  # a mesh that is not whole by then has not healed
LOOK_S = 0.25


def until(
    condition: Callable[[], object],
    what: str,
    *,
    boards: Sequence["Board"] = (),
    why: Callable[[], object] = lambda: "",
) -> float:
    """Wait for a condition, say how long it took, and return that.

    Args:
        condition: Looked at again and again.
        what: What is waited for.
        boards: Those that must live meanwhile.
        why: Asked for more when it does not come.
    """
    began = time.monotonic()
    while not condition():
        for board in boards:
            assert board.is_alive, f"{board} has ended:\n{board.log()}"
        waited_s = time.monotonic() - began
        assert waited_s < BOUND_S, f"not within {BOUND_S:.0f} s: {what}\n{why()}"
        time.sleep(LOOK_S)
    took_s = time.monotonic() - began
    say(f"{what}: {took_s:.1f} s")
    return took_s


def say(text: str) -> None:
    """Say what is going on."""
    print(f"  {text}", flush=True)
