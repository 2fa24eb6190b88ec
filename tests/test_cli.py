"""The entrance: who wins, what is said about mistakes, and the documented exit codes."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overlay_edge import cli
from overlay_edge.config import DEFAULTS, PROFILES, PqMode
from overlay_edge.errors import (
    BindError,
    ConfigError,
    EdgeError,
    IdentityError,
    PolicyError,
    TransportError,
)
from tests.support.workstation import FLAGS, on_a_disk

START_S = 20  # a loaded machine; nothing here waits that long when it works
FREE = ["--oap-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]


def gather(*argv: str, **environ: str) -> cli.Setup:
    return cli.gather(cli._parser().parse_args(argv), environ)


def run(*argv: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """The real program, until it ends by itself."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("OVERLAY_")}
    return subprocess.run(
        [sys.executable, "-m", "overlay_edge", *FLAGS, *argv],
        env=env | environ,
        capture_output=True,
        text=True,
        timeout=START_S,
    )


@contextmanager
def running(*argv: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, object]]]:
    """The real program once it has said that it started, and that line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "overlay_edge", *FLAGS, *argv],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, until(process, "start")
    finally:
        process.kill()
        process.communicate()


def until(process: "subprocess.Popen[str]", event: str) -> dict[str, object]:
    assert process.stderr is not None
    seen = []
    for text in process.stderr:
        seen.append(text)
        line = json.loads(text)
        if line["event"] == event:
            assert isinstance(line, dict)
            return line
    raise AssertionError(f"no {event!r} in {seen}")


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "edge.toml"


def test_flags_win_over_the_environment_over_the_file_over_the_defaults(toml: Path) -> None:
    toml.write_text('[oap]\naddr = "127.0.0.2:1"\npq_mode = "classical"\n[peer]\nmax_rps = 7\n')
    file = gather("--config", str(toml)).config
    assert (file.oap.addr, file.peer.max_rps) == ("127.0.0.2:1", 7)
    env = gather("--config", str(toml), OVERLAY_OAP_ADDR="127.0.0.3:1", OVERLAY_PQ_MODE="hybrid")
    assert (env.config.oap.addr, env.config.oap.pq_mode) == ("127.0.0.3:1", PqMode.HYBRID)
    flag = gather(
        "--config", str(toml), "--oap-addr", "127.0.0.4:1", OVERLAY_OAP_ADDR="127.0.0.3:1"
    )
    assert flag.config.oap.addr == "127.0.0.4:1"
    assert gather().config.admin == DEFAULTS.admin


def test_the_variable_names_the_file_and_wins_over_the_flag(tmp_path: Path) -> None:
    named, other = tmp_path / "named.toml", tmp_path / "other.toml"
    named.write_text('drain_deadline = "1s"\n')
    other.write_text('drain_deadline = "2s"\n')
    assert gather("--config", str(other)).config.drain_deadline_s == 2
    found = gather("--config", str(other), RON_CONFIG=str(named))
    assert found.config.drain_deadline_s == 1


def test_the_images_defaults_lie_under_the_sites_file(tmp_path: Path) -> None:
    defaults, site = tmp_path / "image.toml", tmp_path / "site.toml"
    defaults.write_text('drain_deadline = "1s"\n[admin]\naddr = "0.0.0.0:9600"\n')
    site.write_text('drain_deadline = "2s"\n')
    config = gather("--defaults", str(defaults), "--config", str(site)).config
    assert (config.drain_deadline_s, config.admin.addr) == (2, "0.0.0.0:9600")


def test_a_bad_site_file_can_be_left_out_but_its_mistake_is_kept(tmp_path: Path) -> None:
    defaults, site = tmp_path / "image.toml", tmp_path / "site.toml"
    defaults.write_text('drain_deadline = "1s"\n')
    site.write_text('drain_deadline = "2s"\npeer.inflight_frames = 0\n')
    argv = ["--defaults", str(defaults), "--config", str(site), "--tolerate-bad-config"]
    setup = gather(*argv)
    assert setup.config.drain_deadline_s == 1
    assert setup.config_error == "peer.inflight_frames: 0, expected 1 to 1024"
    with pytest.raises(ConfigError):
        gather(*argv, "--check")  # who checks wants to know
    missing = gather("--config", str(tmp_path / "none.toml"), "--tolerate-bad-config")
    assert missing.config_error.endswith("none.toml: cannot be read: No such file or directory")


def test_a_mistake_in_the_images_own_defaults_is_never_tolerated(toml: Path) -> None:
    toml.write_text("nonsense = 1\n")
    with pytest.raises(ConfigError):
        gather("--defaults", str(toml), "--tolerate-bad-config")


@pytest.mark.parametrize("word", ["off", "false"])
def test_amnesia_is_turned_off_by_a_flag_or_the_environment(word: str, toml: Path) -> None:
    assert gather().config.amnesia
    assert not gather("--amnesia", word).config.amnesia
    assert not gather(OVERLAY_AMNESIA=word).config.amnesia
    toml.write_text("amnesia = false\n")
    assert gather("--config", str(toml), "--amnesia", "on", OVERLAY_AMNESIA=word).config.amnesia


def test_another_word_for_amnesia_is_refused_with_where_it_came_from() -> None:
    with pytest.raises(ConfigError, match='amnesia: "maybe", expected true or false') as caught:
        gather(OVERLAY_AMNESIA="maybe")
    assert caught.value.hint == "amnesia is from OVERLAY_AMNESIA"


def test_addresses_may_be_swapped_in_one_go() -> None:
    config = gather("--oap-addr", "127.0.0.1:9600", "--admin-addr", "127.0.0.1:9444").config
    assert (config.oap.addr, config.admin.addr) == ("127.0.0.1:9600", "127.0.0.1:9444")


def test_all_mistakes_of_flags_and_environment_are_told_with_their_origin() -> None:
    with pytest.raises(ConfigError) as caught:
        gather("--oap-addr", "nowhere", OVERLAY_PQ_MODE='quantum"\n')
    assert [line.partition(":")[0] for line in caught.value.mistakes] == ["oap.addr", "oap.pq_mode"]
    assert caught.value.hint == "oap.addr is from --oap-addr, oap.pq_mode is from OVERLAY_PQ_MODE"


def test_a_forced_profile_lowers_caps_and_says_which(toml: Path) -> None:
    toml.write_text("[transport]\nmax_conns = 65536\n")
    setup = gather("--profile", "zero2w", "--config", str(toml))
    assert setup.profile == "zero2w"
    assert setup.config.transport.max_conns < 65536
    assert any(line.startswith("transport.max_conns: 65536 lowered") for line in setup.lowered)


def test_the_medium_is_named_by_whoever_has_booted_from_it() -> None:
    assert gather("--medium", "mmcblk0").config.panic.medium == "mmcblk0"
    with pytest.raises(ConfigError, match=r"panic\.medium"):
        gather("--medium", "/dev/mmcblk0")


def test_the_board_is_found_out_when_nobody_says() -> None:
    assert gather().profile in PROFILES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EdgeError("x"), 1),
        (TransportError("x"), 1),
        (ConfigError(["x"]), 2),
        (PolicyError("x"), 3),
        (BindError("x"), 4),
        (IdentityError("x"), 5),
    ],
)
def test_every_error_has_its_documented_code(error: EdgeError, code: int) -> None:
    assert cli.exit_code(error) == code
    assert f"\n    {code}  " in (cli.__doc__ or "")


def test_of_several_errors_the_one_we_can_explain_is_told() -> None:
    known = BindError("in use")
    group = ExceptionGroup("x", [ValueError("y"), ExceptionGroup("z", [known])])
    assert cli._cause(group) is known


def test_the_effective_settings_parse_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["--check", "--profile", "pi4", "--pq-mode", "off"], {}) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# profile pi4 (as configured)\n")
    (tmp_path / "again.toml").write_text(printed)
    assert gather("--config", str(tmp_path / "again.toml")).config.oap.pq_mode is PqMode.CLASSICAL


BAD_FILES = {
    "unknown key": (b"peer.inflight_frame = 1\n", "peer.inflight_frame: unknown key"),
    "wrong type": (b'peer.max_rps = "many"\n', 'peer.max_rps: "many", expected 1 to 100000'),
    "out of range": (b"peer.max_rps = 0\n", "peer.max_rps: 0, expected 1 to 100000"),
    "no unit": (b"handshake_timeout = 3\n", "handshake_timeout: 3, expected a duration"),
    "not TOML": (b"[oap\n", "not TOML"),
    "not text": (b"\xff\xfe", "byte 0 is not UTF-8"),
    "too large": (b"#" * (cli.MAX_FILE_BYTES + 1), "expected settings"),
    "two keys": (b'tls.cert = "/x.pem"\n', "tls.key: missing"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_of_each_kind_is_named_and_ends_with_code_2(
    kind: str, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, said = BAD_FILES[kind]
    toml.write_bytes(data)
    assert cli.main(["--check", "--config", str(toml)], {}) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert said in captured.err


def test_help_lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"], {})
    assert caught.value.code == 0
    assert "RON_CONFIG" in (text := capsys.readouterr().out)
    assert all(f"\n    {code}  " in text for code in (*range(6), 10, 11, 12))


# -- the real program ---------------------------------------------------------------------


@pytest.mark.slow
def test_it_starts_says_so_and_leaves_in_order() -> None:
    with running(*FREE) as (process, line):
        assert line["ready"] == 1
        assert "ready=1 oap=127.0.0.1:" in str(line["msg"])
        process.send_signal(signal.SIGTERM)
        until(process, "shutdown_begin")
        until(process, "shutdown_end")
        assert process.wait(START_S) == 0


def post(admin: object, path: str, body: object) -> dict[str, object]:
    connection = http.client.HTTPConnection(str(admin), timeout=START_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        assert isinstance(answer, dict)
        return answer
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(("then", "code"), [("restart", 0), ("poweroff", 10), ("reboot", 11)])
def test_an_order_to_end_is_told_by_the_exit_code(then: str, code: int) -> None:
    with running(*FREE) as (process, line):
        assert post(line["admin_addr"], "/control/stop", {"then": then}) == {"then": then}
        assert until(process, "shutdown_end")["then"] == then
        assert process.wait(START_S) == code


@pytest.mark.slow
def test_a_bad_site_file_does_not_keep_the_node_down(toml: Path) -> None:
    toml.write_text("peer.inflight_frames = 0\n")
    argv = ["--config", str(toml), "--tolerate-bad-config", *FREE]
    with running(*argv) as (process, line):
        assert (line["ready"], line["missing"]) == (0, ["config"])
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 0


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--oap-addr", "--admin-addr"])
def test_a_port_in_use_is_one_line_and_code_4(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*FREE, option, f"127.0.0.1:{port}")
    assert done.returncode == 4, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        line for line in done.stderr.splitlines() if not line.startswith("hint: ")
    ]
    assert str(port) in done.stderr


@pytest.mark.slow
def test_a_bad_certificate_is_code_5(ram_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (ram_path / name).write_text("not PEM\n")
        (ram_path / name).chmod(0o600)
    config = ram_path / "edge.toml"
    config.write_text(f'[tls]\ncert = "{ram_path}/cert.pem"\nkey = "{ram_path}/key.pem"\n')
    done = run("--config", str(config), *FREE)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.slow
def test_a_store_that_is_not_in_ram_is_code_3(toml: Path) -> None:
    toml.write_text('[store]\npath = "/proc"\n')
    done = run("--amnesia", "on", "--config", str(toml), *FREE)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: amnesia: paths: store.path is /proc, on proc")
    assert "hint: " in done.stderr


@pytest.mark.slow
def test_with_amnesia_off_a_store_on_a_disk_is_still_code_3(toml: Path) -> None:
    toml.write_text('[store]\npath = "/proc"\n')
    done = run("--amnesia", "off", "--config", str(toml), *FREE)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: /proc: on proc")


@pytest.mark.slow
def test_a_log_on_a_disk_is_code_3(tmp_path: Path) -> None:
    if not on_a_disk(tmp_path):
        pytest.skip("the folder of this test is in RAM")
    with (tmp_path / "log").open("w+") as file:
        argv = [sys.executable, "-m", "overlay_edge", *FREE]
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=file, timeout=START_S)
        file.seek(0)
        said = file.read()
    assert done.returncode == 3
    assert said.startswith("error: amnesia: ")
    assert f"stderr is {tmp_path}/log" in said or "swap" in said


@pytest.mark.slow
def test_wrong_usage_and_bad_config_are_code_2(toml: Path) -> None:
    toml.write_text("nonsense = 1\n")
    assert run("--no-such-flag").returncode == 2
    assert run("--config", str(toml)).returncode == 2
    assert run(RON_CONFIG=str(toml)).returncode == 2
    assert run("--check", *FREE).returncode == 0


@pytest.mark.slow
def test_a_bug_is_one_line_and_code_1(toml: Path) -> None:
    script = (
        "import overlay_edge.node as n, overlay_edge.cli as c\n"
        "async def run(self): raise ValueError('a bug')\n"
        "n.Node.run = run\n"
        "c.entry()\n"
    )
    for level, has_traceback in (("info", False), ("debug", True)):
        argv = [sys.executable, "-c", script, *FREE, "--log-level", level]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=START_S)
        assert done.returncode == 1
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        (crash,) = [line for line in lines if line["event"] == "service_crashed"]
        assert crash["error"] == "ValueError: a bug"
        assert "ServiceCrashed" in crash["msg"]
        assert ("traceback" in crash) is has_traceback


HOLDING = """
import asyncio, overlay_edge.node as n, overlay_edge.cli as c
from overlay_edge.host.journal import journal
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import Blob, MemfdMedium

