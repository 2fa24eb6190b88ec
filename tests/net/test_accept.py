"""Accepting: paced, and unshaken by callers that vanish or descriptors that run out."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from overlay_edge.net import accept
from overlay_edge.net.listen import listen


class Counting(asyncio.Protocol):
    made: list[str]

    def __init__(self, made: list[str], host: str) -> None:
        self._made, self._host = made, host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(self._host)
        transport.close()


class Listener:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.trouble: list[OSError] = []
        self.gate = asyncio.Semaphore(0)
        self.sock = listen("x", "127.0.0.1", 0, "oap.addr")
        self.port = self.sock.getsockname()[1]

    async def pace(self) -> None:
        await self.gate.acquire()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.made) < count:  # noqa: ASYNC110 - protocols have no event
                await asyncio.sleep(0.001)


@asynccontextmanager
async def accepting() -> AsyncIterator[Listener]:
    listener = Listener()
    task = asyncio.create_task(
        accept.accept_forever(
            listener.sock,
            lambda host: Counting(listener.made, host),
            listener.pace,
            listener.trouble.append,
        )
    )
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])
        listener.sock.close()


async def test_callers_come_in_only_as_fast_as_they_are_let() -> None:
    async with accepting() as listener:
        callers = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(3)]
        await asyncio.sleep(0)
        assert listener.made == []
        listener.gate.release()
        await listener.until(1)
        assert listener.made == ["127.0.0.1"]
        listener.gate.release()
        listener.gate.release()
        await listener.until(3)
        for caller in callers:
            caller.close()


async def test_a_machine_without_descriptors_is_told_of_and_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accept, "OUT_OF_FILES_WAIT_S", 0.001)
    async with accepting() as listener:
        loop = asyncio.get_running_loop()
        real, failures = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED]

        async def failing(sock: socket.socket) -> tuple[socket.socket, object]:
            if failures:
                raise OSError(failures.pop(0), "no")
            return await real(sock)

        monkeypatch.setattr(loop, "sock_accept", failing)
        for _ in range(3):
            listener.gate.release()
        with socket.create_connection(("127.0.0.1", listener.port)):
            await listener.until(1)
        assert [error.errno for error in listener.trouble] == [errno.EMFILE]
