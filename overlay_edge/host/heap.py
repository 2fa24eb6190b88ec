"""The heap: what was let go of still lies there until somebody needs the place."""

import gc


def collect() -> None:
    """Collect garbage, and give the pages that nothing lies on back to the kernel.

    The traceback of an error, or a cycle, may hold the last copy of a payload; and a buffer that
    was freed keeps its bytes until it is used again. The kernel overwrites a page before it gives
    it to anybody. A page that something else lies on, too, stays.
    """
    gc.collect()
    import ctypes  # 5 ms: only where something is wiped

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU library, not of others
    if trim is not None:
        trim(0)


def settle() -> None:
    """The start is over: what it has made stays, and need not be looked through again."""
    gc.collect()
    gc.freeze()
    gc.enable()
