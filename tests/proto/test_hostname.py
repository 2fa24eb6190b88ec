from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.hostname import (
    CALM_S,
    MANY_CONFLICTS,
    MAX_DEFENCES,
    MAX_REMEMBERED,
    PROBE_S,
    PROBES,
    REMEMBERED_S,
    SLOW_S,
    HostName,
    Step,
    base_name,
)

MINE, LOWER, HIGHER = (ip_address(f"192.168.7.{n}") for n in (5, 4, 6))


def settled(now: float = 0.0) -> HostName:
    host = HostName("overlay-123456")
    host.begin([MINE], now=now)
    hold(host)
    return host


def hold(host: HostName) -> list[Step]:
    steps: list[Step] = []
    while host.deadline is not None:
        steps += host.wake(now=host.deadline)
    return steps


def test_the_machines_name_is_taken_if_it_is_one_of_ours() -> None:
    assert base_name("overlay-a1b2c3", "ff" * 8) == "overlay-a1b2c3"
    assert base_name("Overlay-A1B2C3.lan", "ff" * 8) == "overlay-a1b2c3"
    for machine in ("", "localhost", "overlay-", "overlay-zzzzzz", "overlay-a1b2c3-2"):
        assert base_name(machine, "deadbeef" * 2) == "overlay-deadbe"


def test_a_name_is_told_after_nobody_has_answered_three_times() -> None:
    host = HostName("overlay-123456")
    assert host.begin([MINE], now=10.0) == []
    assert hold(host) == [Step.PROBE] * PROBES + [Step.TELL]
    assert host.is_held
    assert host.name == "overlay-123456"


def test_it_waits_for_an_answer_to_each_question() -> None:
    host = HostName("overlay-123456")
    host.begin([MINE], now=10.0)
    assert host.wake(now=10.0) == [Step.PROBE]
    assert host.wake(now=10.0 + PROBE_S / 2) == []
    assert host.deadline == 10.0 + PROBE_S


def test_who_is_told_that_the_name_is_taken_takes_the_next_one() -> None:
    host = HostName("overlay-123456")
    host.begin([MINE], now=0.0)
    host.wake(now=0.0)
    for number, other in ((2, LOWER), (3, HIGHER)):  # also of a lower one: it was there before
        assert host.heard(other, now=0.1) == []
        assert host.name == f"overlay-123456-{number}"
    assert hold(host) == [Step.PROBE] * PROBES + [Step.TELL]
    assert host.conflicts_total == 2


def test_of_two_that_began_together_the_higher_address_keeps_the_name() -> None:
    host = settled()
    assert host.heard(LOWER, now=5.0) == [Step.TELL]
    assert host.is_held
    assert host.heard(HIGHER, now=5.1) == [Step.HIDE]
    assert not host.is_held
    assert host.name == "overlay-123456-2"


def test_who_does_not_yield_gets_the_name() -> None:
    host = settled()
    for _ in range(MAX_DEFENCES):
        assert host.heard(LOWER, now=5.0) == [Step.TELL]
    assert host.heard(LOWER, now=5.0) == [Step.HIDE]


def test_our_own_words_are_no_conflict_nor_are_those_under_an_old_address() -> None:
    host = settled()
    assert host.heard(MINE, now=1.0) == []
    host.have([HIGHER], now=2.0)
    assert host.heard(MINE, now=3.0) == []
    host.have([HIGHER], now=2 * REMEMBERED_S)
    assert host.heard(MINE, now=2 * REMEMBERED_S) == [Step.TELL]


def test_under_attack_it_does_not_hurry() -> None:
    host = HostName("overlay-123456")
    host.begin([MINE], now=0.0)
    for _ in range(MANY_CONFLICTS):
        host.heard(HIGHER, now=1.0)
    assert host.deadline == 1.0 + SLOW_S
    assert host.is_denied
    host.heard(HIGHER, now=2.0 + CALM_S)
    assert host.deadline == 2.0 + CALM_S
    assert not host.is_denied


def test_another_network_and_another_machine_name_are_asked_about_anew() -> None:
    host = settled()
    assert host.begin([HIGHER], now=9.0) == [Step.HIDE]
    assert hold(host)[-1] is Step.TELL
    host.heard(ip_address("192.168.7.7"), now=30.0)
    assert host.rename("overlay-abcdef", now=31.0) == []
    assert host.name == "overlay-abcdef"


@given(st.lists(st.tuples(st.integers(0, 255), st.floats(0, 20)), max_size=60))
def test_whatever_others_say_it_ends_with_a_name_when_they_stop(
    said: list[tuple[int, float]],
) -> None:
    host = HostName("overlay-123456")
    now = 0.0
    host.begin([MINE], now=now)
    for number, wait in said:
        now += wait
        host.wake(now=now)
        host.heard(ip_address(f"192.168.7.{number}"), now=now)
        assert len(f"{host.name}.local") < 64
    hold(host)
    assert host.is_held


def test_what_is_remembered_is_bounded() -> None:
    host = settled()
    for number in range(2 * MAX_REMEMBERED):
        host.have([ip_address(number)], now=1.0)
    assert host.heard(ip_address(2 * MAX_REMEMBERED - 1), now=1.0) == []
    assert host.heard(ip_address(0), now=1.0) != []
