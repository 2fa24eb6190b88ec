"""Looks for canaries in all memory of a guest: a file that QEMU shares with us."""

import mmap
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick

from tests.prove.canary import Canary, encodings, windows

CHUNK = 64 << 10  # memory is passed over in pieces of this size while it is all zeros
ZEROS = bytes(CHUNK)
MAX_PLACES = 16  # remembered for each class, to look at


@dataclass(slots=True)
class Found:
    """What a scan found.

    Attributes:
        hits: How often each class was found.
        forms: The same by class and encoding.
        places: Where, at most ``MAX_PLACES`` a class: offset in the file.
        scanned_bytes: All memory.
        nonzero_bytes: What of it was not zero.
    """

    hits: Counter[str] = field(default_factory=Counter)
    forms: Counter[tuple[str, str]] = field(default_factory=Counter)
    places: dict[str, list[int]] = field(default_factory=dict)
    scanned_bytes: int = 0
    nonzero_bytes: int = 0


class Scanner:
    """Finds all canaries in all encodings in one pass.

    Args:
        canaries: What to look for.
    """

    def __init__(self, canaries: Sequence[Canary]) -> None:
        needles: dict[bytes, tuple[str, str]] = {}
        for canary in canaries:
            for secret in canary.secrets:
                for piece in windows(secret):
                    for form, texts in encodings(piece).items():
                        for text in texts:
                            needles.setdefault(text, (canary.name, form))
        self.names = [canary.name for canary in canaries]
        self._meanings = list(needles.values())
        self._longest = max(map(len, needles))
        self._matcher = BytesAhoCorasick(list(needles))

    def scan(self, path: Path) -> Found:
        """Look through a whole file."""
        found = Found(Counter(dict.fromkeys(self.names, 0)))
        with path.open("rb") as file:
            found.scanned_bytes = os.fstat(file.fileno()).st_size
            memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            with memory, memoryview(memory) as view:
                for start, end in _spans(view):
                    found.nonzero_bytes += end - start
                    self._search(view, start, end, found)
        return found

    def _search(self, view: memoryview, start: int, end: int, found: Found) -> None:
        with view[start:end] as part:
            for number, begin, _ in self._matcher.find_matches_as_indexes(part):
                name, form = self._meanings[number]
                found.hits[name] += 1
                found.forms[name, form] += 1
                places = found.places.setdefault(name, [])
                if len(places) < MAX_PLACES:
                    places.append(start + begin)


def _spans(view: memoryview) -> Iterator[tuple[int, int]]:
    """Stretches that are not all zeros: no canary has a zero chunk in it."""
    begin: int | None = None
    for start in range(0, len(view), CHUNK):
        with view[start : start + CHUNK] as chunk:
            is_zero = chunk == ZEROS[: len(chunk)]
        if is_zero and begin is not None:
            yield begin, start
            begin = None
        elif not is_zero and begin is None:
            begin = start
    if begin is not None:
        yield begin, len(view)
