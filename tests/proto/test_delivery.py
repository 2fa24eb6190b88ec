"""Delivery: what becomes of a message, and what is held against whoever brought it."""

from dataclasses import replace

from overlay_edge.proto.delivery import STREAMS_PER_TOPIC, Delivery
from overlay_edge.proto.effects import (
    Accepted,
    Deliver,
    Fetch,
    Gapped,
    Inner,
    Queued,
    Tell,
)
from overlay_edge.proto.fetching import MAX_FETCHES
from overlay_edge.proto.gossip_message import (
    Contact,
    Digest,
    Gossip,
    Held,
    Ihave,
    Want,
    message_id,
)
from overlay_edge.proto.reputation import Reputation
from tests.support.swarm import CONFIG, STARTED_MS, dice

ME, A, B, NODE = (letter * 32 for letter in (b"m", b"a", b"b", b"n"))
ADDR = "b3:" + "ab" * 32
STREAMS = 8 * STREAMS_PER_TOPIC


def message(
    seq: int = 1, *, topic: str = "t", node: bytes = NODE, epoch: int = 5, **changes: object
) -> Gossip:
    id = message_id(node, epoch, seq)
    return replace(Gossip(id, topic, node, epoch, seq, 0, 1, bytes(2000)), **changes)  # type: ignore[arg-type]


class Room(Delivery):
    """One with two neighbours, at time 0."""

    def __init__(self, **changes: object) -> None:
        self.score = Reputation(1000)
        super().__init__(
            Contact(ME, "me:1"),
            replace(CONFIG, max_topics=8, max_topics_per_peer=4, **changes),  # type: ignore[arg-type]
            self.score,
            started_ms=STARTED_MS,
            rng=dice(1),
            now=0.0,
        )
        self.nodes = 100
        self.topics.subscribe("t", now=0.0)
        for peer in (A, B):
            self.score.linked(peer, now=0.0)
            self.broadcast.up(peer, now=0.0)

    def comes(self, one: Gossip, peer: bytes = A) -> list[Inner]:
        return self.gossip(peer, one, now=0.0)


def kinds(effects: list[Inner]) -> list[str]:
    return [
        type(one.message).__name__ if isinstance(one, Tell) else type(one).__name__
        for one in effects
    ]


def test_a_new_message_is_delivered_and_passed_on_and_a_second_copy_is_pruned() -> None:
    here = Room()
    assert kinds(here.comes(message())) == ["Deliver", "Gossip"]
    assert kinds(here.comes(message(), B)) == ["Prune"]
    assert here.counts == {"received": 1, "delivered": 1, "duplicates": 1}
    assert here.score.score(A, now=0.0) > 0


def test_an_id_that_is_not_its_contents_is_invalid() -> None:
    here = Room()
    assert here.comes(message(2, id=message().id)) == []
    assert here.score.counts == {"invalid": 1}
    assert len(here.ledger) == 0


def test_a_message_over_our_own_limit_is_shed_and_nobodys_fault() -> None:
    here = Room(max_message_bytes=1000)
    assert here.comes(message()) == []
    assert here.counts == {"shed_eager_too_large": 1}
    assert here.score.counts == {}


def test_what_the_ids_have_forgotten_the_ledger_still_knows() -> None:
    here = Room(dedup_ids=1024)
    here.comes(message())
    for number in range(3000):
        here.seen.add(number.to_bytes(16, "big"), now=0.0)
    assert message().id not in here.seen
    assert kinds(here.comes(message(), B)) == ["Prune"]
    assert here.counts["delivered"] == 1


def test_our_own_numbers_from_somebody_else_are_forged() -> None:
    here = Room()
    outcome, _ = here.publish("t", b"x", "", 0, ts_ms=0, now=0.0)
    assert isinstance(outcome, Accepted)
    assert here.comes(message(9, node=ME, epoch=outcome.epoch)) == []
    assert here.counts["forged"] == 1
    after, _ = here.publish("t", b"x", "", 0, ts_ms=0, now=0.0)
    assert isinstance(after, Accepted)
    assert (after.epoch, after.seq) == (outcome.epoch + 1, 1)


def test_topics_beyond_a_peers_share_are_shed_and_held_against_it_mildly() -> None:
    here = Room()
    for number in range(20):
        here.comes(message(topic=f"x{number}", node=bytes([number]) * 32))
    assert len(here.topics) == 1 + 4
    assert here.counts["shed_eager_topics"] == 16
    assert -1.0 < here.score.score(A, now=0.0) < 0


