"""Held: an identity whose key is inside OpenSSL, put there without a copy on the way.

pyOpenSSL takes a key of the ``cryptography`` package by having it serialised into ``bytes`` and
reading those from yet another copy; neither is ever emptied. OpenSSL itself reads from where
the bytes are, and overwrites what it frees.
"""

import re

from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib

from overlay_edge.errors import IdentityError
from overlay_edge.net.identity import Identity


class Held:
    """An identity whose key only OpenSSL has: it signs with it and does not tell it.

    Args:
        identity: What to hold; its key is closed.

    Attributes:
        chain: Certificates, leaf first.
        fingerprint: SHA-256 of the leaf.

    Raises:
        IdentityError: OpenSSL does not take the key.
    """

    def __init__(self, identity: Identity) -> None:
        self.chain = identity.chain
        self.fingerprint = identity.fingerprint
        with identity.key as secret:
            self.key = _load_key(secret.reveal())

    def __repr__(self) -> str:
        return f"<held identity {self.fingerprint[:8]}>"


def _load_key(form: memoryview) -> object:
    """A key in OpenSSL, read from PEM or DER where it lies; pyOpenSSL would copy it."""
    with form, _ffi.from_buffer(form) as pointer:
        source = _ffi.gc(_lib.BIO_new_mem_buf(pointer, len(form)), _lib.BIO_free)
        if re.search(rb"-----BEGIN ", form):
            nothing = _ffi.new("char[]", b"")  # as a passphrase: without any it asks the terminal
            key = _lib.PEM_read_bio_PrivateKey(source, _ffi.NULL, _ffi.NULL, nothing)
        else:
            key = _lib.d2i_PrivateKey_bio(source, _ffi.NULL)
    if key == _ffi.NULL:
        _lib.ERR_clear_error()
        raise IdentityError("TLS identity: OpenSSL cannot read the private key")
    return _ffi.gc(key, _lib.EVP_PKEY_free)  # which overwrites it
