"""Crossing: each message crosses once, whoever of the bridges is there to carry it."""

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config.topicmap import TopicMap
from overlay_edge.proto.crossing import (
    KEY_BYTES,
    MAX_BRIDGES,
    MAX_TAG,
    OVERDUE_S,
    SETTLE_S,
    Crossing,
    Into,
    Out,
    tag_of,
)
from overlay_edge.proto.effects import Deliver

A, B, FAR = b"\x01" * 32, b"\x02" * 32, b"\x09" * 32
TOPICS = TopicMap(("site/x -> plant/x",), ("plant/# -> site",))


def new(me: bytes = A, *, max_items: int = 8, max_bytes: int = 1 << 20) -> Crossing:
    return Crossing(me, TOPICS, max_items=max_items, max_bytes=max_bytes, now=0)


def pair() -> tuple[Crossing, Crossing]:
    """Two bridges that know each other, settled: A leads."""
    both = new(A), new(B)
    for one in both:
        for node in (A, B):
            one.standing(node, "online", now=0)
    return both


def message(publisher: bytes = FAR, seq: int = 1, data: bytes = b"m") -> Deliver:
    return Deliver("site/x", publisher, 1, seq, data, "", 0, 1)


def heard(one: Crossing, data: bytes = b"c", *, now: float = 9) -> Into | None:
    return one.heard("plant/x", data, tag="", origin="", now=now)


def test_a_bridge_that_is_alone_carries_everything_at_once() -> None:
    one = new()
    one.standing(A, "online", now=0)
    assert one.delivered(message(), now=0) is not None
    assert one.heard("plant/x", b"c", tag="", origin="", now=0) is not None
    assert one.take_receipts(9) == b""  # for nobody


def test_of_two_bridges_the_lower_id_leads() -> None:
    lead, other = pair()
    assert lead.is_lead
    assert not other.is_lead
    assert isinstance(lead.delivered(message(), now=9), Out)
    assert other.delivered(message(), now=9) is None
    assert isinstance(heard(lead), Into)
    assert heard(other) is None
    assert len(other) == 2


def test_what_a_bridge_publishes_itself_only_it_carries_out() -> None:
    lead, other = pair()
    mine = message(B)
    assert lead.delivered(mine, now=9) is None
    assert isinstance(other.delivered(mine, now=9), Out)


def test_what_came_in_does_not_go_out_again() -> None:
    lead, other = pair()
    into = heard(lead)
    assert into is not None
    lead.published(into, 1, 7, now=9)
    echo = message(A, 7, b"c")
    assert lead.delivered(echo, now=9) is None
    assert other.delivered(echo, now=9) is None
    assert lead.counts == {"known": 1}


def test_what_went_out_does_not_come_in_again() -> None:
    lead, other = pair()
    out = lead.delivered(message(), now=9)
    assert out is not None
    for one in (lead, other):
        assert one.heard(out.topic, out.data, tag=out.tag, origin=A.hex(), now=9) is None
        assert one.counts == {"echo": 1}
    assert other.delivered(message(), now=9) is None  # the mesh was slower than the broker
    assert other.counts == {"echo": 1, "known": 1}


def test_equal_messages_of_plain_clients_are_two() -> None:
    one = new()
    one.standing(A, "online", now=0)
    for _ in range(2):
        into = heard(one)
        assert into is not None
        one.published(into, 1, 1, now=9)


def test_a_message_with_an_id_is_taken_once() -> None:
    one = new()
    one.standing(A, "online", now=0)
    into = one.heard("plant/x", b"c", tag="sensor.1", origin="another mesh", now=0)
    assert into is not None
    again = one.heard("plant/x", b"c", tag="sensor.1", origin="another mesh", now=0)
    assert again is not None  # nothing was said of the first: it may not have been published
    one.published(into, 1, 1, now=0)
    assert one.heard("plant/x", b"c", tag="sensor.1", origin="another mesh", now=0) is None
    assert one.counts == {"duplicate": 1}


def test_an_id_of_any_length_costs_little() -> None:
    one = new()
    one.standing(A, "online", now=0)
    assert one.heard("plant/x", b"", tag="x" * (MAX_TAG + 1), origin="", now=0) is None
    assert one.counts == {"tag": 1}


