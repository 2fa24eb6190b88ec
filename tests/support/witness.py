"""A witness who looks at the pages of whatever is wiped, between the zeros and the truncation."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from overlay_edge.host.amnesia import memfd_path
from overlay_edge.store.medium import Blob


class Witness:
    """What was seen of each wiped blob: its length, by a second descriptor and by a mapping."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def look(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        second = os.open(memfd_path(fd), os.O_RDONLY)
        try:
            assert os.pread(second, size + 1, 0) == bytes(size)
            if size:
                with mmap.mmap(second, size, prot=mmap.PROT_READ) as pages:
                    assert pages[:] == bytes(size)
        finally:
            os.close(second)
        self.lengths.append(size)


@contextmanager
def watched() -> Iterator[Witness]:
    """Look at the pages of every blob between the zeros and the truncation."""
    witness, overwrite = Witness(), Blob.overwrite

    def overwrite_and_look(blob: Blob) -> None:
        overwrite(blob)
        witness.look(blob._fd)

    with patch.object(Blob, "overwrite", overwrite_and_look):
        yield witness
