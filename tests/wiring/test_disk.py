"""The whole program, looked at by its system calls: whatever it does, it writes to no disk."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_edge.client import connect
from overlay_edge.ctl.main import main
from tests.support import strace
from tests.support.collector import collector
from tests.support.program import COMMAND, Program, program
from tests.support.workstation import HAS_SWAP, on_a_disk

PLANTED = """
import sys
import overlay_edge.view
sample = overlay_edge.view.View.sample
def leak(view):
    {crime}
    return sample(view)
overlay_edge.view.View.sample = leak
from overlay_edge.cli import entry
entry()
"""
CRIMES = {
    "open": "open({path!r}, 'w').close()",
    "rename": "import os; os.path.exists({there!r}) and os.rename({there!r}, {path!r})",
    "node": "import os; os.path.exists({path!r}) or os.mknod({path!r})",
    "extended attribute": "import os, contextlib\n"
    "    with contextlib.suppress(OSError): os.setxattr({there!r}, 'user.x', b'x')",
}


@pytest.fixture(scope="module", autouse=True)
def _needs_strace() -> None:
    if reason := strace.unusable():
        pytest.skip(reason)


async def use(node: Program) -> None:
    """Everything a node is asked to do."""
    data = os.urandom(3 << 20)
    async with connect(node.oap, pin=node.pin) as client:
        addr = await client.put(io.BytesIO(data), len(data))
        back = io.BytesIO()
        assert await client.get(addr, back.write) == len(data)
        assert back.getvalue() == data
        assert await client.echo(b"x" * 1000) == b"x" * 1000
    where = ["--addr", node.oap, "--admin", f"http://{node.admin}"]
    for words in (
        ["status"],
        ["amnesia", "report"],
        ["config", "reload"],
        ["audit", "tail"],
        ["purge", "--all"],
    ):
        is_off = words[0] == "amnesia" and HAS_SWAP
        assert await asyncio.to_thread(main, [*words, *where]) == int(is_off), words
    for page in ("metrics", "version", "readyz?verbose"):
        reader, writer = await asyncio.open_connection(*node.admin.split(":"))
        writer.write(f"GET /{page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        await reader.read(-1)
        writer.close()


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["memory files", "tmpfs"])
def test_from_its_start_to_its_end_it_writes_to_no_disk(ram_path: Path, medium: str) -> None:
    token, settings, store = (ram_path / name for name in ("token", "edge.toml", "store"))
    token.touch(mode=0o600)
    token.write_text("s3cret\n")
    store.mkdir(mode=0o700)
    output = ram_path / "strace"
    with collector() as (port, requests):
        settings.write_text(
            f'audit.sink = "http://127.0.0.1:{port}/"\naudit.credentials = "{token}"\n'
            + (f'store.path = "{store}"\n' if medium == "tmpfs" else "")
        )
        command = (*strace.command(output), sys.executable, "-B", *COMMAND[1:])
        with program(("--config", str(settings)), command) as node:
            asyncio.run(use(node))
            settings.write_text(settings.read_text() + 'log_level = "debug"\n')
            node.process.send_signal(signal.SIGHUP)
            asyncio.run(use(node))
        assert node.process.returncode == 0
        assert requests
    text = strace.finished(output, node.process.pid)
    assert "edge.toml" in text
    assert strace.outside(text, node.process.pid) == []


@pytest.mark.slow
@pytest.mark.parametrize("crime", CRIMES)
def test_one_that_is_made_to_leak_is_caught(crime: str, ram_path: Path, tmp_path: Path) -> None:
    if not on_a_disk(tmp_path):
        pytest.skip("the folder of this test is in RAM")
    there, path = tmp_path / "there", tmp_path / "leak"
    there.write_text("x")
    output = ram_path / "strace"
    code = PLANTED.format(crime=CRIMES[crime].format(path=str(path), there=str(there)))
    command = (*strace.command(output), sys.executable, "-B", "-c", code)
    with program((), command) as node:
        pass
    found = strace.outside(strace.finished(output, node.process.pid), node.process.pid)
    assert found
    assert all(str(tmp_path) in line for line in found)


def test_a_line_of_each_kind_is_understood(ram_path: Path) -> None:
    text = f"""\
7  openat(AT_FDCWD</work>, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>
7  openat(AT_FDCWD</work>, "{ram_path}/x", O_RDWR|O_CREAT, 0600) = 3<{ram_path}/x>
7  openat(5</proc/7>, "coredump_filter", O_WRONLY) = 3</proc/7/coredump_filter>
7  openat(AT_FDCWD</work>, "/dev/null", O_WRONLY) = 3</dev/null>
7  openat(AT_FDCWD</work>, "/proc/self/fd/9", O_RDWR) = 3</memfd:object (deleted)>
8  openat(5</proc>, "x", O_WRONLY <unfinished ...>
7  stat("/etc", {{st_mode=S_IFDIR}}) = 0
8  <... openat resumed>) = -1 ENOENT (No such file or directory)
7  mkdirat(5</proc/self>, "new", 0777) = -1 EACCES (Permission denied)
7  renameat2(5<{ram_path}>, "a", AT_FDCWD</proc>, "b", 0) = 0
7  newcall2031("/proc/version", 1) = 0
7  unlink(0x7ffe1234) = 0
7  openat(AT_FDCWD</work>, "/proc/self/fd/9", O_RDWR) = 3</proc/version>
7  bind(4<socket:[1]>, {{sa_family=AF_UNIX, sun_path="/proc/sock"}}, 10) = 0
7  bind(4<socket:[1]>, {{sa_family=AF_UNIX, sun_path=@"hidden"}}, 10) = 0
7  bind(4<socket:[1]>, {{sa_family=AF_INET, sin_port=htons(1)}}, 10) = 0
7  +++ exited with 0 +++
"""
    paths = [line.partition(": ")[0] for line in strace.outside(text, 7)]
    assert paths == [
        *("/proc/x", "/proc/b", "/proc/version", "?", "/proc/version", "/proc/sock"),
    ]


def test_without_the_right_to_trace_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strace, "STRACE", None)
    assert "not installed" in strace.unusable()
    monkeypatch.setattr(strace, "STRACE", "/bin/false")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "not allowed" in strace.unusable()
    assert subprocess.run(["/bin/false"]).returncode == 1
