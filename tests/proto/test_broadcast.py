"""Broadcast: who is pushed a message, who is told its id, and how the tree heals."""

from dataclasses import replace

import pytest

from overlay_edge.proto.broadcast import (
    FLOOD_BYTES,
    FLOOD_NODES,
    IHAVE_S,
    MAX_GRAFTS_PER_S,
    MAX_QUEUED_IDS,
    PRUNE_S,
    Broadcast,
    is_flood,
)
from overlay_edge.proto.effects import Lane, Tell
from overlay_edge.proto.gossip_message import (
    MAX_HOP,
    MAX_IDS,
    Gossip,
    Graft,
    Ihave,
    Message,
    Prune,
    Want,
    message_id,
)
from overlay_edge.proto.missing import GRAFT_S
from overlay_edge.proto.retention import Cache, Seen
from tests.support.swarm import CONFIG

A, B, C, D = (bytes([number]) * 32 for number in range(1, 5))
NODE = b"n" * 32


def message(seq: int = 1, hop: int = 3, **changes: object) -> Gossip:
    made = Gossip(message_id(NODE, 1, seq), "t", NODE, 1, seq, 0, hop, bytes(2000))
    return replace(made, **changes)  # type: ignore[arg-type]


def room(*peers: bytes, **changes: object) -> Broadcast:
    here = Broadcast(replace(CONFIG, **changes), Cache(1 << 20, 60.0), now=0.0)  # type: ignore[arg-type]
    for peer in peers:
        here.up(peer, now=0.0)
    return here


def take(here: Broadcast, peer: bytes | None, one: Gossip, now: float = 0.0) -> list[Tell]:
    here._cache.add(one, now=now)
    return here.accepted(peer, one, floods=False, now=now)


def to(effects: list[Tell], kind: type[Message]) -> list[bytes]:
    return [one.peer for one in effects if isinstance(one.message, kind)]


def ihave(here: Broadcast, peer: bytes, *seqs: int, hop: int = 0, now: float = 0.0) -> None:
    ids = tuple(message_id(NODE, 1, seq) for seq in seqs)
    told = Ihave("t", ids, (hop,) * len(ids))
    here.announced(peer, told, Seen(1000, 60.0, now=0.0), now=now)


def test_at_first_everybody_but_who_brought_it_is_pushed_one_hop_further() -> None:
    here = room(A, B, C)
    effects = take(here, A, message(hop=3))
    assert to(effects, Gossip) == [B, C]
    assert {one.message.hop for one in effects if isinstance(one.message, Gossip)} == {4}
    assert here.roles("t") == {A: "parent", B: "eager", C: "eager"}


def test_a_duplicate_makes_its_sender_lazy_and_tells_it_once() -> None:
    here = room(A, B, C)
    take(here, A, message())
    assert here.duplicate(B, message(), floods=False, now=0.1) == [
        Tell(B, Prune("t"), Lane.CONTROL)
    ]
    assert here.duplicate(B, message(), floods=False, now=0.1 + PRUNE_S / 2) == []
    assert len(here.duplicate(B, message(), floods=False, now=0.1 + PRUNE_S)) == 1
    assert here.roles("t")[B] == "lazy"


def test_what_was_asked_for_says_nothing_about_who_should_push() -> None:
    here = room(A, B)
    take(here, A, message())
    assert here.duplicate(B, message(is_repair=True), floods=False, now=0.0) == []
    assert here.roles("t")[B] == "eager"
    effects = take(here, B, message(2, is_repair=True))
    assert to(effects, Gossip) == []
    assert here.roles("t")[A] == "parent"
    assert to(here.wake(now=IHAVE_S), Ihave) == [A]


def test_a_lazy_neighbour_is_told_ids_together_and_a_little_later() -> None:
    here = room(A, B)
    here.accepted(None, message(hop=0), floods=False, now=0.0)
    here.pruned(B, Prune("t"))
    for seq in (2, 3):
        assert to(take(here, A, message(seq)), Gossip) == []
    assert here.deadline() == IHAVE_S
    (told,) = here.wake(now=IHAVE_S)
    assert told == Tell(
        B,
        Ihave("t", (message_id(NODE, 1, 2), message_id(NODE, 1, 3)), (4, 4)),
        Lane.LAZY,
    )


