"""Says on stderr which step runs and how long it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print one line, at once."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Frame a long step with a line before (on terminals) and its seconds after."""
    begin = time.monotonic()
    if sys.stderr.isatty():
        print(f"  ....  {name}", end="\r", file=sys.stderr, flush=True)
    yield
    say(f"{time.monotonic() - begin:6.1f} s {name}")
