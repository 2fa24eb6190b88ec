import compileall
from dataclasses import replace
from pathlib import Path

import pytest

from tests.prove import exits
from tests.prove.leaks import ACTS, LEAKS, MAIN, SERVICE, Leak


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_what_a_leak_removes_is_there_to_be_removed(leak: Leak, tmp_path: Path) -> None:
    assert leak.python or leak.edits or leak.cmdline
    assert leak.exit in ACTS
    assert set(leak.found) <= set(exits.GONE[leak.exit])
    files = leak.files()
    if leak.python:
        (tmp_path / "main.py").write_bytes(files[MAIN])
        assert compileall.compile_file(tmp_path / "main.py", quiet=2)


def test_a_leak_that_would_remove_nothing_is_an_error() -> None:
    leak = replace(LEAKS[0], edits=((SERVICE, "no such line", ""),))
    with pytest.raises(AssertionError, match="nothing was removed"):
        leak.files()


def test_at_least_ten_leaks_are_tried_and_no_two_are_the_same() -> None:
    assert len({leak.name for leak in LEAKS}) == len(LEAKS) >= 10