def test_no_frame_has_more_ids_than_the_contract_allows() -> None:
    here = room(A, B)
    take(here, A, message())
    here.pruned(B, Prune("t"))
    for seq in range(2, 2 * MAX_IDS + 12):
        take(here, A, message(seq))
    sizes = [len(one.message.ids) for one in here.wake(now=1.0) if isinstance(one.message, Ihave)]
    assert sizes == [MAX_IDS, MAX_IDS, 10]


def test_what_no_push_brings_in_time_is_grafted_and_the_rest_is_wanted() -> None:
    here = room(A, B)
    take(here, A, message())
    here.duplicate(B, message(), floods=False, now=0.0)
    ihave(here, B, 2, 3)
    assert here.wake(now=GRAFT_S - 0.01) == []
    effects = here.wake(now=GRAFT_S)
    graft, want = (one.message for one in effects)
    assert isinstance(graft, Graft)
    assert isinstance(want, Want)
    assert {graft.id, *want.ids} == {message_id(NODE, 1, 2), message_id(NODE, 1, 3)}
    assert here.roles("t")[B] == "eager"


def test_what_a_push_brings_in_time_is_not_asked_for() -> None:
    here = room(A, B)
    ihave(here, B, 1)
    take(here, A, message())
    assert here.deadline() == float("inf")
    assert to(here.wake(now=1.0), Graft) == []


def test_grafts_of_our_own_stay_below_what_others_take() -> None:
    here = room(A)
    for number in range(40):
        here.pruned(A, Prune("t"))
        take(here, None, message(1000 + number, hop=0))
        here.pruned(A, Prune("t"))
        ihave(here, A, number + 1)
    sent = [to(here.wake(now=GRAFT_S + number / 1000), Graft) for number in range(40)]
    assert sum(map(len, sent)) <= MAX_GRAFTS_PER_S


def test_a_graft_is_answered_with_the_message_and_makes_eager() -> None:
    here = room(A, B)
    take(here, A, message())
    here.pruned(B, Prune("t"))
    (answer,) = here.grafted(B, Graft("t", message().id), now=0.0)
    assert isinstance(answer.message, Gossip)
    assert (answer.message.hop, answer.message.is_repair) == (4, False)
    assert here.roles("t")[B] == "eager"
    assert here.grafted(B, Graft("t", b"?" * 16), now=0.0) == []
    assert here.grafted(B, Graft("unknown"), now=0.0) == []


def test_a_want_is_answered_as_a_repair() -> None:
    here = room(A, B)
    take(here, A, message())
    (answer,) = here.wanted(B, message().id, now=0.0)
    assert here.wanted(B, b"?" * 16, now=0.0) == []
    assert isinstance(answer.message, Gossip)
    assert answer.message.is_repair
    assert answer.lane is Lane.LAZY


def test_an_id_that_is_much_nearer_than_the_push_takes_its_place() -> None:
    here = room(A, B, C)
    take(here, A, message())
    here.duplicate(B, message(), floods=False, now=0.0)
    ihave(here, B, 2, hop=2)
    effects = take(here, A, message(2, hop=6))
    assert to(effects, Graft) == [B]
    assert to(effects, Prune) == [A]
    assert here.roles("t") == {A: "lazy", B: "parent", C: "eager"}
    ihave(here, A, 3, hop=3)
    assert to(take(here, B, message(3, hop=6)), Graft) == []


def test_a_source_that_nobody_listens_to_pushes_to_all_again() -> None:
    here = room(A, B)
    take(here, None, message(hop=0))
    for peer in (A, B):
        here.pruned(peer, Prune("t"))
    assert to(take(here, None, message(2, hop=0)), Gossip) == [A, B]


def test_when_the_parent_is_lost_the_best_lazy_one_is_grafted_at_once() -> None:
    here = room(A, B, C)
    take(here, A, message())
    for peer in (B, C):
        here.duplicate(peer, message(), floods=False, now=0.0)
    ihave(here, C, 2)
    take(here, A, message(2))
    assert here.down(A, now=1.0) == [Tell(C, Graft("t"), Lane.CONTROL)]
    assert here.roles("t")[C] == "eager"


def test_without_anything_heard_the_nearest_lazy_one_is_the_best() -> None:
    here = room(A, B, C)
    take(here, A, message())
    for peer, rtt_s in ((B, 0.05), (C, 0.01)):
        here.duplicate(peer, message(), floods=False, now=0.0)
        here.measured(peer, rtt_s)
    assert to(here.down(A, now=1.0), Graft) == [C]


