"""`ronctl` run in this process, against a node in another one."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from overlay_edge.ctl.main import main
from tests.support.program import Program, program


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


Ronctl = Callable[..., Done]


@pytest.fixture(scope="session")
def node() -> Iterator[Program]:
    with program() as running:
        yield running


@pytest.fixture
def ronctl(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Ronctl:
    """Call it with words, and bytes on its standard input."""

    def call(*argv: str, stdin: bytes = b"") -> Done:
        reader, writer = os.pipe()
        os.write(writer, stdin)  # tests send less than a pipe holds
        os.close(writer)
        with os.fdopen(reader) as file:
            monkeypatch.setattr("sys.stdin", file)
            try:
                code = main(argv)
            except SystemExit as usage:  # argparse
                assert isinstance(usage.code, int)
                code = usage.code
        out, err = capfdbinary.readouterr()
        return Done(code, out, err.decode())

    return call


@pytest.fixture
def to_node(ronctl: Ronctl, node: Program) -> Ronctl:
    """The same, aimed at the node."""

    def call(*argv: str, stdin: bytes = b"") -> Done:
        return ronctl("--addr", node.oap, "--admin", f"http://{node.admin}", *argv, stdin=stdin)

    return call
