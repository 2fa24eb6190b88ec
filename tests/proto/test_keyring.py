"""Root keys: the new one at once, the old ones for an overlap."""

from overlay_edge.proto.keyring import MAX_KEYS, KeyRing, key_id

OLD, NEW, THIRD = b"o" * 32, b"n" * 32, b"t" * 32


def accepts(ring: KeyRing, public: bytes, now: float) -> bool:
    return ring.accept(key_id(public), now=now) is not None


def test_configured_keys_are_believed_without_end() -> None:
    ring = KeyRing((OLD,))
    assert accepts(ring, OLD, 1e12)
    assert not accepts(ring, NEW, 0)


def test_a_token_that_names_no_key_is_nobodys() -> None:
    assert KeyRing((OLD,)).accept(None, now=0) is None


def test_old_and_new_are_believed_for_the_overlap_then_only_the_new_one() -> None:
    ring = KeyRing((OLD,))
    ring.rotate(NEW, 100, now=1000)
    assert accepts(ring, OLD, 1099)
    assert accepts(ring, NEW, 1099)
    assert not accepts(ring, OLD, 1100)
    assert accepts(ring, NEW, 1100)
    assert ring.keys[0].public == NEW


def test_a_second_rotation_gives_no_one_more_time() -> None:
    ring = KeyRing((OLD,))
    ring.rotate(NEW, 100, now=1000)
    ring.rotate(THIRD, 100, now=1050)
    assert not accepts(ring, OLD, 1100)
    assert accepts(ring, NEW, 1149)


def test_rotating_back_makes_a_key_current_again() -> None:
    ring = KeyRing((OLD,))
    ring.rotate(NEW, 100, now=1000)
    ring.rotate(OLD, 100, now=1010)
    assert accepts(ring, OLD, 1e9)
    assert not accepts(ring, NEW, 1111)


def test_no_overlap_retires_at_once() -> None:
    ring = KeyRing((OLD,))
    ring.rotate(NEW, 0, now=1000)
    assert not accepts(ring, OLD, 1000)


def test_the_ring_is_bounded() -> None:
    ring = KeyRing()
    for number in range(100):
        ring.rotate(bytes([number]) * 32, 1e6, now=0)
    assert len(ring.keys) == MAX_KEYS
    assert ring.keys[0].public == bytes([99]) * 32
