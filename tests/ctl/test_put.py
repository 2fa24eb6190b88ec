"""Storing: the address comes back, whoever brings the bytes."""

import io
from pathlib import Path

import pytest
from blake3 import blake3

from overlay_edge.ctl import put as room
from overlay_edge.ctl.put import HashedReader
from tests.ctl.conftest import Ronctl


def test_a_file_gets_its_address(to_node: Ronctl, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "x.bin").write_bytes(data)
    addr = f"b3:{blake3(data).hexdigest()}"
    plain = to_node("put", str(tmp_path / "x.bin"))
    assert (plain.code, plain.out) == (0, f"{addr}\n")
    fields = to_node("--json", "put", str(tmp_path / "x.bin")).json
    assert (fields["addr"], fields["size"]) == (addr, len(data))


@pytest.mark.parametrize("data", [b"", b"from a pipe"])
def test_a_pipe_and_nothing_at_all_can_be_stored(to_node: Ronctl, data: bytes) -> None:
    assert to_node("put", "-", stdin=data).out == f"b3:{blake3(data).hexdigest()}\n"


def test_a_pipe_is_held_in_memory_so_it_is_bounded(
    to_node: Ronctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_SPOOL_BYTES", 10)
    done = to_node("put", "-", stdin=b"x" * 11)
    assert done.code == 2
    assert "hint: name a file" in done.err


def test_a_topic_is_a_label_to_purge_by(to_node: Ronctl) -> None:
    stored = to_node("put", "-", "--topic", "ctl/put", stdin=b"labelled")
    assert stored.code == 0
    assert to_node("put", "-", "--topic", "", stdin=b"x").code == 2
    assert to_node("put", "-", "--topic", "a\tb", stdin=b"x").code == 2


def test_a_folder_is_refused(to_node: Ronctl, tmp_path: Path) -> None:
    done = to_node("put", str(tmp_path))
    assert done.code == 1
    assert done.err == f"error: {tmp_path}: Is a directory\n"


def test_what_the_node_does_not_take_is_told(to_node: Ronctl, tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate((64 << 20) + 1)  # the default of store.object_max, and one more
    done = to_node("--json", "put", str(tmp_path / "large"))
    assert done.code == 1
    assert '"error": "too_large"' in done.err


def test_reading_hashes() -> None:
    reader = HashedReader(io.BytesIO(b"abc" * 100), blake3())
    while reader.read(7):
        pass
    assert reader.digest.hexdigest() == blake3(b"abc" * 100).hexdigest()
