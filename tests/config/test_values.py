"""Values of the config: sizes, durations and addresses are read strictly and printed back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config.values import (
    MAX_SHOWN,
    addrs,
    bare,
    block_device,
    duration,
    format_duration,
    format_size,
    gpio_line,
    hex_words,
    literal,
    optional_addr,
    quoted,
    shown,
    size,
    split_addr,
)

ANY_SIZE = size(0, 1 << 62)
ANY_TIME = duration(0, 1 << 53)


@given(st.integers(0, 1 << 49))
def test_a_size_is_read_back_as_it_was_printed(count: int) -> None:
    assert ANY_SIZE.read(format_size(count)) == count


@given(st.integers(0, 1 << 40))
def test_a_duration_is_read_back_as_it_was_printed(ms: int) -> None:
    assert ANY_TIME.read(format_duration(ms / 1000)) == ms / 1000


def test_a_value_is_printed_with_its_largest_whole_unit() -> None:
    assert [format_size(n) for n in (0, 1, 1024, 1536, 3 << 20, 2 << 30)] == [
        "0B", "1B", "1KiB", "1536B", "3MiB", "2GiB",
    ]  # fmt: skip
    assert [format_duration(s) for s in (0, 0.25, 5, 90, 120, 7200)] == [
        "0s", "250ms", "5s", "90s", "2m", "2h",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value", ["64", "64KB", "64kib", " 64KiB", "64 KiB", "-1B", "1.5MiB", "", "KiB", "٣KiB", None]
)
def test_a_size_in_another_dialect_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a whole number, then B, KiB, MiB or GiB"):
        ANY_SIZE.read(value)


def test_a_size_without_a_unit_is_refused_with_the_spelling_that_was_meant() -> None:
    with pytest.raises(ValueError, match='"4096B"'):
        ANY_SIZE.read(4096)


@pytest.mark.parametrize("value", ["5", "5 s", "5S", "1d", "-1s", "0.5s", "1m30s", "", True])
def test_a_duration_in_another_dialect_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="then ms, s, m or h"):
        ANY_TIME.read(value)


@pytest.mark.parametrize("value", [5, 5.0])
def test_a_duration_without_a_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="in quotes with a unit"):
        ANY_TIME.read(value)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("127.0.0.1:9444", ("127.0.0.1", 9444)),
        ("localhost:0", ("localhost", 0)),
        ("edge-7.lan:65535", ("edge-7.lan", 65535)),
        ("[::]:9444", ("::", 9444)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_an_address_is_host_and_port(text: str, pair: tuple[str, int]) -> None:
    assert split_addr(text) == pair


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", "host:port"),
        ("localhost:", "host:port"),
        ("::1:9444", "host:port"),
        ("h:+1", "host:port"),
        ("h:1:2", "host:port"),
        ("h:65536", "a port of 0 to 65535"),
        (":9444", '"0.0.0.0:9444"'),
        ("[::1::]:1", "an IPv6 address"),
        ("[127.0.0.1]:1", "an IPv6 address"),
        ("256.0.0.1:1", "an IPv4 address"),
        ("1.2.3:1", "an IPv4 address"),
        ("-a:1", "a host name"),
        ("a..b:1", "a host name"),
        ("user@host:1", "a host name"),
    ],
)
def test_what_is_no_address_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        split_addr(text)


def test_text_of_a_flag_becomes_the_toml_value_it_means() -> None:
    assert [bare(t) for t in ("12", "-3", "0.5", "true", "false", "5s")] == [
        12, -3, 0.5, True, False, "5s",
    ]  # fmt: skip


@given(st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.integers())))
def test_a_wrong_value_is_repeated_on_one_short_printable_line(value: object) -> None:
    line = shown(value)
    assert line.isprintable()
    assert len(line) <= MAX_SHOWN + 3


def test_a_quoted_text_escapes_what_does_not_print() -> None:
    assert quoted('a"b\\\n') == '"a\\"b\\\\\\U0000000a"'


def test_a_number_too_long_to_print_is_described() -> None:
    assert shown(1 << 20_000) == "a number of more than 38 digits"


def test_a_list_of_keys_is_read_without_doubles_and_printed_back() -> None:
    keys = hex_words(4, 2)
    found = keys.read(["00ff", "00FF", "1234"][1:])
    assert found == ("00ff", "1234")
    assert literal(found, "") == '["00ff", "1234"]'
    assert keys.read("00ff,1234") == found
    assert keys.read([]) == keys.read("") == ()


@pytest.mark.parametrize("value", [["00f"], ["00fg"], [1], 5, None, ["0000"] * 3, "00ff 1234"])
def test_a_list_of_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a list of up to 2 texts of 4 hex digits"):
        hex_words(4, 2).read(value)


@pytest.mark.parametrize("name", ["", "sda", "mmcblk0", "nvme0n1p1", "dm-0", "a" * 32])
def test_a_block_device_is_named_as_the_kernel_names_it(name: str) -> None:
    assert block_device(name) == name


@pytest.mark.parametrize("name", ["/dev/sda", "a/b", "..", ".", "a" * 33, "sda\n", "s da", 5, None])
def test_a_path_is_no_block_device(name: object) -> None:
    with pytest.raises(ValueError, match="such as mmcblk0"):
        block_device(name)


@pytest.mark.parametrize("line", ["", "gpiochip0:17", "gpiochip12:0:low"])
def test_a_gpio_line_is_a_chip_and_a_number(line: str) -> None:
    assert gpio_line(line) == line


@pytest.mark.parametrize(
    "line",
    ["17", "gpiochip0", "gpiochip0:", "gpiochip:1", "gpiochip0:17:high", "../gpiochip0:1",
     "gpiochip0:17\n", "gpiochip0:123456", 17, True],
)  # fmt: skip
def test_what_is_no_gpio_line_is_refused(line: object) -> None:
    with pytest.raises(ValueError, match=r'such as "gpiochip0:17"'):
        gpio_line(line)


def test_a_list_of_addresses_is_read_from_toml_and_from_a_flag() -> None:
    read = addrs(3).read
    assert read(["a:1", "[::1]:2", "a:1"]) == ("a:1", "[::1]:2")
    assert read("a:1,b:2,") == ("a:1", "b:2")
    assert read([]) == ()


@pytest.mark.parametrize("value", [["a:1"] * 4, {"a": 1}, 3, ["a"], ["a:1", 2], [""]])
def test_what_is_no_short_list_of_addresses_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="host:port"):
        addrs(3).read(value)


def test_an_address_may_be_left_out_where_that_means_something() -> None:
    assert optional_addr("") == ""
    assert optional_addr("a:1") == "a:1"
    with pytest.raises(ValueError, match="host:port"):
        optional_addr("a")


def test_a_duration_can_be_a_cap() -> None:
    assert duration(0, 10, cap=True).cap
    assert not duration(0, 10).cap
