"""Listen: take an address, or say in one line why it cannot be had."""

import errno
import socket

from overlay_edge.errors import BindError

BACKLOG = 1024  # callers that wait while we start or while a burst is accepted


def listen(address: str, host: str, port: int, key: str) -> socket.socket:
    """Bind and listen; callers wait in the backlog until somebody accepts.

    Args:
        address: As the operator wrote it, for the error.
        host: Name or IP address.
        port: 0 = any free one.
        key: The setting it came from, for the error.

    Raises:
        BindError: It cannot be had.
    """
    try:
        family, kind, proto, _, name = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise BindError(f"{key}: {address}: {error.strerror}") from None
    except UnicodeError:  # a label that is empty or too long never gets to the resolver
        raise BindError(f"{key}: {address}: expected a host name or an IP address") from None
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] serves both families, wherever the system's own default stands.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        hint = (
            f"another program listens there; stop it, or set {key}"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise BindError(f"{key}: {address}: {error.strerror}", hint=hint) from None
    return sock
