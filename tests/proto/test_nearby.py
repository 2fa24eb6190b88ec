from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.beacon import SERVICE
from overlay_edge.proto.nearby import (
    AGAIN_S,
    BROWSE_AT_MOST_S,
    LIFETIME_S,
    LOOKUPS_AT_ONCE,
    MAX_LOOKUPS,
    MAX_NODES,
    MAX_OF_ONE_HOST,
    MISSED_S,
    REASONS,
    Ask,
    Browse,
    Door,
    Effect,
    Joined,
    Left,
    Lookup,
    Nearby,
)

LAN = [ip_interface("10.0.0.1/16")]
PIN = "ab" * 32


def name(number: int) -> str:
    return f"{number:016x}.{SERVICE}"


def txt(number: int, pin: str = PIN) -> bytes:
    items = [f"id={number:016x}".encode(), f"fp={pin}".encode(), b"mesh=1"]
    return b"".join(bytes([len(item)]) + item for item in items)


def nearby() -> Nearby:
    found = Nearby(now=0.0)
    found.me = f"{0:016x}"
    return found


def answer(
    lan: Nearby, number: int, *, now: float, host: str = "", port: int = 9444, pin: str = PIN
) -> list[Effect]:
    host = host or f"10.0.{number // 250 + 1}.{number % 250 + 1}"
    return lan.found(
        name(number), txt=txt(number, pin), addresses=[host], port=port, own=LAN, now=now
    )


def meet(lan: Nearby, number: int, *, now: float, host: str = "", port: int = 9444) -> list[Effect]:
    effects = lan.heard(name(number), "10.0.0.9", now=now)
    assert effects == [Lookup(name(number))]
    return answer(lan, number, now=now, host=host, port=port)


def test_who_is_heard_is_looked_up_once_and_joins() -> None:
    lan = nearby()
    assert lan.heard(name(7), "10.0.0.9", now=1.0) == [Lookup(name(7))]
    assert lan.heard(name(7).upper().replace("LOCAL", "local"), "10.0.0.9", now=1.0) == []
    assert answer(lan, 7, now=1.2) == [Joined("10.0.1.8:9444", f"{7:016x}", PIN, True)]
    assert len(lan) == 1


def again(lan: Nearby, number: int, *, now: float) -> None:
    """One that is known says something, and is looked up when its old words are forgotten."""
    assert lan.heard(name(number), "10.0.0.9", now=now) == []
    assert lan.deadline() == now + AGAIN_S
    assert lan.wake(now=now + AGAIN_S) == [Lookup(name(number))]


def test_a_node_does_not_meet_itself() -> None:
    lan = nearby()
    assert lan.heard(name(0), "10.0.0.9", now=1.0) == []
    assert not lan.refused


def test_who_moves_leaves_the_old_address_and_joins_at_the_new_one() -> None:
    lan = nearby()
    meet(lan, 7, now=1.0)
    again(lan, 7, now=9.0)
    assert answer(lan, 7, now=11.0) == []
    again(lan, 7, now=19.0)
    assert answer(lan, 7, now=21.0, host="10.0.9.9") == [
        Left("10.0.1.8:9444", f"{7:016x}"),
        Joined("10.0.9.9:9444", f"{7:016x}", PIN, True),
    ]


def test_a_new_certificate_is_news() -> None:
    lan = nearby()
    meet(lan, 7, now=1.0)
    again(lan, 7, now=9.0)
    assert answer(lan, 7, now=11.0, pin="cd" * 32)[-1] == Joined(
        "10.0.1.8:9444", f"{7:016x}", "cd" * 32, True
    )


def test_a_goodbye_is_believed_at_once() -> None:
    lan = nearby()
    meet(lan, 7, now=1.0)
    assert lan.gone(name(7)) == [Left("10.0.1.8:9444", f"{7:016x}")]
    assert lan.gone(name(7)) == []


