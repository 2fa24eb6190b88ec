"""Strangers: hostile peers, one of each kind, at one node, until nobody holds our stdin.

python -m tests.soak.strangers ADDRESS ADDR [KIND ...]

ADDR is an object of a few MiB at the node. At the end it prints one line of JSON: how many
connections each kind made, and the refusals it was sent, by token.

Each kind has one connection at a time and comes back as soon as it is thrown out.
"""

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from backports import zstd

from overlay_edge.errors import EdgeError
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    COMP,
    END,
    MAX_FRAME_BYTES,
    REQ,
    START,
    App,
    Frame,
    encode,
    encode_json,
)
from overlay_edge.proto.message import control_frame, read_refusal
from tests.soak.caller import HELLO, Caller, plain

NICE = 19  # they share a core with those who are measured
SMALL_BUFFER = 4096
AGAIN_S = 0.05  # before coming back
DRIP_S = 0.2
BATCH = 64
UNREAD_GETS = 16
HUGE = 1 << 30


@dataclass
class Seen:
    """What one kind did and was told."""

    connections: int = 0
    told: Counter[str] = field(default_factory=Counter)


class Stranger:
    """One hostile peer.

    Args:
        address: The node.
        addr: An object there.
    """

    def __init__(self, address: str, addr: str) -> None:
        self.address = address
        self.addr = addr
        self.seen = Seen()
        self.corr_id = 0

    def number(self) -> int:
        """A correlation id that was never used."""
        self.corr_id += 1
        return self.corr_id

    async def call(self, **options: Any) -> Caller:
        """Connect and greet."""
        caller = await Caller.greeted(self.address, **options)
        self.seen.connections += 1
        return caller

    def get(self) -> Frame:
        """A request for the object."""
        payload = encode_json({"op": "get", "addr": self.addr})
        return Frame(REQ | START | END, app=App.OBJECTS, corr_id=self.number(), payload=payload)

    async def listen(self, caller: Caller) -> None:
        """Count refusals until the node hangs up."""
        async for frame in caller.frames():
            if frame.code >= 400:
                self.seen.told[read_refusal(frame.code, frame.payload).token] += 1

    async def flood(self, frames: Callable[[], list[Frame]], *, pause_s: float = 0.0) -> None:
        """Write as fast as it is taken, and read what comes."""
        caller = await self.call()
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self.listen(caller))
                while not listening.done():
                    await caller.send(*frames())
                    await asyncio.sleep(pause_s)
        finally:
            caller.close()


async def never_reads(me: Stranger) -> None:
    """Asks for much and reads nothing."""
    caller = await me.call(buffer_bytes=SMALL_BUFFER)
    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await _ask_and_wait(me, caller)


async def reads_a_byte_a_second(me: Stranger) -> None:
    """Asks for much and takes it a byte at a time; no window of TCP's opens for that."""
    sock = await plain(me.address, buffer_bytes=SMALL_BUFFER)
    tls, incoming, outgoing = _by_hand()
    loop = asyncio.get_running_loop()
    try:
        while not await _step(tls, outgoing, sock):
            incoming.write(await loop.sock_recv(sock, 1 << 14))
        me.seen.connections += 1
        tls.write(HELLO + b"".join(encode(me.get()) for _ in range(UNREAD_GETS)))
        await loop.sock_sendall(sock, outgoing.read())
        while await loop.sock_recv(sock, 1):  # noqa: ASYNC110 - slowness is the point
            await asyncio.sleep(1)
    finally:
        sock.close()


async def drips_tls(me: Stranger) -> None:
    """Sends a ClientHello a byte at a time."""
    sock = await plain(me.address)
    tls, _, outgoing = _by_hand()
    try:
        me.seen.connections += 1
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        for byte in outgoing.read():
            await asyncio.get_running_loop().sock_sendall(sock, bytes([byte]))
            await asyncio.sleep(DRIP_S)
    finally:
        sock.close()


async def drips_hello(me: Stranger) -> None:
    """Sends HELLO a byte at a time."""
    caller = await Caller.dial(me.address)
    me.seen.connections += 1
    await _drip(me, caller, HELLO)


async def drips_a_header(me: Stranger) -> None:
    """Greets, then sends a frame a byte at a time."""
    caller = await me.call()
    await _drip(me, caller, encode(me.get()))


async def never_finishes(me: Stranger) -> None:
    """Opens uploads, sends their first bytes and never the rest."""

    def uploads() -> list[Frame]:
        corr_id = me.number()
        head = encode_json({"op": "put", "size": CHUNK_BYTES})
        return [
            Frame(REQ | START, app=App.OBJECTS, corr_id=corr_id, payload=head),
            Frame(REQ, app=App.OBJECTS, corr_id=corr_id, payload=bytes(100)),
        ]

    await me.flood(uploads, pause_s=0.02)


