"""The status page fits a serial console and says why, whatever the reasons contain."""

import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.admin.status import hosts_of_this_machine, render
from overlay_edge.admin.views import Counters
from overlay_edge.host.promise import Report
from overlay_edge.host.rules import Standing
from overlay_edge.proto.nearby import NOTHING_SEEN, Sightings
from tests.support.hand_view import FINGERPRINT, HandView, report, snapshot

HOSTS: dict[int, list[str]] = {
    socket.AF_INET: ["192.0.2.7", "198.51.100.2"],
    socket.AF_INET6: ["2001:db8::7"],
}


def page(view: HandView) -> list[str]:
    text = render(view.snapshot, view.identity, view.counted, view.listeners, HOSTS, view.promised)
    assert text.endswith("\n")
    return text.splitlines()


def test_a_ready_node_on_one_screen() -> None:
    counted = Counters(
        uptime_s=93784.9,
        sessions_active=3,
        sessions_opened=1201,
        inflight_open=2,
        rejected={"busy": 10, "timeout": 4},
        store_objects=12,
        store_bytes=42 << 20,
        store_limit_bytes=96 << 20,
    )
    assert page(HandView(counted=counted)) == [
        "overlay-edge 0.1.0   READY",
        "oap       127.0.0.1:9444",
        "admin     127.0.0.1:9600",
        "up        1d 02:03:04",
        "board     pi4, pq hybrid",
        "amnesia   on, kept; not disks",
        "sessions  3 open, 1201 since start",
        "requests  2 open, 14 refused",
        "objects   12, 42.0 of 96.0 MiB",
        "fingerprint, for ronctl --pin:",
        "  0123 4567 89ab cdef 0123 4567 89ab cdef",
        "  0123 4567 89ab cdef 0123 4567 89ab cdef",
    ]


@pytest.mark.parametrize(
    ("promised", "words"),
    [
        (report(disks=Standing.KEPT), "on, kept"),
        (report(allocator=Standing.BROKEN), "on, kept; not disks, allocator"),
        (report(swap=Standing.BROKEN, log=Standing.UNKNOWN), "BROKEN: swap, log"),
        (report(is_on=False), "off"),
    ],
)
def test_the_promise_is_one_line(promised: Report, words: str) -> None:
    assert f"amnesia   {words}" in page(HandView(promised=promised))


def test_a_listener_on_every_interface_shows_the_names_to_type() -> None:
    lines = page(HandView(listeners={"oap": "0.0.0.0:9444", "admin": "[::]:9600"}))
    assert lines[1:4] == [
        "oap       192.0.2.7:9444",
        "          198.51.100.2:9444",
        "admin     [2001:db8::7]:9600",
    ]


def test_the_name_on_the_local_network_is_shown_to_who_stands_before_it() -> None:
    lan = Sightings("overlay-123456-2.local", 3, 2, 1, {})
    assert "lan       overlay-123456-2.local, 3 other nodes" in page(
        HandView(counted=Counters(discovery=lan))
    )
    nameless = page(HandView(counted=Counters(discovery=NOTHING_SEEN)))
    assert "lan       no name, 0 other nodes" in nameless


def test_a_machine_without_addresses_still_says_where_it_listens() -> None:
    view = HandView(listeners={"oap": "0.0.0.0:9444"})
    text = render(view.snapshot, view.identity, view.counted, view.listeners, {}, view.promised)
    assert "oap       0.0.0.0:9444" in text


def test_a_notice_is_shown_on_a_node_that_serves() -> None:
    noticed = snapshot(degraded=True, config="odd")
    lines = page(HandView(replace(noticed, ready=True)))
    assert lines[0] == "overlay-edge 0.1.0   READY"
    assert lines[-2:] == ["ready, but:", "  config: odd"]


def test_the_reasons_are_named() -> None:
    lines = page(HandView(snapshot(degraded=True, config="oap.adr: unknown key")))
    assert lines[0] == "overlay-edge 0.1.0   DEGRADED"
    assert lines[-2:] == ["not ready because of:", "  config: oap.adr: unknown key"]


@pytest.mark.parametrize("degraded", [True, False])
@given(st.dictionaries(st.sampled_from(["bus", "config", "store", "tls"]), st.text(max_size=999)))
def test_the_page_always_fits_and_only_shows(degraded: bool, reasons: dict[str, str]) -> None:
    lines = page(HandView(snapshot(degraded=degraded, **reasons)))
    assert len(lines) <= 20
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    assert FINGERPRINT[:4] in " ".join(lines)


def test_loopback_is_no_address_for_others() -> None:
    hosts = hosts_of_this_machine()
    assert set(hosts) == {socket.AF_INET, socket.AF_INET6}
    assert not [host for found in hosts.values() for host in found if host.startswith("127.")]
