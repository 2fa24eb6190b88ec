"""Messages: their ids, and the limits that all rooms rely on."""

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.gossip_message import (
    HEADER_BYTES,
    MAX_DATA_BYTES,
    MAX_PAYLOAD_BYTES,
    message_id,
)

NODES = st.binary(min_size=32, max_size=32)
U64 = st.integers(0, (1 << 64) - 1)


@given(NODES, U64, U64)
def test_an_id_is_the_hash_of_who_when_and_which(node: bytes, epoch: int, seq: int) -> None:
    whole = blake3(node + epoch.to_bytes(8, "big") + seq.to_bytes(8, "big")).digest()
    assert message_id(node, epoch, seq) == whole[:16]


@given(NODES, U64, U64, U64)
def test_two_epochs_never_share_an_id(node: bytes, epoch: int, other: int, seq: int) -> None:
    assert (message_id(node, epoch, seq) == message_id(node, other, seq)) == (epoch == other)


def test_a_message_is_a_chunk_and_a_header() -> None:
    assert MAX_DATA_BYTES == CHUNK_BYTES
    assert MAX_PAYLOAD_BYTES == CHUNK_BYTES + HEADER_BYTES
