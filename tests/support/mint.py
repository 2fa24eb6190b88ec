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

    def forge(self, content: bytes, token: bytes) -> bytes:
        """The token narrowed by a block whose inside is any bytes, signed as a holder can.

        A token is fields of protobuf: key id, the mint's block, blocks, and the secret that
        signs the next one.
        """
        number, mint, proof = _fields(token)
        following = Ed25519PrivateKey.generate()
        key = following.public_key().public_bytes_raw()
        secret = Ed25519PrivateKey.from_private_bytes(proof[-32:])
        signature = secret.sign(content + bytes(4) + key)  # 4 bytes: the algorithm, Ed25519
        block = _field(1, content) + _field(2, b"\x08\x00" + _field(2, key)) + _field(3, signature)
        last = _field(4, _field(1, following.private_bytes_raw()))
        return number + mint + _field(3, block) + last


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _fields(data: bytes) -> list[bytes]:
    """The fields of a message, each with its tag and length."""
    found = []
    while data:
        end, number = 1, 0
        while data[end] & 0x80:
            number |= (data[end] & 0x7F) << 7 * (end - 1)
            end += 1
        number |= data[end] << 7 * (end - 1)
        end += 1 + (number if data[0] & 7 == 2 else 0)
        found.append(data[:end])
        data = data[end:]
    return found


class Holder:
    """Somebody with a key that a token can name."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def section(self, token: bytes, channel: bytes = CHANNEL) -> bytes:
        return join_section(self.sign(channel), token)
