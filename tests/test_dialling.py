"""Dialling: who failed waits longer each time, and who is told to wait does."""

import pytest

from overlay_edge.dialling import MAX_ADDRESSES, MAX_HELD_S, PATIENCE_S, WAITS_S, Dialling
from overlay_edge.errors import TransportError


def test_an_address_that_never_failed_is_dialled_at_once() -> None:
    assert Dialling(lambda: 0.5).wait_s("a:1", now=5.0) == 0.0


def test_each_failure_in_a_row_waits_longer_and_a_link_that_lived_begins_anew() -> None:
    dialling = Dialling(lambda: 0.0)
    now = 0.0
    for wait_s in (*WAITS_S, WAITS_S[-1]):
        dialling.failed("a:1", now=now)
        assert dialling.wait_s("a:1", now=now) == pytest.approx(wait_s)
        now += wait_s
    dialling.failed("a:1", lived_s=61.0, now=now)
    assert dialling.wait_s("a:1", now=now) == pytest.approx(WAITS_S[0])


def test_those_who_failed_together_do_not_come_together() -> None:
    waits = set()
    for dice in (0.0, 0.5, 0.99):
        dialling = Dialling(lambda dice=dice: dice)  # type: ignore[misc]
        dialling.failed("a:1", now=0.0)
        waits.add(dialling.wait_s("a:1", now=0.0))
    assert len(waits) == 3


def test_who_asks_us_to_come_later_is_not_dialled_sooner_and_not_for_ever() -> None:
    dialling = Dialling(lambda: 0.0)
    dialling.hold("a:1", 5.0, now=0.0)
    dialling.failed("a:1", now=0.0)
    assert dialling.wait_s("a:1", now=0.0) == 5.0
    dialling.hold("b:1", 1e9, now=0.0)
    with pytest.raises(TransportError, match="not before 60 s"):
        dialling.wait_s("b:1", now=0.0)
    assert dialling.wait_s("b:1", now=MAX_HELD_S - PATIENCE_S) == PATIENCE_S


def test_only_so_many_addresses_are_remembered() -> None:
    dialling = Dialling(lambda: 0.0)
    for number in range(MAX_ADDRESSES + 1):
        dialling.failed(f"a:{number}", now=0.0)
    assert dialling.wait_s("a:0", now=0.0) == 0.0
    assert dialling.wait_s("a:1", now=0.0) > 0.0
