"""Passive view: bounded, without oneself, and who was lost is called again for a while."""

from overlay_edge.proto.gossip_message import NOBODY, Contact
from overlay_edge.proto.passive import (
    LOST_S,
    LOST_TRIES,
    MAX_LOST,
    NEVER,
    REFUSED_S,
    PassiveView,
    Seeds,
)
from tests.support.swarm import dice

ME = b"m" * 32


def contact(number: int) -> Contact:
    return Contact(bytes([number]) * 32, f"n{number}:1")


def view(most: int = 8) -> PassiveView:
    return PassiveView(ME, most, rng=dice(1))


def test_a_full_view_forgets_somebody_for_somebody_new() -> None:
    passive = view()
    for number in range(1, 50):
        passive.remember(contact(number))
        assert contact(number) in passive.sample(100)
    assert len(passive) == 8


def test_oneself_nobody_and_who_cannot_be_dialled_are_not_remembered() -> None:
    passive = view()
    passive.remember(Contact(ME, "m:1"))
    passive.remember(Contact(NOBODY, "x:1"))
    passive.remember(Contact(b"x" * 32, ""))
    assert len(passive) == 0


def test_a_new_address_of_a_node_replaces_the_old_one() -> None:
    passive = view()
    passive.remember(contact(1))
    passive.remember(Contact(contact(1).node, "moved:1"))
    assert passive.sample(5) == [Contact(contact(1).node, "moved:1")]


def test_who_refused_is_left_alone_for_a_while() -> None:
    passive = view()
    passive.remember(contact(1))
    passive.refuse(contact(1).node, now=0.0)
    assert passive.able(now=REFUSED_S - 1) == []
    assert passive.able(now=REFUSED_S) == [contact(1)]


def test_refusals_are_bounded() -> None:
    passive = view()
    for number in range(100):
        passive.refuse(bytes([number]), now=0.0)
    assert len(passive._refused) == 8


def test_who_was_lost_is_called_again_in_turn_and_not_for_ever() -> None:
    passive = view()
    passive.lost(contact(1), now=0.0)
    passive.lost(contact(2), now=0.0)
    assert LOST_S / 2 <= passive.call_at <= LOST_S
    calls = []
    while passive.call_at != NEVER:
        found = passive.call(now=passive.call_at)
        calls += [found] if found else []
    assert calls[:4] == [contact(1), contact(2), contact(1), contact(2)]
    assert len(calls) == 2 * LOST_TRIES


def test_who_is_found_is_called_no_more() -> None:
    passive = view()
    passive.lost(contact(1), now=0.0)
    assert passive.found(contact(1).node)
    assert not passive.found(contact(1).node)
    assert passive.call(now=100.0) is None
    assert passive.call_at == NEVER


def test_the_lost_are_bounded_and_must_have_an_address() -> None:
    passive = view()
    passive.lost(Contact(b"x" * 32, ""), now=0.0)
    assert passive.call_at == NEVER
    for number in range(100):
        passive.lost(contact(number), now=0.0)
    assert len(passive._lost) == MAX_LOST


def test_seeds_are_those_nobody_has_and_never_oneself() -> None:
    seeds = Seeds(["n1:1", "n2:1", "me:1", "alias:1"], "me:1")
    assert [one.addr for one in seeds.without([contact(2)])] == ["n1:1", "alias:1"]
    seeds.remove("alias:1")
    assert [one.addr for one in seeds.without([])] == ["n1:1", "n2:1"]
    assert {one.node for one in seeds.without([])} == {NOBODY}
