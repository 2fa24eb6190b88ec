"""The control plane, bus and audit of a whole node, through the operator's own tool."""

import asyncio
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_edge.bus import Health
from overlay_edge.client import connect
from overlay_edge.ctl.main import main
from overlay_edge.ending import Ending
from tests.support.edge import Edge, edge
from tests.support.program import program


async def ronctl(running: Edge, *words: str, stdout: Callable[[], str]) -> tuple[int, str]:
    """Run a verb in a thread, as the loop serves it."""
    where = ["--addr", running.oap, "--admin", f"http://{running.admin}"]
    stdout()
    code = await asyncio.to_thread(main, [*where, *words])
    return code, stdout()


async def test_purge_reload_and_audit_work_from_loopback(capsys: object) -> None:
    def taken() -> str:
        return str(capsys.readouterr().out)  # type: ignore[attr-defined]

    async with edge() as running:
        async with running.client() as client:
            await client.put(io.BytesIO(b"to be purged"), 12)
        code, text = await ronctl(running, "purge", "--all", stdout=taken)
        assert (code, "1" in text) == (0, True)
        assert running.node.view.counters().store_objects == 0
        code, _ = await ronctl(running, "config", "reload", stdout=taken)
        assert code == 0
        assert running.node._reloader.version == 1
        code, text = await ronctl(running, "audit", "verify", "--live", stdout=taken)
        assert code == 0, text
        code, text = await ronctl(running, "audit", "tail", "--json", stdout=taken)
        kinds = [json.loads(line)["kind"] for line in text.splitlines()]
        assert kinds[0] == "start"
        assert "purge" in kinds


async def test_the_bus_can_be_listened_to_while_things_happen(capsys: object) -> None:
    def taken() -> str:
        return str(capsys.readouterr().out)  # type: ignore[attr-defined]

    async with edge() as running:
        heard = asyncio.create_task(
            ronctl(
                running, "bus", "tail", "--topic", "kernel", "--count", "1", "--json", stdout=taken
            )
        )
        await running.until(lambda: running.node.view.counters().control_streams)
        running.node._bus.publish(Health("test", ok=True))
        code, text = await heard
        assert code == 0
        assert json.loads(text)["service"] == "test"


async def test_a_stop_is_answered_then_drains_and_says_what_is_next(capsys: object) -> None:
    def taken() -> str:
        return str(capsys.readouterr().out)  # type: ignore[attr-defined]

    async with edge() as running:
        code, text = await ronctl(running, "stop", "--then", "reboot", stdout=taken)
        assert (code, text) == (0, "stopping, then reboot\n")
        assert running.task is not None
        assert await running.task is Ending.REBOOT
        assert '"then":"reboot"' in running.log
        assert running.node.view.readiness().missing == ("draining",)


def copies(pid: int, marker: bytes) -> int:
    """How often the marker is found in the memory of a process."""
    count = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights = line.split()[:2]
            low, high = (int(end, 16) for end in where.split("-"))
            if rights.startswith("rw"):
                memory.seek(low)
                count += memory.read(high - low).count(marker)
    return count


@pytest.mark.slow
async def test_a_purge_leaves_next_to_nothing_of_a_payload_in_the_process(capsys: object) -> None:
    """What is left shares its page with something else that lives; a tenth, measured."""
    marker = os.urandom(16)
    data = marker * (1 << 17)
    with program() as node:
        try:
            copies(node.process.pid, marker)
        except PermissionError:
            pytest.skip("this machine lets nobody look into another process")
        async with connect(node.oap, pin=node.pin) as client:
            for _ in range(3):
                addr = await client.put(io.BytesIO(data), len(data))
                await client.get(addr, lambda piece: None)
            before = copies(node.process.pid, marker)
            argv = ["--admin", node.admin, "purge", "--all"]
            assert await asyncio.to_thread(main, argv) == 0
            assert copies(node.process.pid, marker) <= before / 3
