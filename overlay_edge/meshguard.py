"""Meshguard: who is let into the mesh, where publishing needs a capability.

    dials       shows its capability with HELLO
    is dialled  shows its own in a request, ``{"op":"join"}``, once it has let the other in

Both must allow publish on the topic ``_mesh``, as who is in can publish anything. A capability
that names a holder is proven for the channel, so whoever it is shown to can do nothing with it.
"""

import asyncio
from collections.abc import Callable

from overlay_edge.errors import Refused, TransportError
from overlay_edge.host.clock import wall
from overlay_edge.link import Link
from overlay_edge.proto.authority import Authority, Presented
from overlay_edge.proto.capability import (
    EXPORTER_BYTES,
    EXPORTER_LABEL,
    Capability,
    Op,
    join_section,
)
from overlay_edge.proto.frame import App
from overlay_edge.proto.hello import Hello
from overlay_edge.proto.pubsub import JOIN, MESH_TOPIC
from overlay_edge.proto.session import Session

WAIT_S = 3.0  # who is dialled has to look at one capability and show another


class MeshGuard:
    """Shows what this node has, and asks the same of others.

    Args:
        authority: Says whether a capability is needed.
        cap: What this node shows; None = nothing.
        sign: Signs with the key of the holder that it names; None = it names none.
    """

    def __init__(
        self,
        authority: Authority,
        cap: Capability | None = None,
        sign: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.cap = cap
        self.sign = sign
        self._authority = authority
        self._awaited: dict[Session, asyncio.Future[None]] = {}

    def forget(self) -> None:
        """Let go of the capability and its key: the node leaves."""
        self.cap = self.sign = None

    def section(self, link: Link) -> bytes:
        """What is shown over a link; empty = nothing."""
        if self.cap is None:
            return b""
        proof = self.sign(link.export_key(EXPORTER_LABEL, EXPORTER_BYTES)) if self.sign else b""
        return join_section(proof, self.cap.token)

    def admit(self, link: Link, hello: Hello, caps: Presented) -> None:
        """Let in a node that has dialled us, and show it what we have.

        Raises:
            Refused: It is not who it says, or has no capability where one is needed.
        """
        if link.info is None or link.session is None or hello.node != link.info.node.hex():
            raise Refused(401, "unauth", "the node id is not that of a certificate it shows")
        caps.authorize(link.session.cap, Op.PUBLISH, MESH_TOPIC, now=wall())
        if section := self.section(link):
            link.session.request(App.GOSSIP, JOIN, cap=section)

    def expect(self, link: Link) -> bool:
        """A node that we have dialled is greeted; True = it has yet to show a capability."""
        if link.session is None or not self._authority.is_needed(Op.PUBLISH):
            return False
        self._awaited[link.session] = asyncio.get_running_loop().create_future()
        return True

    async def wait(self, link: Link) -> None:
        """Wait until it has.

        Raises:
            TransportError: It does not.
        """
        session = link.session
        joined = self._awaited.get(session) if session is not None else None
        if session is None or joined is None:
            raise TransportError("the link is gone")
        try:
            async with asyncio.timeout(WAIT_S):
                await joined
        except TimeoutError:
            raise TransportError("the node shows no capability for the mesh") from None
        finally:
            del self._awaited[session]

    def joined(self, session: Session, section: bytes, caps: Presented) -> None:
        """A peer shows a capability for the mesh.

        Raises:
            Refused: It is not good enough.
        """
        caps.authorize(section, Op.PUBLISH, MESH_TOPIC, now=wall())
        awaited = self._awaited.get(session)
        if awaited is not None and not awaited.done():
            awaited.set_result(None)