def test_who_falls_silent_is_asked_twice_and_forgotten() -> None:
    lan = nearby()
    assert lan.deadline() is None
    meet(lan, 7, now=0.0)
    seen: list[Effect] = []
    while (due := lan.deadline()) is not None:
        assert lan.wake(now=due - 0.001) == []
        seen += lan.wake(now=due)
    assert seen == [Ask(name(7)), Ask(name(7)), Left("10.0.1.8:9444", f"{7:016x}")]
    assert due is None


def test_who_answers_stays() -> None:
    lan = nearby()
    meet(lan, 7, now=0.0)
    for _ in range(5):
        due = lan.deadline()
        assert due is not None
        assert lan.wake(now=due) == [Ask(name(7))]
        again(lan, 7, now=due)
        answer(lan, 7, now=due)
        assert lan.deadline() == due + 0.8 * LIFETIME_S


def test_there_is_room_for_a_few_and_who_is_known_keeps_its_place() -> None:
    lan = nearby()
    for number in range(1, MAX_NODES + 1):
        meet(lan, number, now=number)
    assert lan.heard(name(999), "10.0.0.9", now=MAX_NODES + 1) == []
    assert lan.refused == {"full": 1}
    assert answer(lan, 999, now=1.0) == []
    assert len(lan) == MAX_NODES
    again(lan, 1, now=MAX_NODES + 2)


def test_a_burst_of_changes_is_looked_at_a_few_at_a_time() -> None:
    lan = nearby()
    for number in range(1, MAX_NODES + 1):
        meet(lan, number, now=number)
    for number in range(1, MAX_NODES + 1):
        lan.heard(name(number), "10.0.0.9", now=70.0)
    effects = lan.wake(now=70.0 + AGAIN_S)
    assert len(effects) == min(MAX_LOOKUPS, LOOKUPS_AT_ONCE)
    for effect in effects:
        assert isinstance(effect, Lookup)
        lan.failed(effect.instance)
    assert lan.deadline() == 70.0 + 2 * AGAIN_S
    assert not lan.refused


def test_a_flood_of_names_is_looked_up_at_a_walk() -> None:
    lan = nearby()
    effects = [
        e for number in range(1, 10_000) for e in lan.heard(name(number), str(number), now=1.0)
    ]
    assert len(effects) == min(MAX_LOOKUPS, LOOKUPS_AT_ONCE)
    for effect in effects:
        assert isinstance(effect, Lookup)
        lan.failed(effect.instance)
    assert lan.refused["rate"] == 9_999 - len(effects)
    assert lan.refused["silent"] == len(effects)
    later = [
        e for number in range(1, 10_000) for e in lan.heard(name(number), str(number), now=2.0)
    ]
    assert 0 < len(later) < LOOKUPS_AT_ONCE


def test_a_host_has_a_few_nodes_not_one_at_each_port() -> None:
    lan = nearby()
    for number in range(1, MAX_OF_ONE_HOST + 1):
        assert meet(lan, number, now=number, host="10.0.0.9", port=number)
    assert meet(lan, 99, now=90.0, host="10.0.0.9", port=99) == []
    assert lan.refused == {"host": 1}


def test_one_machine_cannot_keep_us_from_looking_up_others() -> None:
    lan = nearby()
    flood = [e for number in range(1, 999) for e in lan.heard(name(number), "10.0.0.9", now=1.0)]
    assert len(flood) == MAX_OF_ONE_HOST
    assert lan.heard(name(1000), "10.0.0.8", now=1.0) == [Lookup(name(1000))]


def test_it_asks_who_is_there_ever_more_rarely() -> None:
    lan = nearby()
    assert lan.deadline() is None
    lan.browse(now=0.0)
    times = []
    while (due := lan.deadline()) is not None and due < 10_000:
        times.append(due)
        assert lan.wake(now=due) == [Browse(())]
    assert times[:5] == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert times[-1] - times[-2] == BROWSE_AT_MOST_S


