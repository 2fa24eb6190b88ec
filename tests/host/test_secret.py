"""Secrets: filled without a copy, shown to nobody by accident, and zeros when closed."""

import mmap
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.host.secret import MAP_LOCKED, Secret, gather, wipe
from tests.support.sealed import sealed


def test_what_is_closed_is_zeros_also_for_who_still_looks() -> None:
    secret = sealed(b"hunter2")
    seen = secret.reveal()
    assert bytes(seen) == b"hunter2"
    secret.close()
    assert bytes(seen) == bytes(7)
    assert len(secret) == 0
    secret.close()


def test_a_context_closes_it_also_when_something_fails() -> None:
    secret = sealed(b"x" * 5000)
    seen = secret.reveal()
    with pytest.raises(RuntimeError), secret:
        raise RuntimeError
    assert bytes(seen) == bytes(5000)


def test_one_that_is_forgotten_is_zeroed_as_well() -> None:
    secret = sealed(b"hunter2")
    seen = secret.reveal()
    del secret
    assert bytes(seen) == bytes(7)


def test_it_shows_nothing_of_itself() -> None:
    with sealed(b"hunter2") as secret:
        assert repr(secret) == str(secret) == f"{secret}" == "<secret of 7 bytes>"
        with pytest.raises(TypeError):
            pickle.dumps(secret)
        with pytest.raises(TypeError):
            bytes(secret)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            secret.reveal()[0] = 0


def test_it_is_filled_from_a_file_up_to_its_room_and_not_beyond() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"0123456789")
        with Secret(8) as secret:
            assert secret.fill(reading, 4) == 4
            assert secret.fill(reading, 4) == 4
            assert bytes(secret.reveal()) == b"01234567"
            assert secret.fill(reading, 4) == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_more_than_fits_is_a_bug_and_leaves_it_as_it_was() -> None:
    with sealed(b"1234") as secret:
        with pytest.raises((IndexError, ValueError)):
            secret.add(b"5")
        assert bytes(secret.reveal()) == b"1234"


def test_a_child_finds_zeros() -> None:
    code = (
        "import os; from overlay_edge.host.secret import Secret\n"
        "secret = Secret(7); secret.add(b'hunter2'); seen = secret.reveal()\n"
        "pid = os.fork()\n"
        "if not pid: os._exit(0 if bytes(seen) == bytes(7) else 1)\n"
        "print(os.waitpid(pid, 0)[1], bytes(seen))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, check=True)
    assert done.stdout == b"0 b'hunter2'\n"


def test_random_bytes_come_from_the_kernel_each_time_anew() -> None:
    with Secret(34) as one, Secret(32) as two:
        one.add(b"ab")
        one.add_random(32)
        two.add_random(32)
        assert bytes(one.reveal()[:2]) == b"ab"
        assert (len(one), len(two)) == (34, 32)
        assert bytes(one.reveal()[2:]) != bytes(two.reveal())


def test_where_memory_cannot_be_locked_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse_locked(fd: int, length: int, flags: int) -> mmap.mmap:
        asked.append(flags)
        if flags & MAP_LOCKED:
            raise PermissionError
        return real(fd, length, flags)

    real = mmap.mmap
    monkeypatch.setattr("overlay_edge.host.secret.mmap.mmap", refuse_locked)
    with sealed(b"still held") as secret:
        assert bytes(secret.reveal()) == b"still held"
    assert [bool(flags & MAP_LOCKED) for flags in asked] == [True, False]


@given(st.binary(max_size=40).map(lambda b: b.replace(b"x", b" ")))
def test_strip_is_what_bytes_do_and_leaves_nothing_behind(data: bytes) -> None:
    with sealed(data) as secret:
        whole = memoryview(secret._memory)
        secret.strip()
        assert bytes(secret.reveal()) == data.strip(b" \t\n\r\v\f")
        assert not any(whole[len(secret) :])
        whole.release()


def test_a_byte_is_found_only_in_what_is_there() -> None:
    with sealed(b"user:pass ") as secret:
        assert secret.find(b":") == 4
        secret.strip()
        assert secret.find(b" ") == -1


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_pieces_are_gathered_in_order_and_wiped_in_place(pieces: list[bytes]) -> None:
    whole = gather(map(memoryview, pieces))
    assert whole == b"".join(pieces)
    with memoryview(whole) as same:
        wipe(whole)
        assert bytes(same) == bytes(len(whole))
