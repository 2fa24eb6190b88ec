"""URLs of neighbours: whole, plain, and without secrets."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config.url import Url, split_url, topic_url, url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:8080/audit", Url("http", "127.0.0.1", 8080, "/audit")),
        ("https://collector.example", Url("https", "collector.example", 443, "/")),
        ("mqtts://[::1]/edge/audit", Url("mqtts", "::1", 8883, "/edge/audit")),
        ("mqtt://[::1]:1884/a", Url("mqtt", "::1", 1884, "/a")),
    ],
)
def test_a_url_has_a_scheme_a_host_a_port_and_a_path(text: str, expected: Url) -> None:
    assert split_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://host/",
        "http://",
        "http://user:word@host/",
        "http://host:0/",
        "http://host:99999/",
        "http://ho st/",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://host#x",
        "host:80",
        "http://" + "a" * 600,
    ],
)
def test_what_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is for people
        split_url(text)


@given(st.text(max_size=60))
def test_noise_is_refused_by_name(text: str) -> None:
    with suppress(ValueError):
        assert split_url(text).host


def test_a_setting_takes_its_own_schemes_only() -> None:
    read = url("http", "https")
    assert read("") == ""
    assert read("https://host/") == "https://host/"
    for wrong in ("mqtt://host/", 5):
        with pytest.raises(ValueError, match="http or https"):
            read(wrong)


@pytest.mark.parametrize("text", ["mqtt://host", "mqtt://host/", "mqtt://host/a/#", "mqtt://h/+/b"])
def test_a_broker_needs_one_topic(text: str) -> None:
    with pytest.raises(ValueError, match="topic without wildcards"):
        topic_url(text)


def test_a_collector_and_a_broker_are_taken() -> None:
    for text in ("", "http://host/", "mqtt://host/edge/audit"):
        assert topic_url(text) == text
