"""Storage: an HTTP server with objects made from their number, to be killed.

python -m tests.soak.storage PORT

It prints the port it has, and ends with whoever holds its stdin.
"""

import asyncio
import os
import random
import sys
from functools import cache

from aiohttp import web
from blake3 import blake3

COUNT = 160
SIZES = (64 << 10, 256 << 10, 512 << 10)
PIECE_BYTES = 64 << 10
PIECE_S = 0.01  # so that a kill meets answers on their way


def content(number: int) -> bytes:
    """The bytes of an object."""
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])  # noqa: S311 - known bytes


@cache
def addresses() -> tuple[str, ...]:
    """The addresses of all objects, by number."""
    return tuple(f"b3:{blake3(content(number)).hexdigest()}" for number in range(COUNT))


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    addr = request.path.removeprefix("/o/")
    if addr not in addresses():
        return web.Response(status=404)
    data = content(addresses().index(addr))
    response = web.StreamResponse(headers={"Content-Length": str(len(data))})
    await response.prepare(request)
    if request.method == "GET":
        for at in range(0, len(data), PIECE_BYTES):
            await response.write(data[at : at + PIECE_BYTES])
            await asyncio.sleep(PIECE_S)
    return response


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    addresses()
    listener = await loop.create_server(web.Server(_answer), "127.0.0.1", port)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(_wait_parent)
    os._exit(0)


def _wait_parent() -> None:
    while os.read(0, 1):
        pass


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