def test_who_was_missed_is_asked_for_again_and_who_is_known_need_not_answer() -> None:
    lan = nearby()
    meet(lan, 1, now=0.0)
    lan.browse(now=0.0)
    for due in (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0):
        assert lan.wake(now=due) == [Browse((name(1),))]
    for number in range(2, 20):
        lan.heard(name(number), "10.0.0.9", now=64.0)
    lan.heard(name(1), "10.0.0.9", now=66.0)
    assert Browse((name(1),)) not in lan.wake(now=63.0 + MISSED_S)
    assert Browse((name(1),)) in lan.wake(now=64.0 + MISSED_S)


def test_two_names_of_one_address_are_one_place_to_dial() -> None:
    lan = nearby()
    assert meet(lan, 1, now=1.0, host="10.0.0.9") != []
    assert meet(lan, 2, now=2.0, host="10.0.0.9") == []
    assert lan.gone(name(1)) == []
    assert lan.gone(name(2)) == [Left("10.0.0.9:9444", f"{2:016x}")]


def test_who_speaks_for_another_is_not_believed() -> None:
    lan = nearby()
    lan.heard(name(7), "10.0.0.9", now=1.0)
    assert lan.found(name(7), txt=txt(8), addresses=["10.0.0.9"], port=1, own=LAN, now=1.0) == []
    assert lan.refused == {"text": 1}


def test_what_cannot_be_dialled_is_not() -> None:
    lan = nearby()
    lan.heard(name(7), "10.0.0.9", now=1.0)
    assert answer(lan, 7, now=1.0, host="8.8.8.8") == []
    lan.heard("x._http._tcp.local.", "10.0.0.9", now=1.0)
    assert lan.refused == {"address": 1, "name": 1}


def test_without_a_network_nobody_is_near() -> None:
    lan = nearby()
    meet(lan, 1, now=1.0)
    meet(lan, 2, now=3.0)
    assert len(lan.clear()) == 2
    assert len(lan) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["heard", "found", "failed", "gone", "wake"]),
            st.integers(0, 90),
            st.sampled_from(["10.0.0.7", "10.0.0.8", "8.8.8.8", "x"]),
            st.floats(0, 100),
        ),
        max_size=80,
    )
)
def test_whatever_happens_who_joined_leaves_and_nobody_twice(
    steps: list[tuple[str, int, str, float]],
) -> None:
    lan = nearby()
    there: set[str] = set()
    now = 0.0
    for what, number, host, wait in steps:
        now += wait
        match what:
            case "heard":
                effects = lan.heard(name(number), "10.0.0.9", now=now)
            case "found":
                effects = answer(lan, number, now=now, host=host, port=number)
            case "gone":
                effects = lan.gone(name(number))
            case "wake":
                effects = lan.wake(now=now)
            case _:
                lan.failed(name(number))
                effects = []
        for effect in effects:
            if isinstance(effect, Joined):
                assert effect.addr not in there
                there.add(effect.addr)
            elif isinstance(effect, Left):
                there.remove(effect.addr)
        assert len(lan) <= MAX_NODES
    for effect in lan.clear():
        assert isinstance(effect, Left)
        there.remove(effect.addr)
    assert not there
    assert lan.refused.keys() <= REASONS.keys()


def test_one_source_cannot_have_the_door_for_itself() -> None:
    door = Door(now=0.0)
    rate, at_once = Door.PER_SOURCE
    assert sum(door.admits("10.0.0.9", now=0.0) for _ in range(1000)) == at_once
    assert door.admits("10.0.0.8", now=0.0)
    assert sum(door.admits("10.0.0.9", now=1.0) for _ in range(1000)) == rate


def test_all_sources_together_are_bounded_and_so_is_what_is_remembered() -> None:
    door = Door(now=0.0)
    assert (
        sum(door.admits(f"10.0.{n // 250}.{n % 250}", now=0.0) for n in range(5000)) == Door.ALL[1]
    )
    assert len(door) == Door.MAX_SOURCES
