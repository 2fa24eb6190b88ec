"""Gossip: the whole machine, in swarms of a few nodes whose payloads are carried by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_edge.proto.effects import Accepted, Deliver, Gapped, Lane, Queued, Send, Shed
from overlay_edge.proto.gossip import JUDGE_S, Mesh
from overlay_edge.proto.gossip_codec import decode, encode
from overlay_edge.proto.gossip_message import Contact, Gossip, Ihave, Join, message_id
from tests.support.swarm import CONFIG, STARTED_MS, TOPIC, Swarm, dice, node_id, started


def alone() -> Mesh:
    me = Contact(node_id(0), "n0:1")
    mesh = Mesh(me, CONFIG, started_ms=STARTED_MS, rng=dice(1), now=0.0)
    mesh.subscribe(TOPIC, now=0.0)
    return mesh


def test_a_message_reaches_everybody_once() -> None:
    swarm = started(6)
    assert isinstance(swarm.publish(0, b"hello"), Accepted)
    swarm.run(1.0)
    for index in range(6):
        (one,) = swarm.told[index]
        assert isinstance(one, Deliver)
        assert (one.topic, one.data, one.publisher, one.seq) == (TOPIC, b"hello", node_id(0), 1)


def test_who_did_not_subscribe_passes_on_and_is_told_nothing() -> None:
    swarm = started(5)
    for index in range(1, 4):
        swarm.meshes[index].unsubscribe(TOPIC)
    swarm.publish(0)
    swarm.run(1.0)
    assert [len(told) for told in swarm.told] == [1, 0, 0, 0, 1]


def test_what_nobody_is_there_for_is_queued_and_comes_with_the_first_neighbour() -> None:
    swarm = Swarm(1)
    outcome = swarm.publish(0)
    assert isinstance(outcome, Queued)
    assert outcome.reason == "alone"
    swarm.told.append([])
    swarm.size = 2
    swarm.meshes.append(swarm.make(1))
    swarm.run(5.0)
    assert swarm.delivered(1) == list(swarm.published)


def test_a_publisher_is_told_why_it_was_refused_and_when_to_come_back() -> None:
    mesh = alone()
    outcome, effects = mesh.publish(TOPIC, bytes((64 << 10) + 1), ts_ms=0, now=0.0)
    assert (outcome, effects) == (Shed("too_large", 0), [])
    assert mesh.publish("", b"", ts_ms=0, now=0.0)[0] == Shed("topic", 0)
    assert mesh.publish("x" * 129, b"", ts_ms=0, now=0.0)[0] == Shed("topic", 0)
    for _ in range(2 * CONFIG.rate):
        assert isinstance(mesh.publish(TOPIC, b"", ts_ms=0, now=0.0)[0], Queued)
    assert mesh.publish(TOPIC, b"", ts_ms=0, now=0.0)[0] == Shed("rate", 2)
    assert isinstance(mesh.publish(TOPIC, b"", ts_ms=0, now=0.002)[0], Queued)


def test_a_topic_too_many_is_refused() -> None:
    config = replace(CONFIG, max_topics=2)
    mesh = Mesh(Contact(node_id(0), ""), config, started_ms=1, rng=dice(1), now=0.0)
    assert mesh.subscribe("a", now=0.0)
    assert isinstance(mesh.publish("b", b"", ts_ms=0, now=0.0)[0], Queued)
    assert not mesh.subscribe("c", now=0.0)
    assert mesh.publish("c", b"", ts_ms=0, now=0.0)[0] == Shed("topics", 60_000)


def test_a_congested_neighbour_is_told_ids_instead_of_messages() -> None:
    swarm = started(2)
    sent: list[Send] = []
    swarm.on_send = lambda _node, send: sent.append(send)
    swarm.meshes[0].congested(node_id(1), True, now=swarm.now)
    outcome = swarm.publish(0)
    assert isinstance(outcome, Queued)
    assert outcome.reason == "congested"
    swarm.run(1.0)
    assert not [send for send in sent if isinstance(decode(send.payload), Gossip | Ihave)]
    swarm.meshes[0].congested(node_id(1), False, now=swarm.now)
    swarm.run(1.0)
    assert swarm.delivered(1) == swarm.delivered(0)
    kinds = [type(decode(send.payload)) for send in sent if send.lane is not Lane.CONTROL]
    assert kinds.index(Ihave) < kinds.index(Gossip)


def test_a_lost_message_in_the_middle_is_repaired() -> None:
    swarm = started(3)
    swarm.publish(0)
    swarm.wires.clear()
    swarm.publish(0)
    swarm.run(30.0)
    for index in range(3):
        assert sorted(swarm.delivered(index)) == sorted(swarm.published)
        assert not swarm.gapped(index)


def test_a_lost_last_message_is_repaired_within_two_periods() -> None:
    swarm = started(3)
    swarm.publish(0)
    swarm.wires.clear()
    for mesh in swarm.meshes:  # not even the ids get through
        for peer in list(mesh.members.active):
            mesh.delivery.broadcast._neighbours[peer].queue.clear()
    swarm.run(2 * 1.5 * CONFIG.antientropy_s)
    assert all(swarm.delivered(index) == list(swarm.published) for index in range(3))


def test_what_nobody_has_any_more_is_told_as_a_gap_after_a_bounded_wait() -> None:
    swarm = started(3, config=replace(CONFIG, cache_age_s=1.0))
    swarm.publish(0)
    swarm.wires.clear()
    for mesh in swarm.meshes:
        for one in mesh.delivery.broadcast._neighbours.values():
            one.queue.clear()
    swarm.now += 2.0
    swarm.publish(0)
    swarm.run(3 * CONFIG.antientropy_s + 1)
    for index in (1, 2):
        (gap,) = [one for one in swarm.told[index] if isinstance(one, Gapped)]
        assert (gap.topic, gap.publisher, gap.first, gap.last) == (TOPIC, node_id(0), 1, 1)
        assert gap.reason == "lost"
        assert len(swarm.delivered(index)) == 1


def test_a_message_that_comes_after_its_gap_is_passed_on_and_not_delivered() -> None:
    swarm = started(2)
    publisher = node_id(7)

    def message(seq: int) -> bytes:
        id = message_id(publisher, 9, seq)
        return encode(Gossip(id, TOPIC, publisher, 9, seq, 0, 1, b"late"))

    mesh = swarm.meshes[0]
    swarm.carry(0, mesh.receive(node_id(1), message(2), now=swarm.now))
    swarm.run(3 * CONFIG.antientropy_s + 10)
    assert swarm.gapped(0) == [(publisher, 9, 1)]
    swarm.carry(0, mesh.receive(node_id(1), message(1), now=swarm.now))
    assert swarm.delivered(0) == [(publisher, 9, 2)]
    assert mesh.stats()["late"] == 1


def test_a_publisher_that_restarts_begins_a_new_epoch_and_both_are_accounted_for() -> None:
    swarm = started(4)
    for _ in range(3):
        swarm.publish(3)
    swarm.run(1.0)
    before = set(swarm.published)
    swarm.now += 5.0
    swarm.restart(3)
    swarm.run(8.0)
    for _ in range(2):
        swarm.publish(3)
    swarm.run(5.0)
    assert len({epoch for _, epoch, _ in swarm.published}) == 2
    for index in range(4):
        assert set(swarm.delivered(index)) == swarm.published
    assert set(swarm.delivered(3)) >= before  # it hears of its earlier life from the others


def test_a_clock_that_went_backwards_is_outrun() -> None:
    swarm = started(3)
    swarm.publish(2)
    swarm.run(1.0)
    (before,) = {epoch for _, epoch, _ in swarm.published}
    swarm.restart(2, started_ms=5)
    swarm.run(8.0)
    swarm.publish(2)
    swarm.run(5.0)
    after = max(epoch for _, epoch, _ in swarm.published)
    assert after > before
    assert set(swarm.delivered(0)) == swarm.published


def test_a_large_object_is_announced_pulled_and_then_offered_to_the_next() -> None:
    swarm = started(4)
    addr = "b3:" + "ab" * 32
    _, effects = swarm.meshes[0].publish(TOPIC, addr=addr, size=1 << 20, ts_ms=0, now=swarm.now)
    swarm.carry(0, effects)
    assert [one.addr for one in swarm.told[0] if isinstance(one, Deliver)] == [addr]
    for _ in range(6):
        swarm.run(0.05)
        for index, fetch in swarm.fetches:
            assert (fetch.addr, fetch.size) == (addr, 1 << 20)
            assert 1 <= len(fetch.providers) <= 2
            assert all(contact.node != node_id(index) for contact in fetch.providers)
            swarm.carry(index, swarm.meshes[index].fetched(addr, True, now=swarm.now))
        swarm.fetches.clear()
    swarm.run(2.0)
    for index in range(4):
        (one,) = swarm.told[index]
        assert isinstance(one, Deliver)
        assert (one.addr, one.size, one.data) == (addr, 1 << 20, b"")


def test_an_object_that_cannot_be_had_is_a_gap() -> None:
    swarm = started(2)
    _, effects = swarm.meshes[0].publish(
        TOPIC, addr="b3:" + "ab" * 32, size=9, ts_ms=0, now=swarm.now
    )
    swarm.carry(0, effects)
    swarm.run(0.5)
    ((index, fetch),) = swarm.fetches
    swarm.carry(index, swarm.meshes[index].fetched(fetch.addr, False, now=swarm.now))
    (gap,) = swarm.told[1]
    assert isinstance(gap, Gapped)
    assert (gap.first, gap.last, gap.reason) == (1, 1, "fetch")


def test_unknown_kinds_and_keys_are_ignored() -> None:
    swarm = started(2)
    mesh = swarm.meshes[0]
    before = mesh.reputation.score(node_id(1), now=swarm.now)
    from overlay_edge.proto import cbor

    assert mesh.receive(node_id(1), cbor.encode({"kind": "song", "x": 1}), now=swarm.now) == []
    assert mesh.stats()["unknown_kind"] == 1
    payload = cbor.encode({"kind": "prune", "topic": TOPIC, "colour": [1, {"a": None}]})
    assert mesh.receive(node_id(1), payload, now=swarm.now) == []
    assert mesh.reputation.score(node_id(1), now=swarm.now) == before


def test_a_payload_of_nobody_is_nothing() -> None:
    mesh = alone()
    assert mesh.receive(node_id(5), encode(Join("x:1")), now=0.0) == []
    assert mesh.receive(node_id(5), b"\xff", now=0.0) == []


def test_the_table_of_peers_tells_role_score_and_faults() -> None:
    swarm = started(2)
    mesh = swarm.meshes[0]
    mesh.measured(node_id(1), 0.25)
    mesh.receive(node_id(1), b"\xff", now=swarm.now)
    (row,) = mesh.peers(now=swarm.now)
    assert (row.peer, row.role, row.rtt_s) == (node_id(1), "eager", 0.25)
    assert row.score < 0
    assert row.faults == (("invalid", swarm.now),)
    assert {row.is_outbound, swarm.meshes[1].peers(now=swarm.now)[0].is_outbound} == {True, False}


def test_what_is_held_is_the_sum_of_what_is_held() -> None:
    swarm = started(4)
    base = swarm.meshes[1].held_bytes
    swarm.publish(0, bytes(5000))
    swarm.run(1.0)
    assert 5000 < swarm.meshes[1].held_bytes - base < 5000 + 3000
    swarm.run(CONFIG.cache_age_s + JUDGE_S)
    assert swarm.meshes[1].held_bytes - base < 3000


def test_the_same_calls_give_the_same_answers() -> None:
    def one() -> list[tuple[int, bytes]]:
        sent: list[tuple[int, bytes]] = []
        swarm = Swarm(5)
        swarm.on_send = lambda node, send: sent.append((node, send.payload))
        swarm.run(10.0)
        for index in range(5):
            swarm.publish(index)
        swarm.run(30.0)
        return sent

    assert one() == one()


class Chaos(Swarm):
    """Whatever can happen to payloads, links and nodes."""

    def __post_init__(self) -> None:
        self.restarted: set[int] = set()
        super().__post_init__()

    def act(self, action: str, number: int) -> None:
        match action:
            case "publish":
                self.publish(number % self.size)
            case "arrive":
                self.step(number)
            case "lose" if self.wires:
                self.wires.pop(number % len(self.wires))
            case "double" if self.wires:
                self.receive(self.wires[number % len(self.wires)])
            case "pass":
                self.now += (number % 100) / 50
                self.wake()
            case "restart" if number % self.size not in self.restarted:
                self.restarted.add(number % self.size)
                self.now += 1.0
                self.restart(number % self.size)
            case "cut" if self.links:
                pair = sorted(sorted(link) for link in self.links)[number % len(self.links)]
                self.unlink(*pair)
            case "jam":
                index, other = number % self.size, number // self.size % self.size
                mesh = self.meshes[index]
                mesh.congested(node_id(other), number % 2 == 0, now=self.now)
        self.check()

    def check(self) -> None:
        for mesh in self.meshes:
            config = swarm_config()
            own = mesh.delivery
            assert len(mesh.members.active) <= config.active
            assert len(mesh.members.passive) <= config.passive
            assert own.cache.held_bytes <= config.cache_bytes
            assert len(own.seen) <= 2 * config.dedup_ids
            assert len(own.broadcast.missing) <= 1024
            assert mesh.held_bytes >= 0
            kept = [one for streams in own.ledger.streams.values() for one in streams]
            assert own.ledger._holes == sum(len(one.holes) for one in kept)
            for streams in own.ledger.streams.values():
                assert len(streams) <= 2
                for one in streams:
                    assert len(one.holes) <= 32
                    total = one.delivered_total + one.gapped_total + one.missing_total
                    assert total == one.top


def swarm_config():  # type: ignore[no-untyped-def]
    return replace(CONFIG, active=3, passive=6, cache_bytes=64 << 10, antientropy_s=4.0)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "publish",
                "arrive",
                "arrive",
                "arrive",
                "lose",
                "double",
                "pass",
                "pass",
                "cut",
                "jam",
            ]
        ),
        st.integers(0, 10_000),
    ),
    max_size=120,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(size=st.integers(2, 6), seed=st.integers(1, 1000), actions=ACTIONS)
def test_whatever_happens_delivered_and_gapped_are_what_was_published(
    size: int, seed: int, actions: list[tuple[str, int]]
) -> None:
    swarm = Chaos(size, config=swarm_config(), seed=seed)
    swarm.run(8.0)
    for action, number in actions:
        swarm.act(action, number)
    for index in range(size):
        for other in range(size):
            swarm.meshes[index].congested(node_id(other), False, now=swarm.now)
    swarm.run(90.0)
    for index in range(size):
        delivered, gapped = swarm.delivered(index), swarm.gapped(index)
        assert len(delivered) == len(set(delivered)), "delivered twice"
        assert len(gapped) == len(set(gapped)), "told as a gap twice"
        assert not set(delivered) & set(gapped)
        assert set(delivered) | set(gapped) == swarm.published
    swarm.check()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(2, 6),
    seed=st.integers(1, 1000),
    actions=ACTIONS,
    restarts=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 5)), max_size=3),
)
def test_nodes_that_restart_end_up_with_the_same_account_as_all_others(
    size: int, seed: int, actions: list[tuple[str, int]], restarts: list[tuple[int, int]]
) -> None:
    swarm = Chaos(size, config=swarm_config(), seed=seed)
    swarm.run(8.0)
    for at, index in restarts:
        actions.insert(min(at, len(actions)), ("restart", index))
    for action, number in actions:
        swarm.act(action, number)
    for index in range(size):
        for other in range(size):
            swarm.meshes[index].congested(node_id(other), False, now=swarm.now)
    swarm.run(90.0)
    accounts = [set(swarm.delivered(index)) | set(swarm.gapped(index)) for index in range(size)]
    # What went down with its publisher before anybody heard of it, nobody can know of.
    assert all(account == accounts[0] for account in accounts)
    assert accounts[0] <= swarm.published
    for index in range(size):
        delivered, gapped = swarm.delivered(index), swarm.gapped(index)
        assert len(delivered) + len(gapped) == len(set(delivered) | set(gapped))


@pytest.mark.parametrize("period_s", [1.0, 10.0])
def test_a_mesh_with_many_topics_does_not_take_its_own_digests_for_a_flood(period_s: float) -> None:
    swarm = started(3, config=replace(CONFIG, antientropy_s=period_s))
    for number in range(100):
        swarm.publish(number % 2, b"x", topic=f"topic {number}")
    swarm.restart(2)  # it lacks something of each
    swarm.run(30.0)
    for mesh in swarm.meshes:
        assert mesh.stats()["graylisted"] == mesh.stats().get("fault_digest_rate", 0) == 0
        assert len(mesh.members.active) == 2
        assert mesh.stats()["streams"] == 100
        assert mesh.stats()["missing_messages"] == 0
