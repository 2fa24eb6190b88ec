"""Files of secrets: private keys in PEM and capabilities, for their owner only.

A private key never leaves the machine it was made on: nodes know only the public half. A
capability's file has the token on its first line and, so that it can be narrowed offline, the
public key of the site that made it on the second.
"""

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from overlay_edge.errors import ConfigError
from overlay_edge.host.files import read_private
from overlay_edge.proto.capability import MAX_TOKEN_BYTES, Capability, from_text, to_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Stored(NamedTuple):
    """A capability, and the site's public key or nothing."""

    cap: Capability
    public: bytes


def write_secret(path: str, text: str) -> None:
    """Write a new file that only its owner may read; an old one is never overwritten.

    Raises:
        ConfigError: There is one already.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(
            [f"{path}: exists, expected a new name"], hint="a key that is lost is lost"
        ) from None
    with open(handle, "w", encoding="ascii") as file:
        file.write(text)


def new_key(path: str) -> "Ed25519PrivateKey":
    """Make a private key and keep it in a new file."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(path, pem.decode("ascii"))
    return key


def read_key(option: str, path: str) -> "Ed25519PrivateKey":
    """Read a private key.

    Raises:
        ConfigError: It is not one.
        IdentityError: It cannot be read, or others can read it too.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with read_private(option, path) as secret:
        try:
            key = load_pem_private_key(secret.reveal(), None)
        except (ValueError, TypeError):  # what it says may repeat the file
            key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            [f"{option}: {path}: expected an Ed25519 private key in PEM"],
            hint="ronctl cap keygen makes one",
        )
    return key


def write_cap(path: str, stored: Stored) -> None:
    """Keep a capability in a new file."""
    write_secret(path, f"{cap_text(stored.cap)}\n{stored.public.hex()}\n")


def read_cap(option: str, path: str) -> Stored:
    """Read a capability.

    Raises:
        ConfigError: It is not one.
        IdentityError: It cannot be read, or others can read it too.
    """
    with read_private(option, path) as secret:
        lines = str(secret.reveal(), "ascii", "replace").split()
    text = lines[0] if lines else ""
    try:
        # A key in PEM begins like base64 too, and is not to be sent anywhere.
        token = b"" if text.startswith("-----") else from_text(text)
    except ValueError:
        token = b""
    if not 0 < len(token) <= MAX_TOKEN_BYTES:
        raise ConfigError([f"{option}: {path}: expected a capability as base64 on the first line"])
    is_key = len(lines) > 1 and re.fullmatch("[0-9a-f]{64}", lines[1])
    return Stored(Capability(token), bytes.fromhex(lines[1]) if is_key else b"")


def cap_text(cap: Capability) -> str:
    """A capability as text: the one place where it is shown."""
    return to_text(cap.token)
