"""What a process still has in its memory, looked at from outside: keys and credentials."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.collector import collector
from tests.support.memory import count
from tests.support.mosquitto import MISSING, MOSQUITTO, Mosquitto, password_file

pytestmark = pytest.mark.slow
MASK = 0x5A  # a child tells its secret masked: what it prints must not be what is looked for

KEY = """
import gc, sys
from overlay_edge.certificate import Certificate
from overlay_edge.config import DEFAULTS, PqMode
from overlay_edge.host.secret import Secret

close, told = Secret.close, []
def tell(secret):
    if len(secret) > 32:
        told.append(bytes(byte ^ 0x5A for byte in secret.reveal()[-32:]))
    close(secret)
Secret.close = tell

certificate = Certificate(has_aes=True)
certificate.show(certificate.prepare(DEFAULTS.tls, PqMode.HYBRID))
print(told[0].hex(), flush=True)
sys.stdin.readline()
certificate.show(certificate.prepare(DEFAULTS.tls, PqMode.CLASSICAL))  # as a reload does
print(flush=True)
sys.stdin.readline()
certificate.forget()
gc.collect()
print(flush=True)
sys.stdin.readline()
"""


class Child:
    """A program that stops after each step; its memory is looked at meanwhile."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def said(self) -> str:
        return self._stdout.readline().strip()

    def go_on(self) -> str:
        self._stdin.write("\n")
        self._stdin.flush()
        return self.said()

    def count(self, **patterns: bytes) -> dict[str, int]:
        try:
            return count(self._process.pid, patterns)
        except PermissionError:
            pytest.skip("this user may not read the memory of its own child")


@contextmanager
def child(code: str) -> Iterator[Child]:
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()


def test_what_is_there_is_found_and_counted_once() -> None:
    marker = os.urandom(24)
    masked = bytes(byte ^ MASK for byte in marker).hex()
    code = (
        f"import sys; held = [bytes(b ^ {MASK} for b in bytes.fromhex('{masked}'))]\n"
        "held += [bytes(bytearray(held[0])) for _ in range(4)]\n"
        "print(flush=True); sys.stdin.readline()"
    )
    with child(code) as running:
        running.said()
        assert running.count(marker=marker, other=os.urandom(24)) == {"marker": 5, "other": 0}


def test_the_key_is_only_where_openssl_has_it_and_gone_when_it_is_forgotten() -> None:
    with child(KEY) as running:
        number = bytes(byte ^ MASK for byte in bytes.fromhex(running.said()))
        # Serialised it is big-endian; OpenSSL's number on these machines is little-endian.
        forms = {"serialised": number, "number": number[::-1]}
        assert running.count(**forms) == {"serialised": 0, "number": 1}
        running.go_on()
        assert running.count(**forms) == {"serialised": 0, "number": 1}
        running.go_on()
        assert running.count(**forms) == {"serialised": 0, "number": 0}


SINK = """
import asyncio, sys
from dataclasses import replace
from overlay_edge.bridge.audit import make_sink
from overlay_edge.config import AuditConfig
from overlay_edge.host.journal import Journal
from overlay_edge.proto.audit import AuditLog
from overlay_edge.proto.chain import Kind

async def main(url, path):
    log = AuditLog(writer="edge", boot="b1", max_records=99, max_bytes=1 << 20)
    config = replace(AuditConfig(), sink=url, credentials=path)
    sink = make_sink(log, config, Journal(sink=lambda line: None))
    task = asyncio.ensure_future(sink.run())
    for turn in range(3):
        log.append(Kind.PURGE, ts_ms=turn)
        await sink.drained()
    print(flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    task.cancel()
    await asyncio.wait([task])
    sink.close()
    print(flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(*{argv}))
"""


def test_credentials_are_in_one_place_while_the_sink_lives_and_nowhere_after(
    ram_path: Path,
) -> None:
    token = os.urandom(20).hex().encode()
    path = ram_path / "token"
    path.touch(mode=0o600)
    path.write_bytes(token + b"\n")
    with collector() as (port, requests):
        argv = (f"http://127.0.0.1:{port}/", str(path))
        with child(SINK.replace("{argv}", repr(argv))) as running:
            running.said()
            assert len(requests) == 3
            assert all(b"Authorization: Bearer " + token + b"\r\n" in head for head in requests)
            assert running.count(token=token) == {"token": 1}
            running.go_on()
            assert running.count(token=token) == {"token": 0}


BRIDGE = """
import asyncio, sys
from overlay_edge.bridge.mqtt_parts import make_bridge
from overlay_edge.config import MqttConfig
from overlay_edge.host.journal import Journal

async def main(port, path):
    url = f"mqtt://127.0.0.1:{port}"
    config = MqttConfig(url=url, insecure=True, credentials=path, telemetry="t")
    changed = asyncio.Event()
    bridge = make_bridge(
        config, None, telemetry=None, name="edge", journal=Journal(sink=lambda line: None),
        on_change=lambda reason: changed.set(),
    )
    task = asyncio.ensure_future(bridge.run())
    await changed.wait()
    print(bridge.health(), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    task.cancel()
    await asyncio.wait([task])
    bridge.close()
    print(flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(*{argv}))
"""


@pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)
def test_credentials_are_in_one_place_while_the_bridge_lives_and_nowhere_after(
    ram_path: Path,
) -> None:
    word = os.urandom(20).hex()
    path = ram_path / "word"
    path.touch(mode=0o600)
    path.write_text(f"edge:{word}\n")
    broker = Mosquitto("allow_anonymous false", password_file=password_file("edge", word))
    try:
        asyncio.run(broker.start())
        with child(BRIDGE.replace("{argv}", repr((broker.port, str(path))))) as running:
            assert running.said() == ""  # it was let in
            assert running.count(word=word.encode()) == {"word": 1}
            running.go_on()
            assert running.count(word=word.encode()) == {"word": 0}
    finally:
        broker.kill()
