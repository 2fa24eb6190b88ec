"""Addresses of neighbours, as a setting spells them: scheme, host, port and path, nothing hidden.

User names and passwords are refused: a setting is printed and compared, a file with the secret
is not.
"""

import ipaddress
import re
from typing import NamedTuple

from overlay_edge.config.values import Reader, split_addr

DEFAULT_PORTS = {"http": 80, "https": 443, "mqtt": 1883, "mqtts": 8883}
MAX_URL = 512
SHAPE = re.compile(r"([a-z]+)://([^/@?#\s]+)(/[!-~]*)?")


class Url(NamedTuple):
    """One address; ``path`` starts with a slash and may carry a query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_tls(self) -> bool:
        """True if the bytes travel over TLS."""
        return self.scheme in ("https", "mqtts")


def split_url(text: str) -> Url:
    """The parts of a URL.

    Raises:
        ValueError: It is not one; the text says what was expected.
    """
    match = SHAPE.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None or match[1] not in DEFAULT_PORTS:
        raise ValueError('a URL such as "https://host:port/path", without a user or password')
    scheme, place, path = match[1], match[2], match[3] or "/"
    has_port = re.search(r":[0-9]+$", place) is not None
    host, port = split_addr(place if has_port else f"{place}:{DEFAULT_PORTS[scheme]}")
    if not port:
        raise ValueError("a port of 1 to 65535")
    return Url(scheme, host, port, path)


def is_near(host: str) -> bool:
    """True if a host is this machine, or can only be one of the local network."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".lan", ".internal", ".home.arpa"))
    return found.is_loopback or found.is_private or found.is_link_local


def url(*schemes: str) -> Reader:
    """Reads a URL with one of the schemes, or nothing."""

    def read(value: object) -> str:
        expected = f"a URL of {' or '.join(schemes)}, or nothing"
        if not isinstance(value, str):
            raise ValueError(expected)
        if value and split_url(value).scheme not in schemes:
            raise ValueError(expected)
        return value

    return read


def topic_url(value: object) -> str:
    """Reads where the audit goes: an HTTP collector, or a broker with a topic as its path."""
    text: str = url("http", "https", "mqtt", "mqtts")(value)
    if text:
        found = split_url(text)
        topic = found.path.strip("/")
        if found.scheme.startswith("mqtt") and (not topic or set("+#?") & set(topic)):
            raise ValueError('a topic without wildcards, such as "mqtt://host/edge/audit"')
    return text