def test_receipts_empty_what_others_hold_oldest_first() -> None:
    lead, other = pair()
    for _ in range(2):
        into = heard(lead)
        heard(other)
        assert into is not None
        lead.published(into, 1, 1, now=9)
    out = lead.delivered(message(), now=9)
    other.delivered(message(), now=9)
    assert out is not None
    lead.done(out, now=9)
    assert len(other) == 3
    other.receipts(lead.take_receipts(1), now=9)
    assert len(other) == 2
    other.receipts(lead.take_receipts(9), now=9)
    assert len(other) == 0
    assert other.held_bytes == 0


def test_who_takes_over_waits_for_late_receipts_then_carries_what_is_left() -> None:
    lead, other = pair()
    first, second = heard(lead, b"1"), heard(lead, b"2")
    assert heard(other, b"1") is heard(other, b"2") is None
    assert other.delivered(message(), now=9) is None
    assert first is not None
    assert second is not None
    lead.published(first, 1, 1, now=9)
    other.standing(A, "offline", now=10)
    assert other.is_lead
    assert heard(other, b"3", now=10) is None  # behind those held
    assert other.due(now=10) == []
    assert other.deadline() == 10 + SETTLE_S
    other.receipts(lead.take_receipts(9), now=11)
    due = other.due(now=10 + SETTLE_S)
    assert [item.data for item in due] == [b"2", b"m", b"3"]
    assert heard(other, b"4", now=20) is not None


def test_what_the_lead_does_not_carry_goes_another_way_if_it_is_of_the_mesh() -> None:
    _, other = pair()
    heard(other, now=0)
    other.delivered(message(), now=0)
    assert other.due(now=OVERDUE_S - 1) == []
    assert other.deadline() == OVERDUE_S
    assert [item.data for item in other.due(now=OVERDUE_S)] == [b"m"]
    assert other.counts == {"spare": 1}


def test_without_a_broker_everything_is_held_and_the_oldest_gives_way() -> None:
    one = new(max_items=2)
    for seq in range(1, 5):
        assert one.delivered(message(seq=seq), now=0) is None
    assert one.counts == {"backlog": 2}
    one.standing(A, "online", now=1)
    assert [item.tag for item in one.due(now=1) if isinstance(item, Out)] == [
        tag_of(FAR, 1, 3),
        tag_of(FAR, 1, 4),
    ]


def test_what_a_bridge_published_while_it_was_cut_off_it_carries_when_it_is_back() -> None:
    lead, other = pair()
    other.lost(now=1)
    assert other.delivered(message(B), now=1) is None
    other.standing(B, "online", now=2)
    assert [item.data for item in other.due(now=2)] == [b"m"]
    assert lead.delivered(message(B), now=2) is None


def test_a_bridge_that_is_away_is_still_known_for_what_it_brought() -> None:
    lead, _ = pair()
    lead.standing(B, "offline", now=1)
    assert lead.delivered(message(B), now=2) is None
    lead.standing(B, "stopped", now=3)
    assert lead.delivered(message(B, 2), now=3) is not None


def test_names_of_bridges_cannot_fill_the_memory() -> None:
    one = new(b"\xff" * 32)
    one.standing(b"\xff" * 32, "online", now=0)
    for number in range(3 * MAX_BRIDGES):
        one.standing(number.to_bytes(32, "big"), "offline", now=0)
    assert one.delivered(message((3 * MAX_BRIDGES - 1).to_bytes(32, "big")), now=9) is not None
    assert one.delivered(message((0).to_bytes(32, "big"), 2), now=9) is None


def test_a_message_beyond_the_bound_is_counted() -> None:
    one = new(max_bytes=1000)
    assert one.delivered(message(data=bytes(600)), now=0) is None
    assert len(one) == 0
    assert one.counts == {"backlog": 1}


@given(st.binary(max_size=3 * KEY_BYTES))
def test_receipts_of_any_bytes_are_taken(keys: bytes) -> None:
    _, other = pair()
    heard(other)
    other.receipts(keys, now=9)
    assert len(other) == 1


STEPS = st.lists(
    st.sampled_from(["mesh", "mesh a", "mesh b", "client", "cut a", "cut b", "back", "wait"]),
    max_size=40,
)


