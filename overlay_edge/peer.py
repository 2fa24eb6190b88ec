"""Peer: what is known of one connection, whoever dialled."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from overlay_edge.applications import Applications
from overlay_edge.errors import EdgeError
from overlay_edge.link import Link
from overlay_edge.proto.authority import Presented
from overlay_edge.proto.hello import Hello

MAX_USED = 16  # capabilities of one link remembered as recorded


class Called:
    """A node that we dial.

    Args:
        section: Makes the capability for the whole session, shown with HELLO; empty = none.
        on_greeted: Told at once when HELLO is done, before anything else of the peer's.

    Attributes:
        done: Over when it is greeted, or when it is known that it will not be.
    """

    def __init__(
        self, section: Callable[[Link], bytes], on_greeted: Callable[[Link, Hello], None]
    ) -> None:
        self.section = section
        self.on_greeted = on_greeted
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Peer:
    """One connection.

    Attributes:
        key: Whose quota its requests draw on; empty = nobody's.
        ticket: Its place among the half-open ones; None = we dialled it.
        called: Why we did.
        served: What its requests do, once TLS is up.
        caps: The capabilities it has presented.
        greeted: When HELLO was done, monotonic seconds.
        charged: Whose quota each admitted request drew on.
        used: Fingerprints of the capabilities whose use is recorded; as many as are remembered.
    """

    key: str
    ticket: int | None
    called: Called | None = None
    served: Applications | None = None
    caps: Presented | None = None
    greeted: float | None = None
    charged: dict[int, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def is_first_use(self, fingerprint: str) -> bool:
        """True when a capability is used for the first time, as far as is remembered."""
        if fingerprint in self.used:
            return False
        if len(self.used) >= MAX_USED:
            self.used.clear()  # recorded once more: better than growing
        self.used.add(fingerprint)
        return True


class TurnedAway(asyncio.Protocol):
    """A connection over the limit: ended before it costs a handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def unfinished(link: Link, reason: str) -> str:
    """Why a connection ended before HELLO was done; a metric label."""
    if "timeout" in reason:
        return "timeout"
    if link.session is not None:
        return "proto"
    return "tls" if reason else "closed"


def settle(done: "asyncio.Future[None]", error: EdgeError | None = None) -> None:
    """It is known how a call went; the first word counts."""
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
        done.exception()  # seen: whoever dialled may have given up
