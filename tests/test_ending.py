"""The exit codes: fixed numbers, as whoever starts the node acts on them."""

from overlay_edge.ending import Ending


def test_the_codes_are_those_that_are_documented() -> None:
    assert {ending.name: int(ending) for ending in Ending} == {
        "RESTART": 0,
        "POWEROFF": 10,
        "REBOOT": 11,
        "PANIC": 12,
    }
