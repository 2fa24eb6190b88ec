"""Membership: views stay in bounds, both sides agree, and nobody is left alone for long."""

from dataclasses import replace
from itertools import pairwise

import pytest

from overlay_edge.proto.effects import Dial, Down, Drop, Inner, Tell, Up
from overlay_edge.proto.gossip_message import (
    NOBODY,
    Contact,
    Disconnect,
    ForwardJoin,
    Join,
    Message,
    Neighbor,
    NeighborReply,
    Shuffle,
    ShuffleReply,
)
from overlay_edge.proto.membership import REPLY_S, SHUFFLE_S, Membership
from tests.support.swarm import CONFIG, Swarm, dice, started

SEED = Contact(NOBODY, "seed:1")


def contact(number: int) -> Contact:
    return Contact(bytes([number]) * 32, f"n{number}:1")


ME, A, B, C, D, E, F = (contact(number) for number in range(1, 8))


class Node(Membership):
    """One that is told things at time 0."""

    def gets(self, peer: Contact, message: Message, now: float = 0.0) -> list[Inner]:
        return self.receive(peer.node, message, now=now)

    def comes(self, peer: Contact, now: float = 0.0) -> list[Inner]:
        """A peer dials us and joins."""
        self.linked(peer.node, dialled=None, now=now)
        return self.gets(peer, Neighbor(True, peer.addr), now)

    def goes_to(self, peer: Contact, now: float = 0.0) -> list[Inner]:
        """We dial a peer, and it takes us."""
        self.linked(peer.node, dialled=peer, now=now)
        return self.gets(peer, NeighborReply(True), now)


def node(*peers: str, active: int = 3) -> Node:
    config = replace(CONFIG, peers=peers, active=active, passive=8)
    return Node(ME, config, rng=dice(1), now=0.0)


def told(effects: list[Inner], kind: type[Message]) -> list[tuple[bytes, Message]]:
    return [
        (one.peer, one.message)
        for one in effects
        if isinstance(one, Tell) and isinstance(one.message, kind)
    ]


def test_a_new_node_dials_an_address_of_its_config_and_joins() -> None:
    here = node("seed:1")
    assert here.wake(now=0.0) == [Dial(SEED)]
    (tell,) = here.linked(A.node, dialled=SEED, now=0.0)
    assert isinstance(tell, Tell)
    assert tell.message == Join(ME.addr)
    assert not here.active
    assert Up(A.node) in here.gets(A, NeighborReply(True))
    assert here.active[A.node].contact == Contact(A.node, "seed:1")
    assert here.active[A.node].is_outbound


def test_a_seed_that_is_away_is_tried_again_with_more_and_more_patience() -> None:
    here, times = node("seed:1"), []
    now = 0.0
    for _ in range(12):
        now = here.deadline()
        dials = [one for one in here.wake(now=now) if isinstance(one, Dial)]
        if dials:
            times.append(now)
            here.dial_failed(SEED, now=now)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] <= 1.0
    assert max(gaps) > 4 * gaps[0]


def test_its_own_address_among_the_seeds_is_not_dialled_twice() -> None:
    here = node("alias:1")
    assert here.wake(now=0.0) == [Dial(Contact(NOBODY, "alias:1"))]
    (drop,) = here.linked(ME.node, dialled=Contact(NOBODY, "alias:1"), now=0.0)
    assert isinstance(drop, Drop)
    for now in range(1, 200):
        assert not [one for one in here.wake(now=float(now)) if isinstance(one, Dial)]


def test_who_joins_is_taken_answered_and_carried_further() -> None:
    here = node()
    here.comes(A)
    here.comes(B)
    here.linked(C.node, dialled=None, now=0.0)
    effects = here.gets(C, Join(C.addr))
    assert effects[0] == Tell(C.node, NeighborReply(True), lane=0)  # type: ignore[arg-type]
    assert Up(C.node) in effects
    assert {peer for peer, _ in told(effects, ForwardJoin)} == {A.node, B.node}


def test_a_full_node_takes_a_join_in_place_of_another_that_it_tells() -> None:
    here = node()
    for one in (A, B, C):
        here.comes(one)
    effects = here.comes(D)
    assert len(here.active) == 3
    ((gone, message),) = told(effects, Disconnect)
    assert message == Disconnect(True)
    order = [type(one) for one in effects if getattr(one, "peer", b"") == gone]
    assert order == [Tell, Down, Drop]
    assert gone in here.passive.nodes


def test_an_outbound_link_is_not_given_up_for_one_that_dials_us() -> None:
    here = node()
    here.goes_to(A)
    here.goes_to(B)
    here.comes(C)
    for one in (D, E, F):
        here.comes(one)
        assert {A.node, B.node} < set(here.active)


