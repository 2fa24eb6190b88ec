"""`ronctl` as a whole: its verbs, where options may stand, how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_edge.ctl import status
from tests.ctl.conftest import Ronctl

NOBODY = "127.0.0.1:1"


def test_help_names_every_verb_and_the_exit_codes(ronctl: Ronctl) -> None:
    done = ronctl("--help")
    assert done.code == 0
    for verb in ("put", "get", "head", "echo", "status", "config", "oap"):
        assert f"\n    {verb} " in done.out
    assert "exit codes: 0 done, 1 failed or refused, 2 usage" in done.out


@pytest.mark.parametrize("argv", [[], ["frobnicate"], ["get"], ["put", "x", "--no-such"]])
def test_wrong_usage_is_code_2(ronctl: Ronctl, argv: list[str]) -> None:
    assert ronctl(*argv).code == 2


@pytest.mark.parametrize("argv", [["--admin", NOBODY, "status"], ["status", "--admin", NOBODY]])
def test_options_may_stand_before_or_behind_the_verb(ronctl: Ronctl, argv: list[str]) -> None:
    done = ronctl(*argv)
    assert done.code == 1
    assert done.err.startswith(f"error: admin plane {NOBODY}: ")
    assert "hint: is the node running?" in done.err


def test_errors_are_json_too_when_asked_for(ronctl: Ronctl) -> None:
    done = ronctl("--json", "status", "--admin", NOBODY)
    fields = json.loads(done.err)
    assert (done.code, fields["error"]) == (1, "TransportError")
    assert fields["hint"]


def test_a_file_that_is_not_there_is_one_line(ronctl: Ronctl) -> None:
    done = ronctl("put", "/no/such\x1b[2Jfile")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: /no/such\\x1b[2Jfile: No such file or directory\n"


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    frame = "0000002b00010011000000070000000000000000000000000000000a0000000000000000000168656c6c6f"
    (tmp_path / "frames").write_text(frame * 4000)
    script = "from overlay_edge.ctl.main import entry; entry()"
    with (tmp_path / "frames").open() as frames:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "oap", "decode", "-"],
            stdin=frames,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(10) == 1


@pytest.mark.slow
def test_help_and_decoding_load_no_tls() -> None:
    probe = (
        "import sys; from overlay_edge.ctl.main import main\n"
        "main(['oap', 'decode', '00' * 0])\n"
        "print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not {"OpenSSL", "asyncio", "blake3", "aiohttp"} & set(done.stdout.split())


def test_an_interrupt_is_no_traceback(ronctl: Ronctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "run", interrupted)
    done = ronctl("status")
    assert (done.code, done.err) == (1, "error: interrupted\n")
