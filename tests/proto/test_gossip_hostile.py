"""A peer that floods, lies or sends garbage is bounded, named, and in the end not let in."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_edge.proto import cbor
from overlay_edge.proto.effects import Deliver, Drop, Effect, Gapped, Send
from overlay_edge.proto.gossip_codec import encode
from overlay_edge.proto.gossip_message import (
    Contact,
    Digest,
    ForwardJoin,
    Gap,
    Gossip,
    Graft,
    Held,
    Ihave,
    Join,
    Neighbor,
    Prune,
    Shuffle,
    Want,
    message_id,
)
from overlay_edge.proto.missing import MAX_MISSING
from overlay_edge.proto.reputation import GRAYLIST_S
from tests.support.swarm import CONFIG, TOPIC, Swarm, node_id, started

FOE = node_id(1)
MIB = 1 << 20


def attack(swarm: Swarm, payloads: Iterator[bytes], seconds: float, per_s: int) -> list[Effect]:
    """Node 1 sends node 0 so much for so long; it stops only when it is cut off."""
    mesh, effects = swarm.meshes[0], []
    for number in range(int(seconds * per_s)):
        if FOE not in mesh.reputation.records:
            break
        if number % (per_s // 10) == 0:
            swarm.now += 0.1
            effects += mesh.wake(now=swarm.now) if mesh.deadline() <= swarm.now else []
        effects += mesh.receive(FOE, next(payloads), now=swarm.now)
    return effects


def ids(number: int) -> tuple[bytes, ...]:
    return tuple(message_id(FOE, number, seq) for seq in range(1, 65))


def count() -> Iterator[int]:
    yield from range(1, 10_000_000)


def message(number: int, topic: str = TOPIC, node: bytes = FOE) -> bytes:
    id = message_id(node, 1 << 62, number)
    return encode(Gossip(id, topic, node, 1 << 62, number, 0, 1, b"x" * 100))


FLOODS = {
    "garbage": (iter(lambda: b"\xff\x00garbage", b""), 100, "invalid"),
    "wrong ids": (
        (encode(Gossip(bytes(16), TOPIC, FOE, 1, n, 0, 1, b"")) for n in count()),
        100,
        "invalid",
    ),
    "ids": ((encode(Ihave(TOPIC, ids(n))) for n in count()), 200, "ihave_rate"),
    "promises": ((encode(Ihave(TOPIC, ids(n)[:4])) for n in count()), 20, "promise"),
    "grafts": ((encode(Graft(TOPIC)) for _ in count()), 200, "graft_rate"),
    "joins": ((encode(Join("x:1")) for _ in count()), 200, "control_rate"),
    "walks": (
        (encode(ForwardJoin(Contact(n.to_bytes(32, "big"), "x:1"), 6)) for n in count()),
        200,
        "control_rate",
    ),
    "shuffles": ((encode(Shuffle(n, 6, ())) for n in count()), 200, "control_rate"),
    "songs": ((cbor.encode({"kind": "song"}) for _ in count()), 200, "control_rate"),
    "digests": (
        (
            encode(Digest(TOPIC, {bytes([n % 250]) * 32: (Held(1, 5, ((1, 4),)),)}, True))
            for n in count()
        ),
        200,
        "digest_rate",
    ),
    "gaps": ((encode(Gap(TOPIC, FOE, 1, n, n)) for n in count()), 2000, "digest_rate"),
    "messages": ((message(n) for n in count()), 20_000, "flood"),
    "prunes": ((encode(Prune(TOPIC)) for _ in count()), 20_000, "flood"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_named_and_ends_with_the_link(name: str) -> None:
    payloads, per_s, fault = FLOODS[name]
    swarm = started(3)
    mesh = swarm.meshes[0]
    effects = attack(swarm, payloads, 60.0, per_s)
    drops = [one for one in effects if isinstance(one, Drop) and one.peer == FOE]
    assert [drop.reason for drop in drops] == [f"graylisted: {fault}"]
    assert drops[0].code == 429
    assert FOE not in mesh.members.active
    assert mesh.stats()[f"fault_{fault}"] > 0
    assert mesh.held_bytes < 4 * MIB


def test_a_mesh_that_is_too_busy_for_a_small_board_is_heard_in_part_and_not_left() -> None:
    swarm = started(3, config=replace(CONFIG, rate=50))
    mesh = swarm.meshes[0]
    effects = attack(swarm, (message(n) for n in count()), 20.0, 200)
    assert FOE in mesh.members.active
    heard = sum(isinstance(one, Deliver) for one in effects)
    assert 50 * 20 <= heard <= 50 * 23
    assert sum(one.last - one.first + 1 for one in effects if isinstance(one, Gapped)) > 0


def test_who_was_cut_off_is_not_let_in_and_not_dialled_for_ten_minutes() -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    swarm.carry(0, attack(swarm, FLOODS["garbage"][0], 10.0, 100))
    assert FOE not in mesh.members.active
    (again,) = mesh.linked(FOE, dialled=None, now=swarm.now)
    assert again == Drop(FOE, 429, "graylisted")
    assert mesh.receive(FOE, encode(Join("x:1")), now=swarm.now) == []
    until = swarm.now + GRAYLIST_S
    while swarm.now < until - 10:
        swarm.run(10.0)
        assert FOE not in mesh.members.active
    swarm.now = until + 1
    assert mesh.linked(FOE, dialled=None, now=swarm.now) == []


def test_a_graylisted_peer_that_we_dialled_frees_its_place() -> None:
    swarm = started(2)
    mesh = swarm.meshes[0]
    swarm.carry(0, attack(swarm, FLOODS["garbage"][0], 10.0, 100))
    contact = Contact(FOE, "n1:1")
    mesh.members._dialling[contact] = swarm.now + 10
    assert Drop(FOE, 429, "graylisted") in mesh.linked(FOE, dialled=contact, now=swarm.now)
    assert contact not in mesh.members._dialling


def test_topics_of_a_flood_are_bounded_and_cost_the_right_to_push_only() -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    attack(swarm, (message(1, f"x{n}", n.to_bytes(32, "big")) for n in count()), 60.0, 100)
    assert len(mesh.delivery.topics) == CONFIG.max_topics_per_peer + 1
    assert FOE in mesh.members.active
    assert mesh.delivery.broadcast.role(FOE) == "lazy"
    (row,) = [row for row in mesh.peers(now=swarm.now) if row.peer == FOE]
    assert row.faults[-1][0] == "topics"


def test_publishers_of_a_flood_are_bounded() -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    attack(swarm, (message(1, TOPIC, n.to_bytes(32, "big")) for n in count()), 20.0, 500)
    assert len(mesh.delivery.ledger) <= 2 * CONFIG.max_topics
    swarm.publish(2)
    swarm.run(5.0)
    assert swarm.delivered(0)[-1] == next(iter(swarm.published))


def test_ids_are_bounded_and_those_of_others_still_find_room_afterwards() -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    attack(swarm, (encode(Ihave(TOPIC, ids(n))) for n in count()), 3.0, 15)
    assert len(mesh.delivery.broadcast.missing) <= MAX_MISSING
    swarm.run(10.0)
    assert len(mesh.delivery.broadcast.missing) == 0


def test_wants_are_answered_at_a_bounded_rate() -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    for _ in range(60):
        swarm.publish(0, bytes(60_000))
    swarm.run(1.0)
    epoch = next(iter(swarm.published))[1]
    want = encode(Want((), TOPIC, node_id(0), epoch, ((1, 60),)))
    effects = attack(swarm, iter(lambda: want, b""), 10.0, 200)
    sent = sum(len(one.payload) for one in effects if isinstance(one, Send) and one.peer == FOE)
    assert sent < 10 * MIB
    assert mesh.stats()["fault_repair_rate"] > 0


def test_a_digest_of_impossible_numbers_is_one_gap_and_little_work() -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    top = 1 << 62
    digest = encode(Digest(TOPIC, {bytes([9]) * 32: (Held(1, top, ((1, top),)),)}, True))
    mesh.receive(FOE, digest, now=swarm.now)
    swarm.run(40.0)
    stream = mesh.delivery.ledger.find((TOPIC, bytes([9]) * 32), 1)
    assert stream is not None
    assert (stream.gapped_total, stream.missing_total) == (top, 0)
    assert mesh.held_bytes < MIB


def test_a_stranger_that_was_never_admitted_is_heard_about_nothing() -> None:
    swarm = started(2)
    mesh = swarm.meshes[0]
    stranger = b"s" * 32
    mesh.linked(stranger, dialled=None, now=swarm.now)
    for payload in (
        message(1),
        encode(Ihave(TOPIC, ids(1))),
        encode(Graft(TOPIC, ids(1)[0])),
        encode(Want(ids(1))),
        encode(Digest(TOPIC, {FOE: (Held(1, 5),)}, True)),
    ):
        assert mesh.receive(stranger, payload, now=swarm.now) == []
    assert mesh.stats()["strangers"] == 5
    assert len(mesh.delivery.ledger) == 0


def test_neighbors_with_need_cannot_push_out_who_we_dialled() -> None:
    swarm = started(8)
    mesh = swarm.meshes[0]
    ours = {peer for peer, one in mesh.members.active.items() if one.is_outbound}
    for number in range(50, 150):
        foe = bytes([number]) * 32
        mesh.linked(foe, dialled=None, now=swarm.now)
        mesh.receive(foe, encode(Neighbor(True, "foe:1")), now=swarm.now)
    kept = {peer for peer, one in mesh.members.active.items() if one.is_outbound}
    assert len(kept) >= min(2, len(ours))
    assert len(mesh.members.active) <= CONFIG.active
    assert len(mesh.members.passive) <= CONFIG.passive


NODES = st.sampled_from([node_id(0), FOE, node_id(2), bytes([77]) * 32])
RANGES = st.lists(st.integers(1, 9), max_size=4, unique=True).map(
    lambda numbers: tuple((one, one) for one in sorted(numbers))
)
HELD = st.builds(
    lambda epoch, top, holes: Held(epoch, max(top, 9), holes),
    st.integers(0, 3) | st.just((1 << 64) - 1),
    st.integers(1, 1 << 62),
    RANGES,
)
CONTACTS = st.builds(Contact, NODES, st.sampled_from(["", "n2:1", "n9:1"]))
TOPICS = st.sampled_from([TOPIC, "u", "v"])
WORDS = st.one_of(
    st.builds(
        lambda node, epoch, seq, topic, hop: Gossip(
            message_id(node, epoch, seq), topic, node, epoch, seq, 0, hop, b"x"
        ),
        NODES, st.integers(0, 3), st.integers(1, 1 << 62), TOPICS, st.integers(0, 32),
    ),
    st.builds(lambda topic, n: Ihave(topic, ids(n)[:9]), TOPICS, st.integers(0, 50)),
    st.builds(Graft, TOPICS, st.sampled_from([None, *ids(1)[:3]])),
    st.builds(Prune, TOPICS),
    st.builds(lambda t, n, e, r: Want((), t, n, e, r), TOPICS, NODES, st.integers(0, 3), RANGES),
    st.builds(Digest, TOPICS, st.dictionaries(NODES, HELD.map(lambda one: (one,)), max_size=3),
              st.booleans(), st.booleans()),
    st.builds(Gap, TOPICS, NODES, st.integers(0, 3), st.integers(1, 9), st.integers(1, 9)),
    st.builds(Join, st.just("n1:1"), st.booleans()),
    st.builds(ForwardJoin, CONTACTS, st.integers(0, 32)),
    st.builds(Neighbor, st.booleans(), st.just("n1:1")),
    st.builds(
        Shuffle, st.integers(0, 5), st.integers(0, 32), st.lists(CONTACTS, max_size=3).map(tuple)
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.tuples(WORDS, st.floats(0, 3)), max_size=60))
def test_no_words_of_a_peer_make_a_node_raise_or_stop_it_hearing_others(
    words: list[tuple[object, float]],
) -> None:
    swarm = started(3)
    mesh = swarm.meshes[0]
    for word, passes in words:
        swarm.carry(0, mesh.receive(FOE, encode(word), now=swarm.now))  # type: ignore[arg-type]
        swarm.now += passes
        swarm.wake()
        assert mesh.held_bytes < 4 * MIB
        for streams in mesh.delivery.ledger.streams.values():
            for one in streams:
                assert one.delivered_total + one.gapped_total + one.missing_total == one.top
    swarm.run(60.0)
    swarm.publish(2)
    swarm.run(40.0)
    assert next(iter(swarm.published)) in swarm.delivered(0)
