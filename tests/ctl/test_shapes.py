"""What arguments may look like."""

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from overlay_edge.ctl.shapes import digest, endpoint, object_address, seconds, topic, url

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("shape", "text", "value"),
    [
        (endpoint, "edge.local:9444", "edge.local:9444"),
        (endpoint, "[::1]:9444", "[::1]:9444"),
        (url, "http://127.0.0.1:9600/", "127.0.0.1:9600"),
        (url, "127.0.0.1:9600", "127.0.0.1:9600"),
        (digest, HEX, HEX),
        (digest, "SHA256:" + ":".join(HEX.upper()[i : i + 2] for i in range(0, 64, 2)), HEX),
        (digest, "  0123 4567 89ab cdef " + HEX[16:], HEX),
        (object_address, f"b3:{HEX}", f"b3:{HEX}"),
        (topic, "site/heat", "site/heat"),
        (seconds, "2.5", 2.5),
        (seconds, "5s", 5.0),
    ],
)
def test_a_good_one_is_taken(shape: Callable[[str], object], text: str, value: object) -> None:
    assert shape(text) == value


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (endpoint, "edge.local"),
        (topic, ""),
        (topic, "x" * 129),
        (topic, "a\n"),
        (endpoint, ":9444"),
        (endpoint, "edge:0"),
        (endpoint, "edge:65536"),
        (endpoint, "::1:9444"),
        (url, "https://edge:9600"),
        (url, "http://edge:9600/metrics"),
        (digest, HEX[:-1]),
        (digest, "g" * 64),
        (object_address, HEX),
        (object_address, f"b3:{HEX.upper()}"),
        (seconds, "0"),
        (seconds, "nan"),
        (seconds, "soon"),
    ],
)
def test_a_bad_one_says_what_was_expected(shape: Callable[[str], object], text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        shape(text)
