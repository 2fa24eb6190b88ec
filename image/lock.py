"""The package lock: exactly which .debs an image is made of.

One line for each package, `name:arch version size sha256`, sorted. The archive's signature
proves where a package comes from; the lock says which one was tested.
"""

from dataclasses import dataclass
from pathlib import Path

from image.errors import USAGE, ImageError


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """One package of the archive, as its signed index describes it."""

    name: str
    arch: str
    version: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """The name apt gives the download; a colon of the epoch is escaped."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.arch}.deb"


def parse(text: str, *, source: str = "debs.lock") -> list[Deb]:
    """Read lock lines; a line that does not parse is refused with its number."""
    debs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            target, version, size, sha256 = line.split()
            name, arch = target.split(":")
            debs.append(Deb(name, arch, version, int(size), bytes.fromhex(sha256).hex()))
        except ValueError as exc:
            expected = "name:arch version size sha256"
            raise ImageError(f"{source}:{number}: expected {expected!r}", code=USAGE) from exc
    return debs


def render(debs: list[Deb]) -> str:
    """Write lock lines, sorted, under a line that says where they come from."""
    head = "# made by `python -m image lock`: name:arch version size sha256\n"
    rows = sorted(set(debs))
    return head + "".join(f"{d.name}:{d.arch} {d.version} {d.size} {d.sha256}\n" for d in rows)


def read(path: Path) -> list[Deb]:
    """Read a lock file; a missing one is an empty one."""
    return parse(path.read_text(), source=path.name) if path.is_file() else []
