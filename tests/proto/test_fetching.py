"""Fetching: one pull for one object, and few at a time."""

from overlay_edge.proto.effects import Fetch
from overlay_edge.proto.fetching import MAX_FETCHES, MAX_WAITING, Fetching
from overlay_edge.proto.gossip_message import Contact, Gossip, message_id

NODE, PEER = b"n" * 32, b"p" * 32
PROVIDER = Contact(NODE, "n:1")


def message(seq: int, addr: str) -> Gossip:
    id = message_id(NODE, 1, seq)
    return Gossip(id, "t", NODE, 1, seq, 0, 1, b"", addr, 9, (PROVIDER,))


def test_an_object_is_pulled_once_for_all_messages_that_name_it() -> None:
    here = Fetching()
    first, second = message(1, "b3:x"), message(2, "b3:x")
    assert here.begin(PEER, first) == [Fetch("b3:x", 9, first.topic, (PROVIDER,))]
    assert here.begin(None, second) == []
    assert here.held_bytes > 0
    assert here.end("b3:x") == [(PEER, first), (None, second)]
    assert here.end("b3:x") == []
    assert (len(here), here.held_bytes) == (0, 0)


def test_objects_and_what_waits_for_one_are_bounded() -> None:
    here = Fetching()
    begun = [here.begin(PEER, message(1, f"b3:{number}")) for number in range(MAX_FETCHES + 1)]
    assert begun[-1] is None
    assert None not in begun[:-1]
    waiting = [here.begin(PEER, message(seq, "b3:0")) for seq in range(2, MAX_WAITING + 2)]
    assert waiting == [[]] * (MAX_WAITING - 1) + [None]
