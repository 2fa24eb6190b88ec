"""Walks: out over some hops, and back the same way."""

from overlay_edge.proto.effects import Tell
from overlay_edge.proto.gossip_message import Contact, Shuffle, ShuffleReply
from overlay_edge.proto.passive import PassiveView
from overlay_edge.proto.walk import MAX_WALKS, WALK, WALK_S, Walks
from tests.support.swarm import dice


def contact(number: int) -> Contact:
    return Contact(bytes([number]) * 32, f"n{number}:1")


ME, A, B, C = (contact(number) for number in range(1, 5))


def active(*contacts: Contact) -> dict[bytes, Contact]:
    return {one.node: one for one in contacts}


def walks(me: Contact = ME, *known: Contact) -> tuple[Walks, PassiveView]:
    passive = PassiveView(me.node, 30, rng=dice(1))
    for one in known:
        passive.remember(one)
    return Walks(me, passive, rng=dice(2)), passive


def test_a_walk_begins_with_some_of_both_views_and_oneself() -> None:
    here, _ = walks(ME, *(contact(number) for number in range(20, 40)))
    (tell,) = here.begin(active(A, B), now=0.0)
    assert isinstance(tell.message, Shuffle)
    assert tell.peer in (A.node, B.node)
    assert {A, B, ME} < set(tell.message.peers)
    assert (len(tell.message.peers), tell.message.ttl) == (2 + 4 + 1, WALK)


def test_who_cannot_be_dialled_is_not_offered() -> None:
    here, _ = walks(Contact(ME.node, ""))
    (tell,) = here.begin(active(Contact(A.node, "")), now=0.0)
    assert isinstance(tell.message, Shuffle)
    assert tell.message.peers == ()


def test_a_walk_goes_on_to_another_and_its_answer_comes_back() -> None:
    here, passive = walks()
    walk = Shuffle(7, 3, (C,))
    assert here.came(A.node, walk, active(A, B), now=0.0) == [
        Tell(B.node, Shuffle(7, 2, (C,)), lane=0)  # type: ignore[arg-type]
    ]
    reply = ShuffleReply(7, (contact(9),))
    assert [tell.peer for tell in here.came_back(reply, active(A, B))] == [A.node]
    assert len(passive) == 0
    assert here.came_back(reply, active(A, B)) == []


def test_it_ends_where_its_steps_do_and_both_ends_learn() -> None:
    here, passive = walks(B, contact(8))
    (tell,) = here.came(A.node, Shuffle(7, 0, (C, ME)), active(A, C), now=0.0)
    assert tell.message == ShuffleReply(7, (contact(8),))
    assert set(passive.nodes) == {contact(8).node, ME.node}  # C is a neighbour

    begun, mine = walks()
    (tell,) = begun.begin(active(A), now=0.0)
    assert isinstance(tell.message, Shuffle)
    begun.came_back(ShuffleReply(tell.message.id, (contact(9), A)), active(A))
    assert set(mine.nodes) == {contact(9).node}


def test_a_longer_walk_than_ours_is_cut() -> None:
    here, _ = walks()
    (tell,) = here.came(A.node, Shuffle(7, 32, ()), active(A, B), now=0.0)
    assert isinstance(tell.message, Shuffle)
    assert tell.message.ttl == WALK - 1


def test_walks_are_bounded_and_forgotten() -> None:
    here, _ = walks()
    for number in range(2 * MAX_WALKS):
        here.came(A.node, Shuffle(number, 3, ()), active(A, B), now=0.0)
    assert len(here) == MAX_WALKS
    assert here.begin(active(A), now=WALK_S - 1) == []
    assert here.begin(active(A), now=WALK_S)
    assert len(here) == 1