def test_a_lost_neighbour_that_was_no_parent_changes_nothing() -> None:
    here = room(A, B, C)
    take(here, A, message())
    here.duplicate(B, message(), floods=False, now=0.0)
    assert here.down(B, now=1.0) == []
    assert here.down(D, now=1.0) == []


def test_at_the_last_hop_only_ids_are_told() -> None:
    here = room(A, B)
    assert to(take(here, A, message(hop=MAX_HOP)), Gossip) == []
    (told,) = here.wake(now=IHAVE_S)
    assert isinstance(told.message, Ihave)
    assert told.message.hops == (MAX_HOP,)


@pytest.mark.parametrize(("hint", "pushed"), [(0, 4), (1, 2), (3, 3), (999, 4)])
def test_a_senders_fanout_is_a_hint(hint: int, pushed: int) -> None:
    peers = [bytes([number]) * 32 for number in range(10, 18)]
    here = room(*peers, relay_fanout=4)
    effects = here.accepted(None, message(hop=0, fanout=hint), floods=False, now=0.0)
    assert len(to(effects, Gossip)) == pushed
    assert len(to(here.wake(now=IHAVE_S), Ihave)) == len(peers) - pushed


def test_over_the_rate_ids_are_told_instead() -> None:
    here = room(A, B, rate=1, relay_fanout=2)
    pushed = [
        len(to(here.accepted(A, message(seq), floods=False, now=0.0), Gossip))
        for seq in range(1, 10)
    ]
    assert sum(pushed) == 4  # twice what a second allows
    assert here.counts["shed_eager_rate"] == 5
    assert to(here.wake(now=IHAVE_S), Ihave) == [B]


def test_who_does_not_keep_up_is_told_ids_when_it_does_again() -> None:
    here = room(A, B)
    here.congested(B, True, now=0.0)
    assert here.able() == [A]
    assert to(take(here, A, message()), Gossip) == []
    assert here.wake(now=1.0) == []
    assert here.wanted(B, message().id, now=1.0) == []
    here.congested(B, False, now=2.0)
    assert to(here.wake(now=2.0 + IHAVE_S), Ihave) == [B]


def test_ids_for_who_never_keeps_up_are_bounded() -> None:
    here = room(A, B)
    here.congested(B, True, now=0.0)
    for seq in range(1, MAX_QUEUED_IDS + 20):
        here.accepted(A, message(seq), floods=False, now=0.0)
    assert len(here._neighbours[B].queue) == MAX_QUEUED_IDS
    assert here.counts["shed_lazy_queue"] == 19


def test_who_may_not_push_is_pruned_and_never_grafted() -> None:
    here = room(A, B)
    take(here, A, message())
    assert to(here.trust(A, False), Prune) == [A]
    assert here.trust(A, False) == []
    ihave(here, A, 2)
    assert to(here.wake(now=GRAFT_S), Want) == [A]
    take(here, A, message(2))
    assert here.roles("t")[A] == "lazy"
    assert here.trust(A, True) == []


def test_a_flood_goes_to_all_and_prunes_nobody() -> None:
    here = room(A, B, C)
    take(here, A, message())
    here.pruned(B, Prune("t"))
    effects = here.accepted(A, message(2), floods=True, now=0.0)
    assert to(effects, Gossip) == [B, C]
    assert here.duplicate(C, message(2), floods=True, now=0.0) == []


def test_only_few_nodes_and_short_messages_are_a_flood() -> None:
    short = message(data=bytes(FLOOD_BYTES))
    assert is_flood(short, FLOOD_NODES)
    assert not is_flood(short, FLOOD_NODES + 1)
    assert not is_flood(message(data=bytes(FLOOD_BYTES + 1)), 2)


def test_a_stranger_changes_nothing() -> None:
    here = room(A)
    take(here, A, message())
    here.pruned(D, Prune("t"))
    ihave(here, D, 2)
    here.congested(D, True, now=0.0)
    here.measured(D, 1.0)
    assert here.trust(D, False) == []
    assert here.grafted(D, Graft("t", message().id), now=0.0) == []
    assert here.duplicate(D, message(), floods=False, now=0.0) == []
    assert len(here.missing) == 0


def test_a_topic_that_is_forgotten_leaves_no_tree() -> None:
    here = room(A)
    take(here, A, message())
    here.forget("t")
    assert here._trees == {}
    assert here.role(A) == "eager"
