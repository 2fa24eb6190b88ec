"""Ending: what is to come after a node, told to whoever started it by the exit code."""

from enum import IntEnum


class Ending(IntEnum):
    """Exit codes of a node that did not fail."""

    RESTART = 0  # or to stay down: whoever started it knows
    POWEROFF = 10
    REBOOT = 11
    PANIC = 12  # wiped without a drain: wipe everything else, then power off
