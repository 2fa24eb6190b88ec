"""A private apt for one architecture: signed indexes and downloads, away from the host's own.

apt runs unprivileged, with its own empty package database, so nothing of the host's packages,
pins or caches has a say. apt checks the signature of the index and the hash of each download.
"""

import re
from pathlib import Path

from image import mirror
from image.errors import DOWNLOAD, ImageError
from image.lock import Deb
from image.mirror import Mirror
from image.progress import say
from image.run import run


class Archive:
    """One suite of Debian, seen as a machine of `arch` would see it.

    Args:
        state: Folder for apt's indexes; may be kept between builds.
        where: The mirror.
        arch: Debian's name of the architecture.
        suite: Debian's code name.
        components: For example main, non-free-firmware.
    """

    def __init__(
        self, state: Path, where: Mirror, *, arch: str, suite: str, components: list[str]
    ) -> None:
        self._state = state.resolve()
        self._where = where
        self._arch = arch
        self._suite = suite
        self._components = " ".join(components)

    def update(self) -> None:
        """Fetch the indexes; the security suite too, where it is known or can be guessed."""
        for folder in ("lists/partial", "cache/archives/partial"):
            (self._state / folder).mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()
        key = mirror.keyring()
        main = f"deb [signed-by={key} arch={self._arch}] {self._where.main} {self._suite}"
        lines = [f"{main} {self._components}"]
        # Mirrors that carry the security archive at all do so beside the main one.
        security = self._where.security or f"{self._where.main}-security"
        extra = f"deb [signed-by={key} arch={self._arch}] {security} {self._suite}-security"
        try:
            self._write([*lines, f"{extra} {self._components}"])
            self._apt("apt-get", "update", "-oAPT::Update::Error-Mode=any")
        except ImageError as exc:
            if self._where.security:
                raise self._unreachable(exc) from exc
            say(f"note: no security archive beside {self._where.main}, going without")
            self._write(lines)
            try:
                self._apt("apt-get", "update", "-oAPT::Update::Error-Mode=any")
            except ImageError as again:
                raise self._unreachable(again) from again

    def versions(self, names: list[str]) -> dict[str, list[Deb]]:
        """All versions on offer of each package, the newest first; unknown names are left out."""
        text = self._apt("apt-cache", "show", *names, check=False)
        found: dict[str, list[Deb]] = {}
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"(?m)^([\w-]+): (.*)$", stanza))
            if "SHA256" in fields:
                deb = Deb(
                    fields["Package"],
                    fields["Architecture"],
                    fields["Version"],
                    int(fields["Size"]),
                    fields["SHA256"],
                )
                found.setdefault(deb.name, []).append(deb)
        return found

    def depends(self, name: str) -> str:
        """The Depends field of a package's newest version."""
        text = self._apt("apt-cache", "show", "--no-all-versions", name, check=False)
        found = re.search(r"(?m)^Depends: (.*)$", text)
        if not found:
            raise ImageError(f"{name}: not in {self._suite} for {self._arch}", code=DOWNLOAD)
        return found[1]

    def fetch(self, debs: list[Deb], folder: Path) -> None:
        """Download packages into a folder; apt compares each with the signed index."""
        self._apt("apt-get", "download", *(f"{d.name}={d.version}" for d in debs), cwd=folder)

    def _unreachable(self, exc: ImageError) -> ImageError:
        hint = "is the network up? another archive: MIRROR=<address>"
        return ImageError(f"archive {self._where.main}: {exc}", hint=hint, code=DOWNLOAD)

    def _write(self, lines: list[str]) -> None:
        (self._state / "sources.list").write_text("\n".join(lines) + "\n")

    def _apt(self, tool: str, *args: str, cwd: Path | None = None, check: bool = True) -> str:
        options = {
            "Dir::Etc::sourcelist": self._state / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self._state,
            "Dir::State::status": self._state / "status",
            "Dir::Cache": self._state / "cache",
            "APT::Architecture": self._arch,
            "APT::Architectures::": self._arch,
            "APT::Sandbox::User": "root",  # no effect for users; root may not hand files to _apt
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        flags = [f"-o{key}={value}" for key, value in options.items()]
        return run([tool, *flags, "-q", *args], cwd=cwd, check=check)
