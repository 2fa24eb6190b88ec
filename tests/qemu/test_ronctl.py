import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from qemu import ronctl
from qemu.errors import QemuError
from qemu.guest import Guest

GUEST = cast(
    Guest, SimpleNamespace(oap_address="127.0.0.1:1", admin_url="http://127.0.0.1:2", cap=None)
)
ADDRESS = "b3:" + "5" * 64


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the command; tests write its script."""
    path = tmp_path / "ronctl"
    monkeypatch.setattr(ronctl, "find", lambda: str(path))
    return path


def script(tool: Path, text: str) -> None:
    tool.write_text(f"#!/bin/sh\ncd {tool.parent}\n{text}\n")
    tool.chmod(0o755)


def test_the_address_is_taken_from_what_put_prints(tool: Path) -> None:
    script(tool, f"""echo '{{"addr": "{ADDRESS}"}}'""")
    assert ronctl.put(GUEST, Path("file")).address == ADDRESS


def test_a_guest_that_belongs_to_somebody_is_used_with_its_capability(
    tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tool, f'echo {ADDRESS} "$@" > seen; cat seen')
    monkeypatch.setattr(GUEST, "cap", Path("site.cap"))
    ronctl.put(GUEST, Path("file"))
    assert "--cap site.cap" in (tool.parent / "seen").read_text()


@pytest.mark.parametrize(
    "words", ['{"error": "not_found", "code": 404}', "no JSON at all", '["retry_after_ms"]', ""]
)
def test_any_other_failure_is_final(tool: Path, words: str) -> None:
    script(tool, f"echo '{words}' >&2; exit 1")
    with pytest.raises(QemuError, match="ronctl get: exit 1"):
        ronctl.get(GUEST, ADDRESS, Path("file"))


def test_the_tool_beside_this_python_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ronctl").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert ronctl.find() == str(tmp_path / "ronctl")