class Yard:
    """Two bridges, a broker and a mesh that tell everybody everything at once, in one order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ones = {A: new(A, max_items=999), B: new(B, max_items=999)}
        self.linked: set[bytes] = set()
        self.missed: dict[bytes, list[tuple[str, object]]] = {A: [], B: []}
        self.mesh: Counter[bytes] = Counter()  # what reached the nodes
        self.broker: Counter[bytes] = Counter()  # what reached the clients
        self.seqs = count(1)
        for node in (A, B):
            self.back(node)

    def back(self, node: bytes) -> None:
        """The bridge's session goes on: first what it has missed, then its own birth."""
        self.linked.add(node)
        for kind, what in self.missed.pop(node):
            self._tell(node, kind, what)
        self.missed[node] = []
        for other in self.linked:  # retained
            if other != node:
                self._tell(node, "online", other)
        self.tell("online", node)

    def cut(self, node: bytes) -> None:
        if node in self.linked:
            self.linked.remove(node)
            self.ones[node].lost(now=self.now)
            self.tell("offline", node)

    def tell(self, kind: str, what: object) -> None:
        for node in self.ones:
            if node in self.linked:
                self._tell(node, kind, what)
            else:
                self.missed[node].append((kind, what))

    def _tell(self, node: bytes, kind: str, what: object) -> None:
        one = self.ones[node]
        if kind in ("online", "offline"):
            assert isinstance(what, bytes)
            one.standing(what, kind, now=self.now)
        elif kind == "done":
            sender, keys = what  # type: ignore[misc]
            if sender != node:
                one.receipts(keys, now=self.now)
        else:
            origin, out = what  # type: ignore[misc]
            tag = out.tag if origin else ""
            into = one.heard("plant/x", out.data, tag=tag, origin=origin, now=self.now)
            if into:
                self.carry(node, into)

    def publish(self, publisher: bytes, data: bytes) -> int:
        """A message of the mesh reaches everybody."""
        seq = next(self.seqs)
        self.mesh[data] += 1
        self.spread.append(message(publisher, seq, data))
        return seq

    spread: list[Deliver]

    def carry(self, node: bytes, item: Into | Out) -> None:
        one = self.ones[node]
        if isinstance(item, Into):
            one.published(item, 1, self.publish(node, item.data), now=self.now)
        else:
            self.broker[item.data] += 1
            one.done(item, now=self.now)
            self.outs.append((node.hex(), item))
        if keys := one.take_receipts(99):
            self.dones.append((node, keys))

    outs: list[tuple[str, Out]]
    dones: list[tuple[bytes, bytes]]

    def settle(self) -> None:
        """Until nothing is on its way any more."""
        while self.spread or self.outs or self.dones:
            if self.dones:
                self.tell("done", self.dones.pop(0))
            elif self.outs:
                self.tell("message", self.outs.pop(0))
            else:
                event = self.spread.pop(0)
                for node, one in self.ones.items():
                    if out := one.delivered(event, now=self.now):
                        self.carry(node, out)
            self.bring()

    def bring(self) -> None:
        for node, one in self.ones.items():
            for item in one.due(now=self.now):
                self.carry(node, item)


@given(STEPS)
def test_each_message_crosses_once_in_both_directions_whoever_comes_and_goes(
    steps: list[str],
) -> None:
    Yard.spread, Yard.outs, Yard.dones = [], [], []
    yard = Yard()
    expected_mesh: set[bytes] = set()
    expected_broker: set[bytes] = set()
    for number, step in enumerate([*steps, "back", "wait", "wait"]):
        data = b"%d" % number
        if step.startswith("mesh"):
            yard.publish({"mesh a": A, "mesh b": B}.get(step, FAR), data)
            expected_mesh.add(data)
            expected_broker.add(data)
        elif step == "client":
            expected_broker.add(data)  # its own
            yard.broker[data] += 1
            if yard.linked:
                expected_mesh.add(data)
            yard.tell("message", ("", Out("plant/x", data, b"", "")))
        elif step.startswith("cut"):
            yard.cut(A if step == "cut a" else B)
        elif step == "back":
            for node in sorted({A, B} - yard.linked):
                yard.back(node)
        else:
            yard.now += SETTLE_S
        yard.bring()
        yard.settle()
    assert set(yard.broker) == expected_broker
    assert set(yard.mesh) >= expected_mesh
    assert set(yard.broker.values()) | set(yard.mesh.values()) <= {1}
