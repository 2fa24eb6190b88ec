import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prove.canary import WINDOW, encodings, random_text, windows

pieces = st.binary(min_size=WINDOW, max_size=WINDOW)


@given(before=st.binary(max_size=5), piece=pieces, after=st.binary(max_size=5))
def test_a_piece_is_found_in_whatever_form_its_neighbours_are_kept_too(
    before: bytes, piece: bytes, after: bytes
) -> None:
    text = before + piece + after
    kept = {
        "raw": text,
        "reversed": text[::-1],
        "hex": text.hex().encode(),
        "base64": base64.b64encode(text),
        "utf-16": text.decode("latin-1").encode("utf-16-le"),
        "utf-32": text.decode("latin-1").encode("utf-32-le"),
        "escaped": "".join(f"\\x{byte:02x}" for byte in text).encode(),
    }
    forms = encodings(piece)
    assert kept.keys() == forms.keys()
    for form, data in kept.items():
        assert any(needle in data for needle in forms[form]), form
    assert any(needle in base64.urlsafe_b64encode(text) for needle in forms["base64"])
    assert any(needle in text.hex().upper().encode() for needle in forms["hex"])


def test_a_secret_is_recognised_by_both_of_its_ends_and_by_every_part_between() -> None:
    secret = secrets.token_bytes(2 * WINDOW + 5)
    found = windows(secret)
    assert found[0] == secret[:WINDOW]
    assert found[-1] == secret[-WINDOW:]
    assert len(found) == 3


def test_a_secret_that_chance_could_make_is_refused() -> None:
    with pytest.raises(ValueError, match="15 bytes, expected 16"):
        windows(bytes(WINDOW - 1))


def test_texts_differ_in_every_run() -> None:
    assert random_text("a-") != random_text("a-")
