"""What is taken is given back, in whatever way the node ends."""

import socket
from contextlib import AsyncExitStack

import pytest

from overlay_edge.config import DEFAULTS
from overlay_edge.errors import BindError
from overlay_edge.parts import bind, open_store
from tests.support.witness import watched


async def test_a_socket_is_noted_as_bound_and_closed_with_the_stack() -> None:
    listening: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        sock = bind(stack, "oap.addr", "127.0.0.1:0", listening)
        assert listening == {"oap.addr": f"127.0.0.1:{sock.getsockname()[1]}"}
    assert sock.fileno() < 0


async def test_an_address_in_use_is_told_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with AsyncExitStack() as stack:
            with pytest.raises(BindError, match=r"oap\.addr"):
                bind(stack, "oap.addr", f"127.0.0.1:{port}", {})


async def test_an_exception_wipes_the_store_on_its_way() -> None:
    async def fail() -> None:
        async with AsyncExitStack() as stack:
            store = open_store(stack, DEFAULTS.store, fds=100)
            upload = store.begin(5, None, now=0)
            upload.write(b"hello")
            upload.commit(now=0)
            store.begin(5, None, now=0).write(b"wor")
            raise ZeroDivisionError

    with watched() as witness:
        with pytest.raises(ZeroDivisionError):
            await fail()
        assert sorted(witness.lengths) == [3, 5]
