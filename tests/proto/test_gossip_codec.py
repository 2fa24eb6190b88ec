"""Gossip codec: every kind there and back, and everything a peer may get wrong."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import PeerViolation
from overlay_edge.proto import cbor
from overlay_edge.proto.gossip_codec import decode, encode
from overlay_edge.proto.gossip_message import (
    HEADER_BYTES,
    MAX_ADDR_BYTES,
    MAX_DIGEST_BYTES,
    MAX_HOP,
    MAX_PAYLOAD_BYTES,
    MAX_TOPIC_BYTES,
    Contact,
    Digest,
    Disconnect,
    ForwardJoin,
    Gap,
    Gossip,
    Graft,
    Held,
    Ihave,
    Join,
    Message,
    Neighbor,
    NeighborReply,
    Prune,
    Shuffle,
    ShuffleReply,
    Want,
    message_id,
)

NODE = b"n" * 32
ID = b"i" * 16
CONTACT = Contact(NODE, "board:9444")
ADDR = "b3:" + "0f" * 32
DATA = Gossip(message_id(NODE, 7, 3), "a/b", NODE, 7, 3, 1 << 41, 2, b"data")
OBJECT = replace(DATA, data=b"", addr=ADDR, size=9, providers=(CONTACT, CONTACT))
EXAMPLES: list[Message] = [
    DATA,
    replace(DATA, data=b"", fanout=4, is_repair=True),
    OBJECT,
    Ihave("t", (ID, ID), (1, 2)),
    Graft("t"),
    Graft("t", ID),
    Prune("t"),
    Want((ID,)),
    Want((), "t", NODE, 7, ((1, 1), (3, 9))),
    Join("board:9444"),
    Join("", True),
    ForwardJoin(CONTACT, 6),
    Neighbor(True, ""),
    NeighborReply(False),
    Disconnect(True),
    Shuffle(1 << 50, 6, (CONTACT,)),
    ShuffleReply(0, ()),
    Digest("t", {NODE: (Held(7, 9, ((2, 3), (5, 5))), Held(6, 1))}, True, True),
    Digest("t", {}),
    Gap("t", NODE, 7, 1, 5),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=repr)
def test_every_kind_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


def test_every_kind_has_an_example() -> None:
    assert {type(message) for message in EXAMPLES} == set(Message.__args__)  # type: ignore[attr-defined]


def test_the_keys_are_those_of_the_contract() -> None:
    assert set(cbor.decode(encode(DATA))) == {
        "kind", "id", "topic", "ts", "hop", "data", "publisher", "epoch", "seq",
    }  # fmt: skip
    assert set(cbor.decode(encode(EXAMPLES[-1]))) == {
        "kind", "topic", "publisher", "epoch", "from", "to",
    }  # fmt: skip
    digest = cbor.decode(encode(EXAMPLES[-3]))
    assert digest["streams"] == {NODE: [7, 9, [2, 3, 5, 5], 6, 1, []]}


def test_a_kind_of_a_later_version_is_not_an_error() -> None:
    assert decode(cbor.encode({"kind": "song"})) is None


def test_the_longest_header_leaves_room_for_the_longest_data() -> None:
    addr = "x" * MAX_ADDR_BYTES
    big = replace(
        OBJECT,
        topic="t" * MAX_TOPIC_BYTES,
        epoch=(1 << 64) - 1,
        ts=(1 << 64) - 1,
        hop=MAX_HOP,
        size=1 << 53,
        providers=(Contact(NODE, addr), Contact(NODE, addr)),
        fanout=0xFFFF,
        is_repair=True,
    )
    assert len(encode(big)) < HEADER_BYTES
    assert len(encode(replace(DATA, topic="t" * 128, data=bytes(64 << 10)))) <= MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": 3}, "no kind"),
        ({"kind": None}, "no kind"),
        ({"topic": None}, "gossip without topic"),
        ({"topic": ""}, "gossip.topic: expected text of 1 to 128 bytes"),
        ({"topic": "ä" * 65}, "gossip.topic"),
        ({"topic": b"t"}, "gossip.topic"),
        ({"id": b"i" * 15}, "gossip.id: expected 16 bytes"),
        ({"publisher": "n" * 32}, "gossip.publisher: expected 32 bytes"),
        ({"epoch": -1}, "gossip.epoch"),
        ({"seq": 0}, "gossip.seq"),
        ({"seq": True}, "gossip.seq"),
        ({"seq": (1 << 62) + 1}, "gossip.seq"),
        ({"hop": 33}, "gossip.hop: expected 0 to 32"),
        ({"data": "text"}, "gossip.data"),
        ({"data": None}, "gossip without data"),
        ({"addr": ADDR}, "gossip of an object with data"),
        ({"addr": "b3:" + "0F" * 32}, "gossip.addr"),
        ({"addr": ADDR, "data": b""}, "without its size"),
        ({"providers": [[NODE, "a"]] * 3}, "gossip.providers"),
        ({"providers": [[NODE]]}, "gossip.providers"),
        ({"repair": 1}, "gossip.repair: expected true or false"),
    ],
)
def test_what_is_not_a_message_is_refused_by_its_key(changes: dict[str, object], why: str) -> None:
    body = cbor.decode(encode(DATA)) | changes
    body = {key: value for key, value in body.items() if value is not None or key == "kind"}
    with pytest.raises(PeerViolation, match=why) as caught:
        decode(cbor.encode(body))
    assert caught.value.name == "BadGossip"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "ihave", "topic": "t", "ids": [ID] * 65},
        {"kind": "ihave", "topic": "t", "ids": {}},
        {"kind": "want", "ranges": [1]},
        {"kind": "want", "ranges": [2, 1]},
        {"kind": "want", "ranges": [0, 1]},
        {"kind": "want", "ranges": [1, 3, 3, 4]},
        {"kind": "want", "ranges": ["a", "b"]},
        {"kind": "digest", "topic": "t", "streams": {NODE: [1, 2]}},
        {"kind": "digest", "topic": "t", "streams": {NODE: [1, 2, [2, 3]]}},
        {"kind": "digest", "topic": "t", "streams": {b"short": [1, 2, []]}},
        {"kind": "digest", "topic": "t", "streams": []},
        {"kind": "shuffle", "id": 1, "ttl": 3, "peers": [[NODE, ""]] * 17},
        {"kind": "forward_join", "peer": [NODE, "x" * 129], "ttl": 1},
        {"kind": "gap", "topic": "t", "publisher": NODE, "epoch": 1, "from": 0, "to": 1},
        ["kind"],
        7,
    ],
    ids=repr,
)
def test_lists_and_maps_are_bounded_and_in_order(body: object) -> None:
    with pytest.raises(PeerViolation):
        decode(cbor.encode(body))


def test_a_payload_longer_than_any_message_is_refused_unread() -> None:
    with pytest.raises(PeerViolation, match="limit"):
        decode(b"\xff" * (MAX_PAYLOAD_BYTES + 1))


KEYS = ["kind", "id", "topic", "data", "ids", "streams", "peers", "ranges", "epoch", "seq", "hop"]
VALUES = st.recursive(
    st.integers(-5, 1 << 63)
    | st.binary(max_size=40)
    | st.sampled_from(["gossip", "digest", "want", "shuffle", "t", ""])
    | st.booleans()
    | st.sampled_from([NODE, ID]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.just(NODE), inner, max_size=2),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_any_map_is_a_message_or_refused(body: dict[str, object]) -> None:
    try:
        message = decode(cbor.encode(body))
    except PeerViolation:
        return
    assert message is None or decode(encode(message)) == message


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    try:
        assert decode(noise) is None
    except PeerViolation as refused:
        assert refused.name in ("BadCbor", "BadGossip")


def test_a_full_digest_is_as_long_as_the_contract_says() -> None:
    held = tuple(
        Held(
            (1 << 64) - 1, 1 << 62, tuple((2 * n + (1 << 61), 2 * n + (1 << 61)) for n in range(32))
        )
        for _ in range(2)
    )
    assert len(encode(Digest("t" * 128, {NODE: held}, True, True))) < MAX_DIGEST_BYTES


def test_only_messages_are_long() -> None:
    body = cbor.decode(encode(Prune("t"))) | {"later": bytes(2 * MAX_DIGEST_BYTES)}
    with pytest.raises(PeerViolation, match="prune of 8"):
        decode(cbor.encode(body))
    assert decode(encode(replace(DATA, data=bytes(64 << 10))))