overwrite = Blob.overwrite

def overwrite_and_tell(blob):
    size = blob.size
    overwrite(blob)
    assert blob.read(0, size) == bytes(size)
    journal.info("overwritten", size=size)

async def run(self):
    store = self.panic.store = ObjectStore(self._config.store, MemfdMedium())
    store.begin(9, None, now=0).write(b"upload")
    Blob.overwrite = overwrite_and_tell
    journal.info("start")
    WHAT

n.Node.run = run
n.Node.request_stop = lambda self: journal.info("stopping")
c.entry()
"""


@contextmanager
def holding(what: str) -> Iterator["subprocess.Popen[str]"]:
    """The real entrance over a node that holds an upload of six bytes, and does this."""
    script = HOLDING.replace("WHAT", what)
    process = subprocess.Popen(
        [sys.executable, "-c", script, *FREE], stderr=subprocess.PIPE, text=True
    )
    try:
        until(process, "start")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_panic_by_signal_wipes_and_ends_with_its_code() -> None:
    with running(*FREE) as (process, _):
        process.send_signal(signal.SIGUSR1)
        assert until(process, "panic")["reason"] == "signal"
        assert process.wait(START_S) == 12


@pytest.mark.slow
def test_a_panic_over_http_is_answered_and_ends_with_its_code() -> None:
    with running(*FREE) as (process, line):
        answer = post(line["admin_addr"], "/control/panic", {})
        assert answer == {"objects": 0, "uploads": 0, "bytes": 0, "sessions": 0}
        assert process.wait(START_S) == 12


@pytest.mark.slow
@pytest.mark.parametrize("busy", ["while True: pass", "__import__('time').sleep(60)"])
def test_a_panic_does_not_need_the_event_loop(busy: str) -> None:
    with holding(busy) as process:
        process.send_signal(signal.SIGUSR1)
        assert until(process, "overwritten")["size"] == 6
        assert until(process, "panic_cut")["uploads"] == 1
        assert process.wait(START_S) == 12


@pytest.mark.slow
def test_a_second_panic_signal_ends_it_at_once() -> None:
    with holding("while True: pass") as process:
        while process.poll() is None:  # two that come as one are one
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.01)
        assert process.wait(START_S) == 12


@pytest.mark.slow
def test_a_second_interrupt_overwrites_before_it_ends() -> None:
    with holding("await asyncio.sleep(60)") as process:
        process.send_signal(signal.SIGINT)
        until(process, "stopping")
        process.send_signal(signal.SIGINT)
        until(process, "shutdown_cut")
        assert until(process, "overwritten")["size"] == 6
        assert process.wait(START_S) == 1


@pytest.mark.slow
def test_a_second_interrupt_ends_it_at_once() -> None:
    script = (
        "import asyncio, overlay_edge.node as n, overlay_edge.cli as c\n"
        "from overlay_edge.host.journal import journal\n"
        "async def run(self):\n"
        "    journal.info('start')\n"
        "    await asyncio.sleep(60)\n"
        "n.Node.run = run\n"
        "n.Node.request_stop = lambda self: journal.info('stopping')\n"
        "c.entry()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *FREE], stderr=subprocess.PIPE, text=True
    )
    try:
        until(process, "start")
        process.send_signal(signal.SIGINT)
        until(process, "stopping")
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 1
    finally:
        process.kill()
        process.communicate()
