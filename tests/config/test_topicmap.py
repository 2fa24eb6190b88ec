"""Topic map: what is mapped to what, and which maps are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import parse
from overlay_edge.config.topicmap import TopicMap, conflicts, is_match, split_map
from overlay_edge.errors import ConfigError

HEAD = '[gossip]\nenabled = true\n[mqtt]\nurl = "mqtts://broker:8883"\n'
LEVELS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(HEAD + text)
    return tuple(caught.value.mistakes)


@pytest.mark.parametrize(
    ("one", "topic", "found"),
    [
        ("plant/a -> site/a", "plant/a", "site/a"),
        ("plant/a -> site/a", "plant/a/b", None),
        ("plant/+ -> site", "plant/a", "site/a"),
        ("plant/+ -> site", "plant/a/b", None),
        ("plant/+ -> site", "plant", None),
        ("plant/# -> site", "plant/a/b", "site/a/b"),
        ("plant/# -> site", "plant", "site"),
        ("plant/# -> site", "plants/a", None),
        ("# -> all", "a/b", "all/a/b"),
        ("# -> all", "$SYS/load", None),
        ("+ -> all", "a", "all/a"),
        ("+ -> all", "a/b", None),
    ],
)
def test_a_topic_of_the_broker_becomes_one_of_the_mesh(
    one: str, topic: str, found: str | None
) -> None:
    assert TopicMap((), (one,)).inward(topic) == found


def test_a_topic_of_the_mesh_becomes_one_of_the_broker() -> None:
    topics = TopicMap(("site/x -> plant/x",), ())
    assert topics.outward("site/x") == "plant/x"
    assert topics.outward("site/y") is None


def test_what_bridges_tell_of_themselves_is_never_a_message() -> None:
    topics = TopicMap((), ("# -> all",), own=("overlay-edge", ""))
    assert topics.inward("overlay-edge/aa/state") is None
    assert topics.inward("overlay-edges") == "all/overlay-edges"


def test_maps_are_spelt_in_one_way() -> None:
    mqtt = parse(HEAD + 'in = ["plant/#->site", "plant/# -> site"]').mqtt
    assert mqtt.in_topics == ("plant/# -> site",)


def test_a_mirror_is_allowed() -> None:
    parse(HEAD + 'in = ["plant/# -> site"]\nout = ["site/x -> plant/x"]')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('in = ["a"]', 'mqtt.in: a list, expected each as "from -> to", with one arrow'),
        ('in = ["a/+/b -> c"]', 'mqtt.in: a list, expected "a/+/b" to have a wildcard only at'),
        ('in = ["a/b# -> c"]', 'mqtt.in: a list, expected "a/b#" to have its wildcard alone in'),
        ('in = ["a/#/b -> c"]', 'mqtt.in: a list, expected "a/#/b" to have a wildcard only at'),
        ('in = ["$SYS/# -> c"]', 'mqtt.in: a list, expected "$SYS/#" to be a topic or filter'),
        ('in = ["$share/g/a -> c"]', 'mqtt.in: a list, expected "$share/g/a" to be a topic'),
        ('in = ["a -> "]', "mqtt.in: a list, expected a topic of the mesh of 1 to 128"),
        ('in = ["a -> b/#"]', 'mqtt.in: a list, expected "b/#" to be a topic of the mesh, which'),
        ('out = ["a/# -> b"]', 'mqtt.out: a list, expected "a/#" to be a topic of the mesh'),
        ('out = ["a -> b/+"]', 'mqtt.out: a list, expected "b/+" to be a topic without wildcards'),
        ("out = 3", 'mqtt.out: 3, expected a list of up to 64 of "from -> to"'),
        (
            'out = ["a -> x", "a -> y"]',
            'mqtt.out: "a" is mapped twice, expected once',
        ),
        (
            'out = ["a -> x"]\nin = ["x -> b"]',
            'mqtt.out: "a -> x" comes back as "b" through mqtt.in "x -> b", expected the same',
        ),
        (
            'in = ["a/# -> s", "a/b -> t"]',
            'mqtt.in: "a/#" and "a/b" hear the same topic, expected one of them',
        ),
    ],
)
def test_a_map_that_makes_no_sense_is_refused_by_its_key(text: str, expected: str) -> None:
    (line,) = mistakes(text)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[mqtt]\nout = ["a -> b"]', "mqtt.url: missing, expected because mqtt.out is set"),
        ('[mqtt]\ntelemetry = "t"', "mqtt.url: missing, expected because mqtt.telemetry is set"),
        (
            '[mqtt]\nurl = "mqtts://b"\nin = ["a -> b"]',
            "gossip.enabled: false, expected true because mqtt.out or mqtt.in is set",
        ),
        (
            '[mqtt]\nurl = "mqtt://127.0.0.1"',
            'mqtt.insecure: false, expected true because "mqtt://127.0.0.1" is not encrypted',
        ),
        (
            '[mqtt]\nurl = "mqtt://broker.example.org"\ninsecure = true',
            'mqtt.url: "mqtt://broker.example.org", expected mqtts:// to a host outside of this',
        ),
        (
            '[mqtt]\nurl = "mqtt://8.8.8.8"\ninsecure = true',
            'mqtt.url: "mqtt://8.8.8.8", expected mqtts:// to a host outside of this network',
        ),
        (
            '[mqtt]\nurl = "mqtts://b/topic"',
            'mqtt.url: "mqtts://b/topic", expected no path: topics are in mqtt.out and mqtt.in',
        ),
        ('[mqtt]\nwill = "a/#"', 'mqtt.will: "a/#", expected a topic without wildcards'),
        (
            '[gossip]\nenabled = true\n[mqtt]\nurl = "mqtts://b"\nout = ["a -> b"]\nwill = ""',
            'mqtt.will: "", expected a topic, by which the bridges of a broker know each other',
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    (line,) = caught.value.mistakes
    assert line.startswith(expected)


@given(LEVELS, LEVELS, st.sampled_from(["", "+", "#"]), st.sampled_from(["", "+", "#"]), LEVELS)
def test_filters_that_hear_one_topic_are_said_to(
    one: list[str], other: list[str], tail: str, other_tail: str, topic: list[str]
) -> None:
    first = "/".join([*one, tail]).rstrip("/")
    second = "/".join([*other, other_tail]).rstrip("/")
    heard = "/".join(topic)
    if is_match(first, heard) and is_match(second, heard):
        assert list(conflicts((), (f"{first} -> x", f"{second} -> y")))


@given(st.text(max_size=60))
def test_any_text_is_a_map_or_a_mistake(text: str) -> None:
    one = split_map(text)
    assert one.source == one.source.strip()
    TopicMap((), (text,)).inward("a/b")
