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
    TELL_S,
    TIMES,
    URGED_S,
    HostName,
    Step,
    Telling,
    base_name,
    is_probe,
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


def probe(name: bytes, *, kind: bytes = b"\0\xff", flags: bytes = b"\0\0") -> bytes:
    head = b"\0\0" + flags + b"\0\1\0\0\0\0\0\0"
    return head + bytes([len(name)]) + name + b"\5local\0" + kind + b"\x80\1"


def test_who_is_about_to_take_our_name_is_recognised() -> None:
    assert is_probe(probe(b"overlay-123456"), "overlay-123456")
    assert is_probe(probe(b"Overlay-123456"), "overlay-123456")
    pointed = probe(b"x") + b"\x0eoverlay-123456\xc0\x0e\0\xff\0\1"
    assert is_probe(pointed, "overlay-123456")


def test_other_questions_and_answers_are_none_of_our_business() -> None:
    assert not is_probe(probe(b"overlay-123457"), "overlay-123456")
    assert not is_probe(probe(b"my-overlay-123456"), "overlay-123456")
    assert not is_probe(probe(b"overlay-123456", kind=b"\0\1"), "overlay-123456")
    assert not is_probe(probe(b"overlay-123456", flags=b"\x84\0"), "overlay-123456")


@given(st.binary(max_size=80))
def test_no_packet_breaks_the_search(packet: bytes) -> None:
    assert not is_probe(packet, "overlay-123456")


def test_what_is_new_is_told_twice() -> None:
    telling = Telling()
    assert telling.deadline is None
    assert not telling.is_due(now=5.0)
    telling.begin(now=5.0)
    told = []
    while (at := telling.deadline) is not None:
        assert telling.is_due(now=at)
        told.append(at)
    assert told == [5.0 + number * TELL_S for number in range(TIMES)]


def test_who_has_to_know_is_told_at_once_but_not_without_end() -> None:
    telling = Telling()
    telling.urge(now=5.0)
    assert telling.is_due(now=5.0)
    telling.urge(now=5.0 + URGED_S / 2)
    assert telling.deadline is None
    telling.urge(now=5.0 + URGED_S)
    assert telling.is_due(now=5.0 + URGED_S)
    telling.begin(now=9.0)
    telling.stop()
    assert telling.deadline is None
