"""Files the operator points us at: read once, bounded, never written."""

import os
import stat

from overlay_edge.errors import IdentityError

MAX_PEM_BYTES = 256 << 10  # a long chain has 20 KiB


def read_public(key: str, path: str) -> bytes:
    """Read a certificate file.

    Args:
        key: The setting that names it, for the error.
        path: Where it is.

    Raises:
        IdentityError: It cannot be read, or is too long to be one.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise IdentityError(f"{key}: {path}: {error.strerror}") from None
    if len(data) > MAX_PEM_BYTES:
        raise IdentityError(f"{key}: {path}: over {MAX_PEM_BYTES} bytes, expected a PEM file")
    return data


def read_private(key: str, path: str) -> bytes:
    """Read a key file that only its owner may read.

    Raises:
        IdentityError: As for :func:`read_public`, or others may read or write it.
    """
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        raise IdentityError(f"{key}: {path}: {error.strerror}") from None
    if mode & 0o077:
        raise IdentityError(
            f"{key}: {path}: mode {mode:04o}, expected no access for group and others",
            hint=f"chmod 600 {path}",
        )
    return read_public(key, path)
