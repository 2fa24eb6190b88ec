"""Files of the operator: bounded, and a key only if nobody else may read it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_edge.errors import IdentityError
from overlay_edge.host.files import MAX_PEM_BYTES, read_private, read_public
from overlay_edge.host.secret import Secret


def text(secret: Secret) -> bytes:
    with secret:
        return bytes(secret.reveal())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(b"PEM")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o777, 0o440])
def test_a_key_that_others_may_touch_is_refused_with_the_command_that_helps(
    file: Path, mode: int
) -> None:
    file.chmod(mode)
    with pytest.raises(IdentityError, match=f"mode {mode:04o}, expected no access") as caught:
        read_private("tls.key", str(file))
    assert str(caught.value).startswith(f"tls.key: {file}: ")
    assert caught.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_that_only_its_owner_reads_is_read(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert text(read_private("tls.key", str(file))) == b"PEM"


def test_a_link_is_judged_by_the_key_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.pem"
    link.symlink_to(file)
    assert text(read_private("tls.key", str(link))) == b"PEM"
    file.chmod(0o644)
    with pytest.raises(IdentityError, match="mode 0644"):
        read_private("tls.key", str(link))


def test_everybody_may_read_a_certificate(file: Path) -> None:
    file.chmod(0o644)
    assert read_public("tls.cert", str(file)) == b"PEM"


@pytest.mark.parametrize("read", [read_public, read_private])
def test_a_file_that_is_not_there_is_named_with_its_setting(
    read: Callable[[str, str], object], tmp_path: Path
) -> None:
    path = tmp_path / "none.pem"
    with pytest.raises(IdentityError) as caught:
        read("tls.key", str(path))
    assert str(caught.value) == f"tls.key: {path}: No such file or directory"


def test_a_folder_is_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="Is a directory"):
        read_public("tls.cert", str(tmp_path))


def test_the_longest_file_is_read_and_one_byte_more_is_refused(file: Path) -> None:
    file.write_bytes(bytes(MAX_PEM_BYTES))
    assert len(text(read_private("tls.key", str(file)))) == MAX_PEM_BYTES
    file.write_bytes(bytes(MAX_PEM_BYTES + 1))
    with pytest.raises(IdentityError, match=f"over {MAX_PEM_BYTES} bytes, expected a PEM file"):
        read_private("tls.key", str(file))


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(IdentityError, match="over"):
        read_public("tls.cert", "/dev/zero")


def test_no_descriptor_stays_open(file: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_private("tls.key", str(file)).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_private_file_without_a_size_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    done = subprocess.Popen(["sh", "-c", f"printf secret > {pipe}"])
    assert text(read_private("audit.credentials", str(pipe))) == b"secret"
    assert done.wait(5) == 0


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(IdentityError, match="Is a directory"):
        read_private("tls.key", str(tmp_path))
