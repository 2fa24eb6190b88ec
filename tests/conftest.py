"""Settings every test shares."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.support.tracer import tracing
from tests.support.workstation import RAM

# Two busy cores make any single example slow; what matters is that it ends.
settings.register_profile("edge", deadline=None, print_blob=True)
settings.load_profile("edge")


@pytest.fixture
def ram_path() -> Iterator[Path]:
    """A folder for what a node that promises amnesia may be pointed at."""
    with TemporaryDirectory(prefix="overlay-edge-test-", dir=RAM) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def nothing_of_the_node_is_written_to_a_disk() -> Iterator[None]:
    """In every test: what runs of the node in this process opens nothing on a disk for writing."""
    with tracing() as tracer:
        yield
    assert tracer.found == []
