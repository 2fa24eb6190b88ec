"""A storage as a process of its own, to be killed: ``python storage_program.py PORT BYTES``.

It has one object of so many zeros, sends half of it, and stalls; with a third argument it
sends all.
"""

import asyncio
import sys

from aiohttp import web


async def _serve(port: int, size: int, is_whole: bool) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.startswith("/o/"):
            return web.Response()
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        await response.write(bytes(size if is_whole else size // 2))
        if not is_whole:
            await asyncio.Event().wait()
        return response

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(web.Server(answer), "127.0.0.1", port)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3))
