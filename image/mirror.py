"""Finds a Debian archive to build from, in what the host already uses.

Order: `MIRROR=` (and `SECURITY_MIRROR=`), then the Debian entries of the host's own apt sources,
then the default of the installed debootstrap. No address is written down in this project: the
host's administrator has chosen one already, and every index is checked against Debian's keys.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from image.errors import ImageError

CODENAMES = {"bullseye", "bookworm", "trixie", "forky", "duke", "sid"}
ALIASES = {"oldoldstable", "oldstable", "stable", "testing", "unstable"}
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where packages come from; an empty `security` means: guess it from `main`, else without."""

    main: str
    security: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of apt's configuration."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str


def one_line_sources(text: str) -> Iterable[Source]:
    """Parse `deb [options] uri suite components...` lines."""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if found:
            options = dict(o.split("=", 1) for o in (found[1] or "").split() if "=" in o)
            signed_by = options.get("signed-by", "")
            yield Source(found[2], found[3], tuple(found[4].split()), signed_by)


def deb822_sources(text: str) -> Iterable[Source]:
    """Parse stanzas of `Types:`, `URIs:`, `Suites:`, `Components:`."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", plain):
        fields = {
            key.lower(): " ".join(value.split())
            for key, value in re.findall(r"(?m)^([\w-]+):((?:.*(?:\n[ \t]+.*)*))", stanza)
        }
        if fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        if "deb" in fields.get("types", "").split():
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    components = tuple(fields.get("components", "").split())
                    yield Source(uri, suite, components, fields.get("signed-by", ""))


def choose(sources: Iterable[Source]) -> Mirror | None:
    """Pick the Debian archive among apt entries; other people's repositories are passed over."""
    main, security = "", ""
    for source in sources:
        base, _, kind = source.suite.replace("/", "-").partition("-")
        is_debian = base in CODENAMES | ALIASES and "main" in source.components
        is_remote = source.uri.startswith(("http://", "https://"))
        # Third-party repositories use Debian's suite names too, but neither its path nor its key.
        is_ours = "debian-archive" in source.signed_by or (
            not source.signed_by and "debian" in source.uri.rstrip("/").rpartition("/")[2]
        )
        if not (is_debian and is_remote and is_ours):
            continue
        if kind in {"security", "updates"} and "security" in source.suite + source.uri:
            security = security or source.uri.rstrip("/")
        elif not kind:
            main = main or source.uri.rstrip("/")
    return Mirror(main, security) if main else None


def host_sources(etc: Path = Path("/etc/apt")) -> Iterable[Source]:
    """Every entry of the host's apt configuration."""
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            yield from one_line_sources(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            yield from deb822_sources(path.read_text(errors="replace"))


def debootstrap_default() -> str:
    """The archive the installed debootstrap would use for a Debian suite, or empty."""
    script = shutil.which("debootstrap", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not script:
        return ""
    found = re.search(r'(?m)^\s*DEF_MIRROR="?([^"\s]+)', Path(script).read_text(errors="replace"))
    return found[1].rstrip("/") if found and "debian" in found[1] else ""


def find(environ: Mapping[str, str], *, flag: str = "", etc: Path = Path("/etc/apt")) -> Mirror:
    """Decide on the archive; the error says how to name one."""
    security = environ.get("SECURITY_MIRROR", "").rstrip("/")
    given = (flag or environ.get("MIRROR", "")).rstrip("/")
    if given:
        return Mirror(given, security)
    chosen = choose(host_sources(etc))
    if chosen:
        return Mirror(chosen.main, security or chosen.security)
    default = debootstrap_default()
    if default:
        return Mirror(default, security)
    raise ImageError(
        "no Debian archive known on this machine",
        hint="apt-get install debootstrap, or name one: MIRROR=<address>",
    )


def keyring() -> Path:
    """The file with Debian's archive keys."""
    for path in KEYRINGS:
        if path.is_file():
            return path
    hint = "apt-get install debian-archive-keyring"
    raise ImageError("Debian's archive keys are not on this machine", hint=hint)
