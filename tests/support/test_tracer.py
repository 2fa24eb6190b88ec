"""The tracer catches what a node writes to a disk, and nothing else."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_edge.store.medium import TmpfsMedium
from tests.support.edge import LOCAL, edge
from tests.support.tracer import NODE, TOOL, tracing
from tests.support.workstation import on_a_disk

CRIMES = {
    "open": "open(path, 'w').close()",
    "append": "open(path, 'ab').close()",
    "os.open": "os.close(os.open(path, os.O_CREAT | os.O_RDWR))",
    "read and write": "open(__file__, 'r+').close()",
    "mkdir": "os.mkdir(path)",
    "rename": "os.rename(there, path)",
    "link": "os.link(there, path)",
    "symlink": "os.symlink('/x', path)",
    "truncate": "os.truncate(there, 0)",
    "remove": "os.remove(there)",
    "chmod": "os.chmod(there, 0o600)",
    "utime": "os.utime(there)",
    "socket": "import socket; socket.socket(socket.AF_UNIX).bind(path)",
    "pathlib": "from pathlib import Path; Path(path).write_text('x')",
    "sqlite": "import sqlite3; sqlite3.connect(path).close()",
    "program": "import subprocess; subprocess.run(['true'])",
    "in a thread": "t = threading.Thread(target=open, args=(path, 'w')); t.start(); t.join()",
}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    if not on_a_disk(tmp_path):
        pytest.skip("the folder of this test is in RAM")
    (tmp_path / "there").write_text("x")
    return tmp_path


def planted(code: str, *, where: str = NODE, **names: object) -> Callable[[], None]:
    """A function that looks as if it were in a module of the node."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    source = f"import os, threading\ndef crime():\n{body}\n"
    space: dict[str, object] = {"__file__": names.get("there"), **names}
    exec(compile(source, f"{where}planted.py", "exec"), space)  # noqa: S102
    crime = space["crime"]
    assert callable(crime)
    return crime


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", CRIMES)
def test_each_way_to_write_to_a_disk_is_caught(name: str, disk: Path) -> None:
    crime = planted(CRIMES[name], path=f"{disk}/new", there=f"{disk}/there")
    with tracing() as tracer:
        crime()
    assert tracer.found, CRIMES[name]
    assert "overlay_edge/planted.py:3" in tracer.found[0] or "a library" in tracer.found[0]


@pytest.mark.parametrize(
    "code",
    [
        "open(there).read()",
        "os.listdir('/'); os.stat(there)",
        "open(ram + '/x', 'w').close(); os.rename(ram + '/x', ram + '/y'); os.remove(ram + '/y')",
        "open('/dev/null', 'w').close()",
        "open('/proc/self/coredump_filter', 'r+').close()",
        "fd = os.memfd_create('x'); open(f'/proc/self/fd/{fd}', 'wb').close(); os.close(fd)",
        "r, w = os.pipe(); open(w, 'w').close(); os.close(r)",
        "import socket; socket.socket(socket.AF_UNIX).bind('\\0nobody')",
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_reading_and_what_is_in_ram_is_let_through(code: str, disk: Path, ram_path: Path) -> None:
    with tracing() as tracer:
        planted(code, there=f"{disk}/there", ram=str(ram_path))()
    assert tracer.found == []


def test_what_a_test_or_the_operators_tool_writes_is_not_the_nodes(disk: Path) -> None:
    with tracing() as tracer:
        (disk / "by-a-test").write_text("x")
        planted("open(path, 'w').close()", where=TOOL, path=f"{disk}/by-ronctl")()
    assert tracer.found == []


async def test_a_library_on_the_loop_is_the_node_and_so_is_its_thread(disk: Path) -> None:
    with tracing() as tracer:
        asyncio.get_running_loop().call_soon(os.mkdir, disk / "on-the-loop")
        await asyncio.sleep(0)
        await asyncio.to_thread(os.mkdir, disk / "in-a-thread")
        thread = threading.Thread(target=os.mkdir, args=(disk / "in-another",))
        thread.start()
        thread.join()
    assert [line.split("'")[1].rpartition("/")[2] for line in tracer.found] == [
        *("on-the-loop", "in-a-thread", "in-another")
    ]


async def test_a_running_node_that_writes_to_a_disk_is_caught(disk: Path) -> None:
    with tracing() as tracer:
        async with edge(LOCAL) as running:
            assert tracer.found == []
            crime = planted("open(path, 'w').close()", path=f"{disk}/leak")
            running.node.view.look_downstream = crime  # type: ignore[method-assign]
            running.node.view.look_downstream()
    (line,) = tracer.found
    assert f"open '{disk}/leak'" in line
    assert "by overlay_edge/planted.py:3" in line


def test_objects_of_a_tmpfs_are_opened_beside_their_folder(ram_path: Path) -> None:
    with tracing() as tracer:
        medium = TmpfsMedium(str(ram_path))
        blob = medium.create()
        blob.append(b"x")
        blob.wipe()
        medium.close()
    assert tracer.found == []
