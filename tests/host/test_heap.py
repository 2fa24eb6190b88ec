"""The heap after a wipe: garbage is collected, and what is free is given back."""

import ctypes
import gc
import weakref

import pytest

from overlay_edge.host.heap import collect, settle


class Knot:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_holds_only_itself_is_collected() -> None:
    gone = weakref.ref(Knot())
    assert gone() is not None
    collect()
    assert gone() is None


def test_free_pages_are_given_back_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    library = ctypes.CDLL(None)

    class Library:
        def malloc_trim(self, pad: int) -> int:
            trimmed.append(pad)
            return int(library.malloc_trim(pad))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    collect()
    assert trimmed == [0]


def test_another_library_than_the_gnu_one_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    collect()


def test_what_the_start_has_made_is_set_aside_and_the_collector_runs_again() -> None:
    try:
        gc.disable()
        settle()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()
