"""Topics: a bounded table, and a share of it for each peer."""

from overlay_edge.proto.topics import OURS, TOPIC_BYTES, Topics, is_topic

A, B = b"a" * 32, b"b" * 32


def table(most: int = 4, share: int = 2, *, idle: bool = False) -> Topics:
    return Topics(most, share, forget=lambda _topic, _now: idle)


def test_a_peer_brings_up_its_share_and_no_more() -> None:
    topics = table()
    assert [topics.admit(name, A, now=0.0) for name in "xyz"] == [True, True, False]
    assert topics.admit("z", B, now=0.0)
    assert topics.admit("z", A, now=0.0)  # it is known now
    assert topics.held_bytes == 3 * TOPIC_BYTES


def test_all_together_are_bounded() -> None:
    topics = table()
    assert all(topics.admit(name, OURS, now=0.0) for name in "abcd")
    assert not topics.admit("e", OURS, now=0.0)
    assert not topics.subscribe("e", now=0.0)


def test_what_is_idle_makes_room_but_not_what_is_subscribed() -> None:
    topics = table(most=2, idle=True)
    topics.subscribe("mine", now=0.0)
    topics.admit("other", A, now=0.0)
    assert topics.admit("new", A, now=0.0)
    assert "mine" in topics
    assert "other" not in topics
    topics.unsubscribe("mine")
    assert topics.admit("newer", A, now=0.0)
    assert len(topics) == 2


def test_a_topic_that_is_wanted_here_no_longer_counts_against_who_brought_it() -> None:
    topics = table()
    topics.admit("x", A, now=0.0)
    topics.admit("y", A, now=0.0)
    topics.subscribe("x", now=0.0)
    assert topics.admit("z", A, now=0.0)


def test_a_name_has_one_byte_at_least_and_128_at_most() -> None:
    assert is_topic("a")
    assert is_topic("x" * 128)
    assert not is_topic("")
    assert not is_topic("ä" * 65)
    assert not table().subscribe("", now=0.0)
