from pathlib import Path

import pytest

from image import flash
from image.errors import TARGET, ImageError
from image.flash import Disk

MIB = 1 << 20
STICK = Disk("sdz", "Stick 3000", 8 * MIB, is_whole=True, is_removable=True, uses=())


def refused(disk: Disk, *, forced: bool = False) -> str:
    with pytest.raises(ImageError) as caught:
        flash.refuse(disk, MIB, is_forced=forced)
    assert caught.value.code == TARGET
    return str(caught.value)


def change(**fields: object) -> Disk:
    values = {name: getattr(STICK, name) for name in Disk.__dataclass_fields__}
    return Disk(**(values | fields))


def test_a_free_removable_disk_is_accepted() -> None:
    flash.refuse(STICK, MIB, is_forced=False)


def test_a_partition_is_refused_even_if_forced() -> None:
    assert "expected the whole disk" in refused(change(is_whole=False), forced=True)


def test_a_disk_in_use_is_refused_even_if_forced() -> None:
    disk = change(uses=("sdz1 is mounted on /",))
    assert "mounted on /" in refused(disk, forced=True)


def test_a_disk_that_is_too_small_is_refused() -> None:
    assert "the image needs" in refused(change(size_bytes=100))


def test_a_fixed_disk_needs_force() -> None:
    fixed = change(is_removable=False)
    assert "not a removable disk" in refused(fixed)
    flash.refuse(fixed, MIB, is_forced=True)


def test_a_plain_file_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="not a block device"):
        flash.inspect(tmp_path / "file")


def system(root: Path, *, mounts: str = "", swaps: str = "") -> tuple[Path, Path]:
    base = root / "sys/class/block/sdz"
    for folder in ("device", "holders", "sdz1/holders/dm-0"):
        (base / folder).mkdir(parents=True)
    (base / "size").write_text("2048\n")
    (base / "dev").write_text("8:16\n")
    (base / "removable").write_text("1\n")
    (base / "device/vendor").write_text("ACME    \n")
    (base / "device/model").write_text("Stick 3000\n")
    (base / "sdz1/partition").write_text("1\n")
    (base / "sdz1/dev").write_text("8:17\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts)
    (root / "proc/swaps").write_text(f"Filename Type\n{swaps}")
    return root / "sys", root / "proc"


def test_the_system_tells_size_model_and_every_use(tmp_path: Path) -> None:
    mounts = "30 1 8:17 / /media/card rw - vfat /dev/sdz1 rw\n31 1 0:5 / /proc rw - proc proc rw\n"
    disk = flash.describe("sdz", *system(tmp_path, mounts=mounts, swaps="/dev/sdz1 partition\n"))
    assert (disk.model, disk.size_bytes) == ("ACME Stick 3000", MIB)
    assert disk.is_whole
    assert disk.is_removable
    assert disk.uses == (
        "sdz1 is mounted on /media/card",
        "sdz1 is swap",
        "sdz1 is part of dm-0",
    )


def stand_in(tmp_path: Path) -> tuple[Path, Path]:
    image, device = tmp_path / "edge.img", tmp_path / "device"
    image.write_bytes(bytes(range(256)) * 4096)
    device.write_bytes(b"\xff" * 2 * MIB)
    return image, device


def test_a_confirmed_disk_holds_the_image_and_keeps_what_lies_behind(tmp_path: Path) -> None:
    image, device = stand_in(tmp_path)
    flash.flash(device, image, look=lambda path: STICK, ask=lambda question: str(device))
    assert device.read_bytes() == image.read_bytes() + b"\xff" * MIB


@pytest.mark.parametrize("answer", ["", "yes", "/dev/other"])
def test_without_the_exact_name_nothing_is_written(tmp_path: Path, answer: str) -> None:
    image, device = stand_in(tmp_path)
    with pytest.raises(ImageError, match="nothing was written"):
        flash.flash(device, image, look=lambda path: STICK, ask=lambda question: answer)
    assert set(device.read_bytes()) == {0xFF}


def test_a_medium_that_reads_back_wrong_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, device = stand_in(tmp_path)
    monkeypatch.setattr(flash, "read_back", lambda *args: "00" * 32)
    with pytest.raises(ImageError, match="reads back as 0000"):
        flash.flash(device, image, look=lambda path: STICK, ask=lambda question: str(device))


def test_a_missing_image_hints_at_the_build(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        flash.flash(tmp_path / "device", tmp_path / "none.img")
    assert "image build" in caught.value.hint
