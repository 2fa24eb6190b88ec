"""Dial: a connected socket, through TLS if asked for, without a thread and without blocking.

For libraries that want a socket of their own. The loop's streams cannot give theirs away.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

from overlay_edge.config.url import Url


async def dial(url: Url, context: ssl.SSLContext | None) -> socket.socket:
    """Connect to the first address that answers; bound it by a timeout.

    Args:
        url: Where.
        context: TLS, or None.

    Returns:
        A socket that does not block; close it.

    Raises:
        OSError: Nobody answers, or TLS with them fails.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{url.host}: no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
            if context is None:
                return sock
            sock = context.wrap_socket(
                sock, server_hostname=url.host, do_handshake_on_connect=False
            )
            await _shake_hands(sock)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            await _wait_for(loop.add_reader, loop.remove_reader, sock)
        except ssl.SSLWantWriteError:
            await _wait_for(loop.add_writer, loop.remove_writer, sock)


async def _wait_for(
    add: Callable[..., None], remove: Callable[[socket.socket], bool], sock: socket.socket
) -> None:
    ready = asyncio.Event()
    add(sock, ready.set)
    try:
        await ready.wait()
    finally:
        remove(sock)
