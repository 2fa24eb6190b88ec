from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.beacon import (
    ADMIN_SERVICE,
    MAX_TXT_BYTES,
    SERVICE,
    Beacon,
    Claim,
    is_instance,
    is_on_link,
    reachable,
    read_txt,
    services,
    where_to_dial,
)

NODE = "1f3a5c7e9b0d2f46"
PIN = "ab" * 32
LAN = [ip_interface("192.168.7.5/24"), ip_interface("fe80::5/64"), ip_interface("fd00:7::5/64")]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared, not bound
BEACON = Beacon(NODE, PIN, True, "0.1.0", "pi4", "hybrid")


def packed(*items: bytes) -> bytes:
    return b"".join(bytes([len(item)]) + item for item in items)


def test_what_is_told_is_read_back() -> None:
    txt = packed(*(f"{key}={value}".encode() for key, value in BEACON.txt()))
    assert read_txt(txt) == Claim(NODE, PIN, True)


def test_a_node_may_keep_its_fingerprint_to_itself() -> None:
    assert read_txt(packed(b"id=" + NODE.encode())) == Claim(NODE, "", False)
    assert read_txt(packed(b"id=" + NODE.encode(), b"fp=")) == Claim(NODE, "", False)


def test_the_first_of_a_key_counts_in_any_case_and_what_is_not_known_is_passed_over() -> None:
    txt = packed(b"later", b"ID=" + NODE.upper().encode(), b"id=" + b"0" * 16, b"x=\xff\x00", b"")
    assert read_txt(txt) == Claim(NODE, "", False)


@pytest.mark.parametrize(
    "txt",
    [
        b"",
        packed(b"v=1"),
        packed(b"id"),
        packed(b"id=" + b"g" * 16),
        packed(b"id=" + b"0" * 15),
        packed(b"id=" + b"0" * 17),
        packed(b"id=" + NODE.encode(), b"fp=" + b"a" * 63),
        packed(b"id=" + NODE.encode())[:-1],
        packed(b"id=" + NODE.encode()) + b"\x09x",
        packed(b"id=" + NODE.encode(), *[b"y" * 255] * 6),
    ],
)
def test_what_makes_no_sense_is_not_believed(txt: bytes) -> None:
    assert read_txt(txt) is None


@given(st.binary(max_size=MAX_TXT_BYTES + 10))
def test_no_bytes_break_the_reader(txt: bytes) -> None:
    claim = read_txt(txt)
    assert claim is None or len(claim.node) == 16


@given(st.lists(st.binary(max_size=255), max_size=8))
def test_no_strings_break_the_reader(items: list[bytes]) -> None:
    claim = read_txt(packed(*items))
    assert claim is None or len(claim.fingerprint) in (0, 64)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.168.7.9", "192.168.7.9:9444"),
        ("fd00:7::9", "[fd00:7::9]:9444"),
        ("fe80::9%3", "[fe80::9%3]:9444"),
        ("fe80::9", None),  # without a zone it leads nowhere
        ("fe80::9%eth0;reboot", None),
        ("192.168.8.9", None),  # behind a router
        ("192.168.7.255", None),
        ("192.168.7.0.1", None),
        ("8.8.8.8", None),
        ("2001:4860::8", None),
        ("224.0.0.251", None),
        ("0.0.0.0", None),  # noqa: S104 - not bound
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
    ],
)
def test_only_neighbours_are_dialled(address: str, expected: str | None) -> None:
    assert where_to_dial([address], 9444, LAN) == expected


def test_a_public_address_on_the_link_is_not_dialled() -> None:
    assert where_to_dial(["8.8.8.8"], 9444, [ip_interface("8.8.8.1/24")]) is None


def test_the_newest_ipv4_address_is_dialled_first_and_a_link_local_one_last() -> None:
    many = ["fe80::9%3", "fd00:7::9", "192.168.7.9", "192.168.7.8"]
    assert where_to_dial(many, 1, LAN) == "192.168.7.9:1"
    assert where_to_dial(many[:2], 1, LAN) == "[fd00:7::9]:1"


@pytest.mark.parametrize("port", [0, -1, 65_536, None])
def test_a_port_that_is_none_is_not_dialled(port: int | None) -> None:
    assert where_to_dial(["192.168.7.9"], port, LAN) is None


@given(st.lists(st.text(max_size=40), max_size=4), st.integers(), st.booleans())
def test_no_address_breaks_anything(addresses: list[str], port: int, is_alone: bool) -> None:
    assert where_to_dial(addresses, port, [] if is_alone else LAN) is None


def test_loopback_is_a_link_for_who_has_asked_for_it() -> None:
    assert is_on_link(ip_address("127.0.0.9"), [ip_interface("127.0.0.1/8")])
    assert not is_on_link(ip_address("127.0.0.9"), LAN)


def test_a_listener_is_reached_at_the_addresses_of_its_families() -> None:
    assert [str(one) for one in reachable(EVERYWHERE, LAN)] == ["192.168.7.5"]
    assert len(reachable("::", LAN)) == 3
    assert [str(one) for one in reachable("192.168.7.5", LAN)] == ["192.168.7.5"]
    assert reachable("127.0.0.1", LAN) == []


def test_both_listeners_are_told_at_one_host() -> None:
    node, page = services(BEACON, "overlay-123456", "0.0.0.0:9444", "0.0.0.0:9600", LAN)
    assert (node.kind, node.instance, node.port) == (SERVICE, f"{NODE}.{SERVICE}", 9444)
    assert (page.kind, page.instance) == (ADMIN_SERVICE, f"overlay-123456.{ADMIN_SERVICE}")
    assert (page.port, dict(page.txt)) == (9600, {"path": "/status"})
    assert node.host == page.host == "overlay-123456.local."
    assert dict(node.txt)["fp"] == PIN
    assert node.addresses == page.addresses == (ip_address("192.168.7.5"),)


def test_an_admin_plane_that_answers_at_home_only_is_not_told() -> None:
    for admin in ("127.0.0.1:9600", "[::1]:9600"):
        told = services(BEACON, "overlay-123456", "0.0.0.0:9444", admin, LAN)
        assert [one.kind for one in told] == [SERVICE]


def test_a_node_on_loopback_tells_nothing() -> None:
    assert services(BEACON, "overlay-123456", "127.0.0.1:9444", "0.0.0.0:9600", LAN) == []


def test_an_instance_is_an_id_and_nothing_else() -> None:
    assert is_instance(f"{NODE}.{SERVICE}")
    assert is_instance(f"{NODE.upper()}-2.{SERVICE}")
    for name in ("", SERVICE, f"x.{SERVICE}", f"{NODE}.{ADMIN_SERVICE}", f"a.{NODE}.{SERVICE}"):
        assert not is_instance(name)
