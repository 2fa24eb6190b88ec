from pathlib import Path

import pytest

from image import debs, lock, modules, recipe
from image.errors import USAGE, ImageError
from image.options import DEBS_LOCK

TEXT = (recipe.FOLDER / "virt.toml").read_text()


def test_every_recipe_is_complete() -> None:
    for path in recipe.FOLDER.glob("*.toml"):
        recipe.load(path.stem)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("slack_bytes = 2_097_152", ""), "slack_bytes: missing"),
        (("slack_bytes = 2_097_152", 'slack_bytes = "2MiB"'), "slack_bytes: str"),
        (("slack_bytes =", "slak_bytes ="), "slack_bytes: missing"),
        (("slack_bytes =", "extra = 1\nslack_bytes ="), "extra: unknown key"),
        (("slack_bytes =", "slack_bytes"), "line"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        recipe.parse(TEXT.replace(*change), source="virt.toml")
    assert caught.value.code == USAGE


def test_an_unknown_board_hears_of_the_known_ones() -> None:
    with pytest.raises(ImageError, match="virt"):
        recipe.load("toaster")


def test_the_lock_has_every_package_of_the_recipe() -> None:
    wanted = recipe.load("virt")
    names = {deb.name for deb in lock.read(DEBS_LOCK)}
    assert set(wanted.root_packages + wanted.boot_packages + wanted.compiler_packages) <= names
    assert any(debs.is_kernel(name, wanted.kernel_package) for name in names)


def test_freed_memory_is_zeroed_on_every_board() -> None:
    found = recipe.load("virt")
    assert "init_on_free=1" in found.cmdline_common.split()
    assert "cma=0" not in found.cmdline_common + found.cmdline_pi  # the Pi's firmware needs it


def module(*needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def tree(root: Path) -> modules.ModuleTree:
    (root / "kernel").mkdir()
    (root / "modules.builtin").write_text("kernel/drivers/virtio/virtio_pci.ko\n")
    for name, needs in {"net": ("mid", "low"), "mid": ("low",), "low": ()}.items():
        (root / f"kernel/{name}.ko").write_bytes(module(*needs))
    (root / "kernel/usb-storage.ko").write_bytes(module())
    return modules.ModuleTree(root)


def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    assert tree(tmp_path).order(["net"]) == ["low", "mid", "net"]


def test_a_dash_in_a_file_name_is_an_underscore_in_a_module_name(tmp_path: Path) -> None:
    assert tree(tmp_path).order(["usb-storage", "usb_storage"]) == ["usb_storage"]


def test_what_is_built_in_needs_no_loading(tmp_path: Path) -> None:
    assert tree(tmp_path).order(["virtio_pci"]) == []


def test_a_module_that_does_not_exist_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nonsense"):
        tree(tmp_path).order(["nonsense"])
