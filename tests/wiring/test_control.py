"""The control plane, bus and audit of a whole node, through the operator's own tool."""

import asyncio
import io
import json
from collections.abc import Callable

from overlay_edge.bus import Health
from overlay_edge.ctl.main import main
from overlay_edge.ending import Ending
from tests.support.edge import Edge, edge


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
