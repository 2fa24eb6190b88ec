"""Admission: the ramp, the cap of one address, and who gives way when all places are taken."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import DEFAULTS
from overlay_edge.proto.admission import (
    FAILURES,
    MIN_BURST,
    PLACE_WAIT_S,
    RAMP_S,
    STALLED_S,
    Admission,
    address_key,
)


def admission(rate: int = 40, places: int = 4, per_address: int = 2) -> Admission:
    config = replace(
        DEFAULTS.transport,
        accept_rate=rate,
        max_handshakes=places,
        half_open_per_addr=per_address,
    )
    return Admission(config, now=0.0)


def let_in(gate: Admission, start: float, end: float) -> int:
    """Callers let in by a crowd that always waits."""
    now, count = start, 0
    while now < end:
        wait_s = gate.wait_s(now=now)
        if wait_s:
            now += wait_s + 1e-9
        else:
            count += 1
    return count


def test_a_started_node_lets_callers_in_slowly_and_then_at_its_rate() -> None:
    gate = admission(rate=40)
    first = let_in(gate, 0.0, 1.0)
    assert first <= 10 + max(MIN_BURST, 10) + 1
    let_in(gate, 1.0, RAMP_S)
    assert let_in(gate, RAMP_S, RAMP_S + 10) == pytest.approx(400, abs=45)


def test_a_quiet_node_saves_up_no_more_than_a_second_of_callers() -> None:
    gate = admission(rate=40)
    assert let_in(gate, 1000.0, 1000.001) <= 41


def test_more_than_a_few_half_open_connections_of_one_address_are_turned_away() -> None:
    gate = admission(per_address=2)
    first, _ = gate.enter("192.0.2.1")
    gate.enter("192.0.2.1")
    assert gate.enter("192.0.2.1") == (None, None)
    assert gate.enter("192.0.2.2")[0] is not None
    assert first is not None
    gate.leave(first)
    assert gate.enter("192.0.2.1")[0] is not None


def test_loopback_is_nobodys_address_because_an_onion_service_comes_from_there() -> None:
    gate = admission(places=100, per_address=1)
    assert all(gate.enter("127.0.0.1")[0] for _ in range(20))


def test_when_all_places_are_taken_the_oldest_of_the_heaviest_address_gives_way() -> None:
    gate = admission(places=4, per_address=3)
    honest, _ = gate.enter("192.0.2.1")
    tickets = [gate.enter("198.51.100.7")[0] for _ in range(3)]
    ticket, out = gate.enter("192.0.2.9")
    assert ticket is not None
    assert out == tickets[0] != honest
    assert gate.half_open == 4


def test_closing_twice_is_closing_once() -> None:
    gate = admission()
    ticket, _ = gate.enter("192.0.2.1")
    assert ticket is not None
    gate.leave(ticket)
    gate.leave(ticket)
    assert gate.half_open == 0


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("127.0.0.1", ""),
        ("127.9.9.9", ""),
        ("::1", ""),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:127.0.0.1", ""),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("weird", "weird"),
    ],
)
def test_an_address_is_a_host_or_an_ipv6_network(host: str, key: str) -> None:
    assert address_key(host) == key


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=80))
def test_no_order_of_coming_and_going_passes_a_bound_or_loses_a_place(
    steps: list[tuple[int, bool]],
) -> None:
    gate = admission(places=5, per_address=2)
    held: dict[int, int] = {}
    for host, is_coming in steps:
        if is_coming:
            ticket, out = gate.enter(f"192.0.2.{host}")
            if out is not None:
                del held[out]
            if ticket is not None:
                held[ticket] = host
        elif held:
            gone = next(iter(held))
            del held[gone]
            gate.leave(gone)
        assert gate.half_open == len(held) <= 5
        assert all(list(held.values()).count(h) <= 2 for h in held.values())
    for ticket in list(held):
        gate.leave(ticket)
    assert gate.half_open == 0
    assert not gate._addresses


def test_a_node_that_has_just_started_lets_nobody_in_whom_it_has_no_place_for() -> None:
    gate = admission(rate=1000, places=4, per_address=9)
    tickets = []
    for number in range(4):
        assert gate.wait_s(now=0.0) == 0.0
        tickets.append(gate.enter(f"192.0.2.{number}")[0])
    assert gate.wait_s(now=0.1) == PLACE_WAIT_S
    assert tickets[0] is not None
    gate.leave(tickets[0])
    assert gate.wait_s(now=0.2) == 0.0


def test_nobody_waits_for_who_does_not_finish_nor_later_on() -> None:
    gate = admission(rate=1000, places=1, per_address=99)
    for number in range(FAILURES + 1):
        ticket, _ = gate.enter(f"192.0.2.{number}")
        assert gate.wait_s(now=0.1) == PLACE_WAIT_S
        assert ticket is not None
        gate.leave(ticket, is_greeted=False)
    gate.enter("192.0.2.99")
    assert gate.wait_s(now=0.2) == 0.0
    for _ in range(20):
        ticket, _ = gate.enter("192.0.2.1")
        assert ticket is not None
        gate.leave(ticket)
    old = admission(rate=1000, places=1)
    old.enter("192.0.2.1")
    assert old.wait_s(now=RAMP_S) == 0.0


def test_nobody_waits_for_who_stalls() -> None:
    gate = admission(rate=1000, places=1)
    assert gate.wait_s(now=0.0) == 0.0
    gate.enter("192.0.2.1")
    waits = [gate.wait_s(now=STALLED_S + number / 100) for number in range(FAILURES + 2)]
    assert waits[-1] == 0.0
