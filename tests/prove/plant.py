"""Plants every class of canary in a running guest, as peers and operators would bring them."""

import http.client
import json
import secrets
import time
from dataclasses import dataclass, field

from overlay_edge.proto.frame import CHUNK_BYTES, encode_json
from qemu.guest import Guest
from tests.prove.canary import WINDOW, Canary, random_text
from tests.prove.estate import Estate, bearer, section
from tests.prove.talker import Talker

COPIES = 16 << 10  # of a mark in one object: 256 KiB, four chunks
MAX_TOPIC, TOPIC_STEP = 128, 8  # characters
SECRET_BYTES = 32  # an Ed25519 key
MESSAGE_BYTES = 4 << 10
UPLOAD_BYTES = 1 << 20  # announced; half of it is sent


@dataclass(slots=True)
class Planted:
    """What one round has planted, and who still holds on to it.

    Attributes:
        canaries: Their classes.
        talkers: Sessions to keep open, or some of it would be gone already.
        stream: The operator's stream of events, open too.
        token: The capability that stored the object, and the id to revoke it by.
        operator: Another one, to give orders with.
        stored: When the last object was, in monotonic seconds.
        objects: How many objects.
        least: How many copies of a class must be found at the least.
    """

    canaries: list[Canary]
    talkers: list[Talker]
    stream: http.client.HTTPConnection
    token: tuple[bytes, str]
    operator: bytes
    stored: float
    objects: int
    least: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Let go of the sessions."""
        for talker in self.talkers:
            talker.close()
        self.stream.close()
        self.talkers.clear()


def mark() -> bytes:
    """Sixteen random bytes."""
    return secrets.token_bytes(WINDOW)


def token_secret(token: bytes) -> bytes:
    """The end of a token, which signs what narrows it.

    The signatures before it are no secret: they are the ids by which tokens are revoked.
    """
    return token[-SECRET_BYTES:]


def plant(guest: Guest, estate: Estate) -> Planted:
    """Bring one of each class; what it returns keeps sessions open."""
    body, upload, echo, part, message = (mark() for _ in range(5))
    ua = random_text("agent-")
    # Of every length: an allocator treats each size of memory in a way of its own.
    lengths = range(WINDOW, MAX_TOPIC + 1, TOPIC_STEP)
    topics = [secrets.token_hex(length)[:length].encode() for length in lengths]
    token, revocation_id = estate.mint()
    operator, _ = estate.mint()
    over_http, _ = estate.mint()
    talkers = [Talker(guest.ports.oap, ua=ua.decode(), cap=section(token))]
    holder = talkers[0]
    addresses = []
    for number, topic in enumerate(topics):
        data = number.to_bytes(WINDOW, "big") + (body * COPIES if number == 0 else mark())
        answer = holder.put(data, cap=section(token), topic=topic.decode())
        if answer.code != 200:
            raise ConnectionError(f"put: {answer.code} {answer.payload!r}")
        addresses.append(bytes.fromhex(json.loads(answer.payload)["addr"][3:]))
    stored = time.monotonic()
    holder.begin_put(UPLOAD_BYTES, upload * (UPLOAD_BYTES // 2 // WINDOW), cap=section(token))
    talkers.append(Talker(guest.ports.oap, has_credit=True))
    talkers[1].hold_echo(echo * (CHUNK_BYTES // WINDOW))
    talkers.append(Talker(guest.ports.oap))
    talkers[2].notify_most(part * (CHUNK_BYTES // 2 // WINDOW))
    answer = holder.publish("prove", message * (MESSAGE_BYTES // WINDOW), cap=section(token))
    if answer.code != 200:
        raise ConnectionError(f"publish: {answer.code} {answer.payload!r}")
    stream = listen(guest, over_http)
    canaries = [
        Canary("object bytes", (body,)),
        Canary("object metadata", (*topics, *addresses)),
        Canary("put in progress", (upload,)),
        Canary("echo in transit", (echo,)),
        Canary("frame in transit", (part,)),
        Canary("gossip payload", (message,)),
        Canary("capability", (token_secret(token),)),
        Canary("bearer token (HTTP)", (token_secret(over_http),)),
        Canary("TLS session secrets", tuple(holder.tls_secrets)),
        Canary("log line", (ua,)),
        *estate.canaries,
    ]
    planted = Planted(
        canaries, talkers, stream, (token, revocation_id), operator, stored, len(topics)
    )
    planted.least = {
        "gossip payload": MESSAGE_BYTES // WINDOW,
        "object bytes": COPIES,
        "put in progress": UPLOAD_BYTES // 2 // WINDOW,
    }
    return planted


def listen(guest: Guest, token: bytes) -> http.client.HTTPConnection:
    """Open a stream of the guest's events with a capability in the header."""
    connection = http.client.HTTPConnection("127.0.0.1", guest.ports.admin, timeout=30)
    headers = {"Authorization": f"Bearer {bearer(token)}"}
    connection.request("GET", "/bus?topic=kernel", headers=headers)
    response = connection.getresponse()
    if response.status != 200:
        raise ConnectionError(f"/bus: {response.status}")
    response.readline()  # it is open once its first event is here
    return connection


def order(guest: Guest, token: bytes, path: str, fields: dict[str, object]) -> dict[str, object]:
    """Give an order to the guest's control plane, with a capability."""
    connection = http.client.HTTPConnection("127.0.0.1", guest.ports.admin, timeout=30)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer(token)}"}
    try:
        connection.request("POST", path, encode_json(fields), headers)
        response = connection.getresponse()
        answer: dict[str, object] = json.loads(response.read())
    finally:
        connection.close()
    if response.status >= 400:
        raise ConnectionError(f"{path}: {response.status} {answer}")
    return answer
