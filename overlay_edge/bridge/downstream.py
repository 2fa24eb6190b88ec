"""Downstream: HTTP to the services behind this edge, and nothing of what is asked of them.

Answers are read with suspicion: no redirect is followed, no cookie kept, nothing unpacked, and
each connection carries one call, so that what one answer left behind is not taken for the next.
Whatever goes wrong is a :class:`~overlay_edge.bridge.neighbour.Failed`.
"""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from yarl import URL

from overlay_edge.bridge.neighbour import Failed
from overlay_edge.config import DownstreamConfig
from overlay_edge.errors import ConfigError
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.retry import Outcome

HEADERS = {"Accept-Encoding": "identity", "User-Agent": "overlay-edge"}
MAX_LINE_BYTES = 4096  # of a status line, of one header; there may be 128
NAMES = ("index", "storage", "mailbox")


class HttpBody:
    """The bytes of one answer."""

    def __init__(self, response: aiohttp.ClientResponse, size: int, name: str) -> None:
        self.size = size
        self._response = response
        self._name = name

    async def read(self, limit: int) -> bytes:
        """See :class:`~overlay_edge.bridge.flight.Body`."""
        with _translated(self._name):
            return await self._response.content.read(limit)

    def close(self) -> None:
        """See :class:`~overlay_edge.bridge.flight.Body`."""
        self._response.close()


class Http:
    """A client; end it with ``close``.

    Args:
        config: Where the services are, and what is trusted.
    """

    def __init__(self, config: DownstreamConfig) -> None:
        self._bases = {name: getattr(config, name).rstrip("/") for name in NAMES}
        trust: ssl.SSLContext | bool = True
        if any(getattr(config, name).startswith("https:") for name in NAMES):
            try:
                trust = ssl.create_default_context(cafile=config.ca or None)
            except OSError as exc:
                raise ConfigError([f"downstream.ca: {config.ca}: no certificates in it"]) from exc
            trust.minimum_version = ssl.TLSVersion.TLSv1_2
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.timeout_s),
            auto_decompress=False,
            read_bufsize=CHUNK_BYTES,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def call(
        self,
        name: str,
        method: str,
        path: str,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpBody:
        """Send a call and return its answer, if it is a good one.

        Raises:
            Failed: It is not.
        """
        url = URL(self._bases[name] + path, encoded=True)
        with _translated(name):
            response = await self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            )
        failure = _judge(response, name)
        if failure is not None:
            response.close()
            raise failure
        size = response.content_length
        return HttpBody(response, -1 if size is None else size, name)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """What aiohttp raises, as an outcome."""
    try:
        yield
    except aiohttp.ClientConnectorError as exc:
        raise Failed(Outcome.UNREACHABLE, f"{name}: {_reason(exc)}") from exc
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
        raise Failed(Outcome.LIED, f"{name}: not HTTP as expected") from exc
    except aiohttp.ServerTimeoutError as exc:
        raise Failed(Outcome.TIMEOUT, f"{name}: no connection in time") from exc
    except (aiohttp.ClientError, OSError) as exc:
        if isinstance(exc, TimeoutError):
            raise
        raise Failed(Outcome.CUT, f"{name}: the connection broke") from exc


def _reason(exc: aiohttp.ClientConnectorError) -> str:
    if isinstance(exc, aiohttp.ClientSSLError):
        return "its certificate or TLS is not what is trusted"
    return exc.os_error.strerror or "no connection"


def _judge(response: aiohttp.ClientResponse, name: str) -> Failed | None:
    """What is wrong with the head of an answer."""
    status = response.status
    if 300 <= status < 400:
        return Failed(Outcome.LIED, f"{name}: a redirect, which is not followed")
    if status in (404, 410):
        return Failed(Outcome.MISSING, f"{name}: does not have it")
    if status in (429, 503):
        return Failed(Outcome.BUSY, f"{name}: busy ({status})", asked_s=_asked(response))
    if status >= 500:
        return Failed(Outcome.BROKEN, f"{name}: answered {status}")
    if status == 413:
        return Failed(Outcome.TOO_LARGE, f"{name}: answered {status}")
    if status >= 400:
        return Failed(Outcome.REFUSED, f"{name}: answered {status}")
    if status == 206 or response.headers.get("Content-Encoding", "identity") != "identity":
        return Failed(Outcome.LIED, f"{name}: part of an answer, or packed")
    return None


def _asked(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0.0
