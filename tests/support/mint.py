"""A site with its root key, that mints and narrows tokens."""

from dataclasses import replace

from biscuit_auth import Biscuit, BiscuitBuilder, BlockBuilder, KeyPair
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from overlay_edge.config import AuthConfig, AuthMode
from overlay_edge.proto.capability import Grant, Op, join_section
from overlay_edge.proto.caveats import write_mint
from overlay_edge.proto.keyring import key_id

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC
CHANNEL, OTHER_CHANNEL = b"c" * 32, b"o" * 32
EVERYTHING = Grant(rights={op: ("",) for op in Op}, topics=("**",))


class Site:
    """One root key."""

    def __init__(self) -> None:
        self.pair = KeyPair()
        self.public = bytes(self.pair.public_key.to_bytes())
        self.key_id = key_id(self.public)

    def config(self, mode: AuthMode = AuthMode.WRITE, *others: "Site") -> AuthConfig:
        keys = (self.public.hex(), *(other.public.hex() for other in others))
        return replace(AuthConfig(), mode=mode, keys=keys)

    def mint(self, grant: Grant = EVERYTHING, *, issued: float = NOON) -> bytes:
        return self.sign(write_mint(grant, issued=issued))

    def sign(self, text: str, *, number: int | None = -1) -> bytes:
        builder = BiscuitBuilder(text)
        if number is not None:
            builder.set_root_key_id(self.key_id if number < 0 else number)
        return bytes(builder.build(self.pair.private_key).to_bytes())

    def narrow(self, token: bytes, text: str) -> bytes:
        biscuit = Biscuit.from_bytes(token, self.pair.public_key)
        return bytes(biscuit.append(BlockBuilder(text)).to_bytes())


class Holder:
    """Somebody with a key that a token can name."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def section(self, token: bytes, channel: bytes = CHANNEL) -> bytes:
        return join_section(self.sign(channel), token)
