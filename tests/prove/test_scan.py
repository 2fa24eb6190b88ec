import secrets
from pathlib import Path

import pytest

from tests.prove.canary import WINDOW, Canary
from tests.prove.scan import CHUNK, Scanner

SECRET = secrets.token_bytes(WINDOW)


def memory(path: Path, size: int, **places: tuple[int, bytes]) -> Path:
    """A file of zeros with something at some places."""
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in places.values():
            file.seek(at)
            file.write(data)
    return path


@pytest.mark.parametrize("at", [0, 1, CHUNK - 7, 3 * CHUNK, 8 * CHUNK - WINDOW])
def test_a_secret_is_found_wherever_it_lies(tmp_path: Path, at: int) -> None:
    path = memory(tmp_path / "ram", 8 * CHUNK, secret=(at, SECRET))
    found = Scanner([Canary("one", (SECRET,))]).scan(path)
    assert found.hits == {"one": 1}
    assert found.places == {"one": [at]}
    assert found.scanned_bytes == 8 * CHUNK


def test_every_copy_counts_and_its_form_is_told(tmp_path: Path) -> None:
    path = memory(
        tmp_path / "ram",
        4 * CHUNK,
        raw=(100, SECRET * 1000),
        hexed=(3 * CHUNK + 5, SECRET.hex().encode()),
    )
    found = Scanner([Canary("one", (SECRET,)), Canary("other", (secrets.token_bytes(40),))])
    result = found.scan(path)
    assert result.hits == {"one": 1001, "other": 0}
    assert result.forms == {("one", "raw"): 1000, ("one", "hex"): 1}


def test_memory_that_is_all_zeros_is_passed_over_and_still_counted(tmp_path: Path) -> None:
    path = memory(tmp_path / "ram", 16 * CHUNK, one=(5 * CHUNK + 1, b"x"))
    result = Scanner([Canary("one", (SECRET,))]).scan(path)
    assert result.hits == {"one": 0}
    assert (result.scanned_bytes, result.nonzero_bytes) == (16 * CHUNK, CHUNK)
