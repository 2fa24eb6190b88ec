"""The store's tests run over both media."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlay_edge.store.medium import Medium, MemfdMedium, TmpfsMedium
from tests.support.witness import Witness, watched

RAM_DIRECTORY = Path("/dev/shm")  # noqa: S108 - tmpfs on every Linux the tests run on


@pytest.fixture
def witness() -> Iterator[Witness]:
    with watched() as seen:
        yield seen


@pytest.fixture
def ram_path() -> Iterator[Path]:
    path = RAM_DIRECTORY / f"edge-test-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        for left in path.iterdir():
            left.unlink()
        path.rmdir()


@pytest.fixture(params=["memfd", "tmpfs"])
def medium(request: pytest.FixtureRequest) -> Iterator[Medium]:
    if request.param == "memfd":
        yield MemfdMedium()
        return
    made = TmpfsMedium(str(request.getfixturevalue("ram_path")))
    yield made
    made.close()
