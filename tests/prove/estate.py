"""A board of a site: an image with the site's files, its secrets, and a shell to break it with."""

import base64
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from image import fat
from overlay_edge.proto.capability import Grant, Op, join_section
from tests.prove import agent
from tests.prove.canary import Canary, random_text
from tests.support.mint import Site

BROKER = "10.0.2.100"  # what the guest dials; QEMU leads it to a real broker on loopback
BROKER_PORT = 8883
EVERY = Grant(rights={op: ("",) for op in Op}, topics=("**",))
SETTINGS = """\
{top}
[timeouts]
read = "10m"
idle = "1h"

[peer]
send_window_frames = 1

[store]
ttl = "{ttl}"

[auth]
mode = "write"
keys = ["{key}"]

[gossip]
enabled = true
cache_age = "1h"

[tls]
cert = "/run/site/tls.pem"
key = "/run/site/tls.key"

[audit]
sink = "mqtts://{broker}:{port}/{topic}"
ca = "/run/site/ca.pem"
credentials = "/run/site/broker.cred"
{more}
"""


@dataclass(frozen=True, slots=True)
class Estate:
    """One board.

    Attributes:
        image: Its own copy of the image.
        site: Who signs its capabilities.
        canaries: The secrets it was given.
        broker: PEM files of the broker: certificate and key.
        user, password: What the board logs in with there.
    """

    image: Path
    site: Site
    canaries: tuple[Canary, ...]
    broker: tuple[Path, Path]
    user: str
    password: str

    def mint(self) -> tuple[bytes, str]:
        """A capability for everything, and the id to revoke it by."""
        from biscuit_auth import Biscuit

        token = self.site.mint(EVERY, issued=time.time())
        ids = Biscuit.from_bytes(token, self.site.pair.public_key).revocation_ids
        return token, str(ids[0])


def section(token: bytes) -> bytes:
    """A capability as it stands in a frame."""
    return join_section(b"", token)


def bearer(token: bytes) -> str:
    """A capability as it stands in an HTTP header."""
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def settle(
    built: Path,
    folder: Path,
    *,
    ttl: str = "1h",
    top: str = "",
    more: str = "",
    files: dict[str, bytes] | None = None,
    cmdline: tuple[str, str] | None = None,
    has_agent: bool = True,
) -> Estate:
    """Make a board out of an image as it was built.

    Args:
        built: Stays as it is.
        folder: Takes the copy and what is put into it; in RAM, for it has secrets.
        ttl: How long the board keeps an object.
        top: Further settings that are in no section.
        more: Further sections.
        files: Further files of the image, over those it has.
        cmdline: Words of the kernel's command line to replace, and by what.
        has_agent: Put the shell in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / "edge.img"
    shutil.copyfile(built, image)
    site = Site()
    number = 1 + secrets.randbelow(2**255)
    key = ec.derive_private_key(number, ec.SECP256R1())
    user, password = random_text("user-").decode(), random_text("password-").decode()
    topic = random_text("topic-").decode()
    broker = _broker_identity(folder)
    text = SETTINGS.format(
        top=top,
        ttl=ttl,
        key=site.public.hex(),
        broker=BROKER,
        port=BROKER_PORT,
        topic=topic,
        more=more,
    )
    _put(image, folder, "overlay-edge.toml", text.encode())
    run = ["mmd", "-i", f"{image}@@{fat.PARTITION_START * fat.SECTOR}", "::site"]
    subprocess.run(run, check=True, env={"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"})
    _put(image, folder, "site/tls.pem", _pem(_certificate(key, "overlay-edge")))
    _put(image, folder, "site/tls.key", _key_pem(key))
    _put(image, folder, "site/ca.pem", broker[0].read_bytes())
    _put(image, folder, "site/broker.cred", f"{user}:{password}\n".encode())
    if cmdline is not None:
        entry = folder / "entry.conf"
        fat.read(image, "loader/entries/overlay-edge.conf", entry)
        _put(
            image,
            folder,
            "loader/entries/overlay-edge.conf",
            entry.read_bytes().replace(cmdline[0].encode(), cmdline[1].encode()),
        )
        entry.unlink()
    if has_agent or files:
        agent.add_files(image, files or {}, folder)
    canaries = (
        Canary("private key", (number.to_bytes(32, "big"),)),
        Canary("MQTT credentials", (user.encode(), password.encode())),
        Canary("config secret", (topic.encode(),)),
    )
    return Estate(image, site, canaries, broker, user, password)


def _put(image: Path, folder: Path, name: str, data: bytes) -> None:
    source = folder / "travelling"
    source.write_bytes(data)
    fat.copy_in(image, source, name)
    source.unlink()


def _broker_identity(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    paths = folder / "broker.pem", folder / "broker.key"
    paths[0].write_bytes(_pem(_certificate(key, BROKER)))
    paths[1].write_bytes(_key_pem(key))
    return paths


def _certificate(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=400))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    if name == BROKER:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(BROKER))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