def test_who_asks_without_need_is_refused_by_a_full_node() -> None:
    here = node()
    for one in (A, B, C):
        here.comes(one)
    here.linked(D.node, dialled=None, now=0.0)
    assert told(here.gets(D, Neighbor(False, D.addr)), NeighborReply) == [
        (D.node, NeighborReply(False))
    ]
    assert D.node in here.passive.nodes


def test_a_lost_neighbour_is_replaced_at_once() -> None:
    here = node()
    for one in (A, B, C):
        here.comes(one)
    here.passive.remember(D)
    effects = here.unlinked(A.node, now=10.0)
    assert effects == [Down(A.node), Dial(D)]
    (tell,) = here.linked(D.node, dialled=D, now=10.0)
    assert isinstance(tell, Tell)
    assert tell.message == Neighbor(False, ME.addr)


def test_who_has_hardly_anybody_left_asks_all_and_cannot_be_refused() -> None:
    here = node(active=4)
    here.comes(A)
    for one in (B, C, D):
        here.passive.remember(one)
    effects = here.unlinked(A.node, now=10.0)
    assert {one.contact for one in effects if isinstance(one, Dial)} == {B, C, D}
    (tell,) = here.linked(B.node, dialled=B, now=10.0)
    assert isinstance(tell, Tell)
    assert tell.message == Neighbor(True, ME.addr)


def test_who_cannot_be_reached_is_forgotten_and_the_next_is_tried() -> None:
    here = node("seed:1", active=2)
    here.comes(A)
    here.passive.remember(B)
    here.unlinked(A.node, now=10.0)
    assert here.dial_failed(B, now=11.0) == [Dial(SEED)]
    assert B.node not in here.passive.nodes


def test_a_refused_request_ends_the_link_and_is_not_repeated_soon() -> None:
    here = node()
    here.comes(A)
    here.passive.remember(B)
    here.linked(B.node, dialled=B, now=0.0)
    effects = here.gets(B, NeighborReply(False))
    assert [one for one in effects if isinstance(one, Drop)]
    assert B.node not in here.active
    assert here.passive.able(now=1.0) == []


def test_who_does_not_answer_is_no_neighbour() -> None:
    here = node()
    here.linked(A.node, dialled=A, now=0.0)
    assert here.deadline() <= REPLY_S
    effects = here.wake(now=REPLY_S)
    assert [one.code for one in effects if isinstance(one, Drop)] == [408]
    assert here.gets(A, NeighborReply(True), REPLY_S) == []
    assert not here.active


def test_an_answer_to_nothing_is_nothing() -> None:
    here = node()
    here.linked(A.node, dialled=None, now=0.0)
    assert here.gets(A, NeighborReply(True)) == []
    assert not here.active


def test_both_dialling_at_once_makes_one_neighbour_each() -> None:
    here = node()
    here.linked(A.node, dialled=None, now=0.0)
    (ask,) = here.linked(A.node, dialled=A, now=0.0)
    assert isinstance(ask, Tell)
    effects = here.gets(A, Neighbor(True, A.addr))
    assert effects.count(Up(A.node)) == 1
    assert here.gets(A, NeighborReply(True)) == []
    assert not here.active[A.node].is_outbound


def test_a_walk_is_remembered_near_its_end_and_dialled_at_its_end() -> None:
    here = node()
    here.comes(A)
    here.comes(B)
    assert told(here.gets(A, ForwardJoin(D, 5)), ForwardJoin) == [(B.node, ForwardJoin(D, 4))]
    assert D.node not in here.passive.nodes
    here.gets(A, ForwardJoin(D, 3))
    assert D.node in here.passive.nodes
    assert here.gets(A, ForwardJoin(D, 0)) == [Dial(D)]
    (ask,) = here.linked(D.node, dialled=D, now=0.0)
    assert isinstance(ask, Tell)
    assert ask.message == Neighbor(True, ME.addr)


@pytest.mark.parametrize("peer", [ME, Contact(D.node, ""), Contact(NOBODY, "x:1"), A])
def test_a_walk_of_somebody_useless_ends(peer: Contact) -> None:
    here = node()
    here.comes(A)
    assert here.gets(A, ForwardJoin(peer, 0)) == []


def test_only_neighbours_send_walks() -> None:
    here = node()
    here.linked(A.node, dialled=None, now=0.0)
    assert here.gets(A, ForwardJoin(D, 0)) == []
    assert here.gets(A, Shuffle(1, 0, (D,))) == []
    assert here.gets(A, ShuffleReply(1, (D,))) == []
    assert len(here.passive) == 0


def test_walks_cannot_make_us_dial_more_than_a_view() -> None:
    here = node()
    here.comes(A)
    dials = [here.gets(A, ForwardJoin(contact(number), 0)) for number in range(10, 60)]
    assert sum(map(len, dials)) == 3


