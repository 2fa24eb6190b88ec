import pytest

from image import lock
from image.errors import ImageError
from image.lock import Deb

HASH = "ab" * 32
ZLIB = Deb("zlib1g", "arm64", "1:1.3-1", 100, HASH)


def test_a_lock_reads_back_what_it_wrote() -> None:
    other = Deb("busybox-static", "arm64", "1.37", 2, HASH)
    text = lock.render([ZLIB, other, ZLIB])
    assert lock.parse(text) == [other, ZLIB]


def test_the_file_name_is_the_one_apt_gives() -> None:
    assert ZLIB.file_name == "zlib1g_1%3a1.3-1_arm64.deb"


@pytest.mark.parametrize("line", ["zlib1g 1 2 ab", "zlib1g:arm64 1 x ab", "a:b 1 2 zz", "a:b 1 2"])
def test_a_broken_line_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ImageError, match=r"debs\.lock:2: expected"):
        lock.parse(f"# comment\n{line}\n")
