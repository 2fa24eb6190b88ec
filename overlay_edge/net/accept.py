"""Accept: take connections off a listening socket, no faster than somebody allows."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
OUT_OF_FILES_WAIT_S = 0.5  # somebody has to hang up first


async def accept_forever(
    sock: socket.socket,
    make_protocol: Callable[[str], asyncio.BaseProtocol],
    pace: Callable[[], Awaitable[None]],
    on_trouble: Callable[[OSError], None],
) -> None:
    """Accept until cancelled; callers wait in the backlog meanwhile.

    Args:
        sock: Listening, non-blocking; the caller closes it.
        make_protocol: Makes the protocol of a connection from a host.
        pace: Returns when the next caller may come in.
        on_trouble: Told when the machine has no more descriptors.
    """
    loop = asyncio.get_running_loop()
    while True:
        await pace()
        try:
            connection, name = await loop.sock_accept(sock)
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                on_trouble(error)
                await asyncio.sleep(OUT_OF_FILES_WAIT_S)
            continue  # a caller that hung up while it waited is no trouble
        try:
            host = str(name[0]) if isinstance(name, tuple) else ""
            protocol = make_protocol(host)
            await loop.connect_accepted_socket(lambda made=protocol: made, connection)  # type: ignore[misc]
        except OSError:
            connection.close()