def test_streams_beyond_a_peers_half_are_shed() -> None:
    here = Room()
    for number in range(STREAMS):
        here.comes(message(node=bytes([number]) * 32))
    assert len(here.ledger) == STREAMS // 2
    assert here.score.counts == {"streams": STREAMS // 2}
    assert kinds(here.comes(message(2, node=bytes(32)))) == ["Deliver", "Gossip"]
    assert kinds(here.comes(message(), B)) == ["Deliver", "Gossip"]


def test_digests_cannot_bring_up_more_streams_than_messages_can() -> None:
    here = Room()
    streams = {number.to_bytes(32, "big"): (Held(1, 5),) for number in range(60)}
    here.digest(A, Digest("t", streams, ask=True, whole=True), now=0.0)
    assert len(here.ledger) <= STREAMS // 2
    assert here.digest(A, Digest("u", {}), now=0.0) == []


def test_a_digest_of_a_topic_too_many_is_shed() -> None:
    here = Room()
    for number in range(6):
        here.digest(A, Digest(f"x{number}", {}), now=0.0)
        here.ihave(A, Ihave(f"y{number}", (bytes(16),)), now=0.0)
    assert len(here.topics) == 1 + 4
    assert here.score.counts["topics"] == 8


def test_an_epoch_long_over_is_shed() -> None:
    here = Room()
    for epoch in (7, 8, 6):
        here.comes(message(epoch=epoch))
    assert here.counts["shed_eager_stale"] == 1


def test_an_object_is_pulled_before_it_is_delivered_and_passed_on() -> None:
    here = Room()
    one = message(data=b"", addr=ADDR, size=9, providers=(Contact(NODE, "n:1"),))
    assert here.comes(one) == [Fetch(ADDR, 9, one.topic, (Contact(NODE, "n:1"),))]
    assert kinds(here.comes(one, B)) == []  # nobody was pushed anything yet: no tree
    deliver, further = here.fetched(ADDR, True, now=1.0)
    assert isinstance(deliver, Deliver)
    assert (deliver.addr, deliver.size) == (ADDR, 9)
    assert isinstance(further, Tell)
    assert isinstance(further.message, Gossip)
    assert further.message.providers == (Contact(ME, "me:1"), Contact(NODE, "n:1"))
    assert here.fetched(ADDR, True, now=1.0) == []


def test_who_does_not_want_an_object_passes_it_on_as_it_came() -> None:
    here = Room()
    here.topics.unsubscribe("t")
    one = message(data=b"", addr=ADDR, size=9, providers=(Contact(NODE, "n:1"),))
    (further,) = here.comes(one)
    assert isinstance(further, Tell)
    assert isinstance(further.message, Gossip)
    assert further.message.providers == one.providers


def test_an_object_too_many_is_a_gap_and_passed_on() -> None:
    here = Room()
    for seq in range(1, MAX_FETCHES + 1):
        here.comes(message(seq, data=b"", addr=f"b3:{seq:064x}", size=9))
    effects = here.comes(message(MAX_FETCHES + 1, data=b"", addr=ADDR, size=9))
    assert kinds(effects) == ["Gapped", "Gossip"]
    assert here.counts["gapped_fetch"] == 1


def test_gaps_are_counted_and_told_only_to_who_subscribed() -> None:
    here = Room()
    here.topics.unsubscribe("t")
    here.comes(message(4))
    assert not [one for one in here.wake(now=100.0) if isinstance(one, Gapped)]
    assert here.counts["gapped_unanswered"] == 3


def test_a_want_of_who_does_not_keep_up_is_shed() -> None:
    here = Room()
    here.comes(message())
    here.broadcast.congested(B, True, now=0.0)
    assert here.want(B, Want((message().id,)), now=0.0) == []
    here.broadcast.congested(B, False, now=0.0)
    assert kinds(here.want(B, Want((message().id,)), now=0.0)) == ["Gossip"]
    ranges = Want((), "t", NODE, 5, ((1, 2),))
    assert kinds(here.want(B, ranges, now=0.0)) == ["Gossip", "Gap"]


def test_publishing_without_anybody_is_queued_for_who_comes() -> None:
    here = Room()
    for peer in (A, B):
        here.broadcast.congested(peer, True, now=0.0)
    outcome, _ = here.publish("t", b"x", "", 0, ts_ms=0, now=0.0)
    assert isinstance(outcome, Queued)
    assert outcome.reason == "congested"
    for peer in (A, B):
        here.broadcast.down(peer, now=0.0)
    outcome, effects = here.publish("t", b"x", "", 0, ts_ms=0, now=0.0)
    assert isinstance(outcome, Queued)
    assert outcome.reason == "alone"
    assert kinds(effects) == ["Deliver"]


def test_a_full_table_of_streams_sheds_a_publisher_instead_of_forgetting_others() -> None:
    here = Room()
    for peer, first in ((A, 0), (B, 100)):
        for number in range(first, first + STREAMS // 2):
            here.comes(message(node=bytes([number]) * 32), peer)
    assert here.publish("t", b"x", "", 0, ts_ms=0, now=0.0)[0] == here._shed("topics", 60_000)[0]
    assert len(here.ledger) == STREAMS


def test_a_topic_that_was_published_long_ago_makes_room_and_begins_anew() -> None:
    here = Room()
    first, _ = here.publish("old", b"x", "", 0, ts_ms=0, now=0.0)
    for number in range(6):
        here.publish(f"x{number}", b"x", "", 0, ts_ms=0, now=10.0)
    assert here.publish("new", b"x", "", 0, ts_ms=0, now=20.0)[0] == here._shed("topics", 60_000)[0]
    assert isinstance(here.publish("new", b"x", "", 0, ts_ms=0, now=1000.0)[0], Accepted)
    again, _ = here.publish("old", b"x", "", 0, ts_ms=0, now=1000.0)
    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert again.epoch > first.epoch


def test_an_answer_by_ids_is_cut_by_its_bytes() -> None:
    here = Room()
    for seq in range(1, 65):
        here.comes(message(seq, data=bytes(60_000)))
    ids = tuple(message(seq).id for seq in range(1, 65))
    sent = [one for one in here.want(B, Want(ids), now=0.0) if isinstance(one, Tell)]
    assert 1 < len(sent) <= 1 + (256 << 10) // 60_000
