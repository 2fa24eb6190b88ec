"""Files the operator points us at: read once, bounded, never written."""

import os
import stat

from overlay_edge.errors import IdentityError
from overlay_edge.host.secret import Secret

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
    _require_short(len(data), key, path)
    return data


def read_private(key: str, path: str) -> Secret:
    """Read a file that only its owner may read: a key, or credentials. Close what you get.

    Raises:
        IdentityError: As for :func:`read_public`, or others may read or write it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise IdentityError(f"{key}: {path}: {error.strerror}") from None
    try:
        return _read_private(fd, key, path)
    except OSError as error:
        raise IdentityError(f"{key}: {path}: {error.strerror}") from None
    finally:
        os.close(fd)


def _read_private(fd: int, key: str, path: str) -> Secret:
    found = os.fstat(fd)
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise IdentityError(
            f"{key}: {path}: mode {mode:04o}, expected no access for group and others",
            hint=f"chmod 600 {path}",
        )
    # A pipe has no size; memory that is locked is scarce, so a file gets what it needs.
    most = MAX_PEM_BYTES + 1
    room = min(found.st_size + 1, most) if stat.S_ISREG(found.st_mode) else most
    secret = Secret(room)
    try:
        while len(secret) < room and secret.fill(fd, room - len(secret)):
            pass
        _require_short(len(secret), key, path)
    except BaseException:
        secret.close()
        raise
    return secret


def _require_short(length: int, key: str, path: str) -> None:
    if length > MAX_PEM_BYTES:
        raise IdentityError(f"{key}: {path}: over {MAX_PEM_BYTES} bytes, expected a PEM file")