def test_a_probe_is_introduced_to_somebody_else() -> None:
    here = node()
    here.comes(A)
    here.linked(D.node, dialled=None, now=0.0)
    effects = here.gets(D, Join(D.addr, probe=True))
    assert told(effects, NeighborReply) == [(D.node, NeighborReply(False))]
    assert [peer for peer, _ in told(effects, ForwardJoin)] == [A.node]
    assert D.node not in here.active


def test_a_probe_that_finds_somebody_alone_joins_it() -> None:
    here = node()
    here.linked(D.node, dialled=None, now=0.0)
    assert Up(D.node) in here.gets(D, Join(D.addr, probe=True))


def test_who_sends_us_away_is_asked_later_and_who_is_leaving_is_not() -> None:
    here = node()
    for one in (A, B, C):
        here.comes(one)
    effects = here.gets(A, Disconnect(True))
    assert Down(A.node) in effects
    assert A.node in here.passive.nodes
    here.gets(B, Disconnect(False))
    assert B.node not in here.passive.nodes


def test_shuffles_begin_soon_and_come_about_once_a_minute() -> None:
    here, times = node(), []
    here.comes(A)
    now = 0.0
    while now < 600:
        now = here.deadline()
        if told(here.wake(now=now), Shuffle):
            times.append(now)
    assert times[0] < 5.0
    later = [after - before for before, after in pairwise(times[6:])]
    assert all(0.8 * SHUFFLE_S <= gap <= 1.2 * SHUFFLE_S for gap in later)


def test_a_peer_that_is_dropped_for_good_is_not_dialled_again() -> None:
    here = node()
    here.comes(A)
    here.passive.remember(B)
    effects = here.dropped(A.node, now=5.0)
    assert effects[0] == Down(A.node)
    assert here.unlinked(A.node, now=5.0) == []
    here.dropped(B.node, now=5.0)
    assert B.node not in here.passive.nodes


def pairs(swarm: Swarm) -> set[frozenset[int]]:
    return {
        frozenset((index, peer[0] - 1))
        for index, mesh in enumerate(swarm.meshes)
        for peer in mesh.members.active
    }


@pytest.mark.parametrize("size", [2, 3, 8, 20])
def test_in_a_swarm_both_sides_agree_and_everybody_is_connected(size: int) -> None:
    swarm = started(size)
    swarm.run(60.0)
    for index, mesh in enumerate(swarm.meshes):
        for peer in mesh.members.active:
            assert mesh.me.node in swarm.meshes[peer[0] - 1].members.active
            assert frozenset((index, peer[0] - 1)) in swarm.links
    reached, todo = set(), [0]
    while todo:
        here = todo.pop()
        if here not in reached:
            reached.add(here)
            todo += [other for pair in pairs(swarm) if here in pair for other in pair]
    assert reached == set(range(size))


def test_two_meshes_that_do_not_know_of_each_other_grow_together() -> None:
    swarm = Swarm(6)
    for here, there in [(a, b) for a in (0, 2, 4) for b in (1, 3, 5)]:
        swarm.unlink(here, there)
    for mesh in swarm.meshes:
        mine = {contact.node for contact in mesh.members.passive.nodes.values()}
        for other in mine:
            if (other[0] - 1) % 2 != (mesh.me.node[0] - 1) % 2:
                mesh.members.passive.forget(other)
                mesh.members.passive.found(other)
    swarm.run(1200.0)
    assert any(len({index % 2 for index in pair}) == 2 for pair in pairs(swarm))


def test_an_address_with_somebody_else_behind_it_is_forgotten() -> None:
    here = node()
    here.comes(A)
    for liar in (Contact(E.node, A.addr), Contact(F.node, ME.addr)):
        here.passive.remember(liar)
    here.linked(A.node, dialled=Contact(E.node, A.addr), now=0.0)
    here.linked(ME.node, dialled=Contact(F.node, ME.addr), now=0.0)
    assert len(here.passive) == 0


def test_nodes_that_only_exist_in_words_are_dialled_at_a_bounded_rate() -> None:
    here, dials, now = node(active=4), 0, 0.0
    here.comes(A)
    while now < 100.0:
        for number in range(8):
            made_up = Contact(bytes([number]) * 31 + bytes([int(now) % 256]), f"x{number}:1")
            here.passive.remember(made_up)
        effects = here.wake(now=now)
        while effects:
            wanted = [one.contact for one in effects if isinstance(one, Dial)]
            dials += len(wanted)
            effects = [more for one in wanted for more in here.dial_failed(one, now=now)]
        now += 0.5
    assert dials <= 2.0 * 100 + 4 * 4
