"""`ronctl bus tail`: each event one line, for people or as JSON."""

import json

from overlay_edge.bus import Health, ReadyChanged, SessionClosed
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled


def test_events_are_lines_until_the_node_ends(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.publish_once_heard(Health("links", ok=False), Health("a\x1b[2Jb", ok=True))
        done = ronctl("--admin", node.address, "bus", "tail", "--topic", "kernel")
    first, second = done.out.splitlines()
    assert done.code == 0
    assert first.endswith("Z health service=links ok=False")
    assert "service=a\\x1b[2Jb" in second


def test_each_event_is_a_json_object_and_a_count_ends_it(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.publish_once_heard(
            SessionClosed("10.0.0.1:5", "idle", 7), ReadyChanged(True, False, ())
        )
        done = ronctl(
            "--json", "--admin", node.address, "bus", "tail", "--topic", "overlay", "--count", "1"
        )
    event = json.loads(done.out)
    assert done.code == 0
    assert (event["event"], event["duration_ms"]) == ("session_closed", 7)


def test_an_unknown_topic_is_a_usage_error(ronctl: Ronctl) -> None:
    assert ronctl("bus", "tail", "--topic", "all").code == 2
    assert ronctl("bus", "tail").code == 2


def test_a_node_that_is_not_there_is_said(ronctl: Ronctl) -> None:
    done = ronctl("--admin", "127.0.0.1:1", "bus", "tail", "--topic", "kernel")
    assert done.code == 1
    assert "overlay-edge" in done.err