async def floods_pings(me: Stranger) -> None:
    """Pings without end."""
    await me.flood(lambda: [control_frame({"ping": n}) for n in range(BATCH)])


async def floods_not_found(me: Stranger) -> None:
    """Asks without end for what is not there."""

    def missing() -> list[Frame]:
        payload = encode_json({"op": "head", "addr": "b3:" + "0" * 64})
        return [
            Frame(REQ | START | END, app=App.OBJECTS, corr_id=me.number(), payload=payload)
            for _ in range(BATCH)
        ]

    await me.flood(missing)


async def sends_long_frames(me: Stranger) -> None:
    """Sends requests as long as a frame may be, and ends none."""
    payload = bytes(MAX_FRAME_BYTES - 38)

    await me.flood(lambda: [Frame(REQ | START, app=App.ECHO, corr_id=me.number(), payload=payload)])


async def sends_garbage(me: Stranger) -> None:
    """Greets, then sends noise."""
    caller = await me.call()
    try:
        caller.writer.write(os.urandom(CHUNK_BYTES))
        await me.listen(caller)
    finally:
        caller.close()


async def never_grants(me: Stranger) -> None:
    """Asks for more than a window, reads everything, and grants no credit."""
    await me.flood(lambda: [me.get()], pause_s=0.1)


async def sends_bombs(me: Stranger) -> None:
    """Sends little that inflates to much."""
    bomb = zstd.compress(bytes(HUGE >> 5))

    def bombs() -> list[Frame]:
        flags = REQ | START | END | COMP
        return [Frame(flags, app=App.ECHO, corr_id=me.number(), payload=bomb) for _ in range(8)]

    await me.flood(bombs)


KINDS: dict[str, Callable[[Stranger], Awaitable[None]]] = {
    kind.__name__: kind
    for kind in (
        never_reads,
        reads_a_byte_a_second,
        drips_tls,
        drips_hello,
        drips_a_header,
        never_finishes,
        floods_pings,
        floods_not_found,
        sends_long_frames,
        sends_garbage,
        never_grants,
        sends_bombs,
    )
}


def _by_hand() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    from tests.soak.caller import TLS

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return TLS.wrap_bio(incoming, outgoing, server_hostname="x"), incoming, outgoing


async def _step(tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, sock: Any) -> bool:
    is_done = True
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        is_done = False
    await asyncio.get_running_loop().sock_sendall(sock, outgoing.read())
    return is_done


async def _ask_and_wait(me: Stranger, caller: Caller) -> None:
    try:
        await caller.send(*(me.get() for _ in range(UNREAD_GETS)))
        while not caller.writer.transport.is_closing():
            # Nothing is read, so a hang-up is only noticed by writing.
            await caller.send(control_frame({"ping": 1}))
            await asyncio.sleep(0.5)
    finally:
        caller.close()


async def _drip(me: Stranger, caller: Caller, data: bytes) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(me.listen(caller))
            for byte in data:
                if listening.done():
                    break
                caller.writer.write(bytes([byte]))
                await asyncio.sleep(DRIP_S)
            listening.cancel()
    finally:
        caller.close()


async def _again(me: Stranger, kind: Callable[[Stranger], Awaitable[None]]) -> None:
    while True:
        # However the node ends it is fine: what must hold is measured elsewhere.
        with contextlib.suppress(OSError, EdgeError, ExceptionGroup, TimeoutError):
            await kind(me)
        await asyncio.sleep(AGAIN_S)


async def _run(address: str, addr: str, *kinds: str) -> dict[str, Stranger]:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    Thread(target=_wait_parent, args=(lambda: loop.call_soon_threadsafe(over.set),)).start()
    strangers = {name: Stranger(address, addr) for name in kinds or KINDS}
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_again(me, KINDS[name])) for name, me in strangers.items()]
        await over.wait()
        for task in running:
            task.cancel()
    return strangers


def _wait_parent(call: Callable[[], object]) -> None:
    while os.read(0, 1):
        pass
    call()


def main() -> None:
    """Be hostile until the parent has enough."""
    os.nice(NICE)
    strangers = asyncio.run(_run(*sys.argv[1:]))
    fields = {
        name: {"connections": me.seen.connections, "told": dict(me.seen.told)}
        for name, me in strangers.items()
    }
    print(json.dumps(fields))


if __name__ == "__main__":
    main()
