"""Key ring: the public keys a node believes, and until when.

    rotate(new)   new signs from now on, all others are believed for an overlap
                  current --rotate--> ending --not_after--> gone

Only public keys are ever here. A key is named by its id, which the token carries: the first
four bytes of the key's BLAKE3.
"""

from dataclasses import dataclass, replace

from blake3 import blake3

KEY_BYTES = 32  # Ed25519
MAX_KEYS = 16  # a few roots, each with one that is ending


def key_id(key: bytes) -> int:
    """The number that a token names its root key by."""
    return int.from_bytes(blake3(key).digest()[:4], "big")


@dataclass(frozen=True, slots=True)
class Key:
    """One public key; ``not_after`` in wall seconds, None = as long as it is configured."""

    public: bytes
    not_after: float | None = None

    @property
    def id(self) -> int:
        """See :func:`key_id`."""
        return key_id(self.public)


class KeyRing:
    """The keys, newest first.

    Args:
        publics: Ed25519 public keys, 32 bytes each.
    """

    def __init__(self, publics: tuple[bytes, ...] = ()) -> None:
        self._keys = {key_id(public): Key(public) for public in publics[:MAX_KEYS]}

    @property
    def keys(self) -> tuple[Key, ...]:
        """All of them."""
        return tuple(self._keys.values())

    def accept(self, number: int | None, *, now: float) -> Key | None:
        """The key of that id, if it is believed at that time."""
        key = self._keys.get(number) if number is not None else None
        if key is None or (key.not_after is not None and now >= key.not_after):
            return None
        return key

    def rotate(self, public: bytes, overlap_s: float, *, now: float) -> None:
        """Believe a new key; the others end after the overlap, or earlier if they do already."""
        end = now + overlap_s
        ending = {
            number: replace(key, not_after=min(key.not_after or end, end))
            for number, key in self._keys.items()
            if key.not_after is None or now < key.not_after
        }
        ending.pop(key_id(public), None)
        kept = list(ending.items())[: MAX_KEYS - 1]
        self._keys = {key_id(public): Key(public), **dict(kept)}
