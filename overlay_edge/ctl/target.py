"""The node a verb talks to: its OAP port through the client, its admin plane over HTTP.

Nobody is believed without a reason: a pin, an authority, or the admin plane of this very
machine, which tells the fingerprint over loopback where nobody else can answer.
"""

import ipaddress
import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from overlay_edge.errors import ConfigError, TransportError

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from overlay_edge.client import Client

MAX_PAGE_BYTES = 1 << 20
PIN_HINT = (
    "take it from the node's console, its log or http://ITS-ADDRESS:9600/version, and compare "
    "it there: whoever can change what you read there can pose as the node"
)
START_HINT = "is the node running? start one with: overlay-edge"


def connect(args: Namespace) -> "AbstractAsyncContextManager[Client]":
    """Dial the node of the arguments; enter the result."""
    from overlay_edge.client import connect as dial
    from overlay_edge.config import PqMode

    ca = None
    if args.ca:
        with open(args.ca, "rb") as file:
            ca = (args.ca, file.read(MAX_PAGE_BYTES))
    cap, sign = None, None
    if args.cap:
        from overlay_edge.ctl.keyfile import read_cap, read_key

        cap = read_cap("--cap", args.cap).cap
        sign = read_key("--cap-key", args.cap_key).sign if args.cap_key else None
    elif args.cap_key:
        raise ConfigError(["--cap: missing, expected with --cap-key"])
    return dial(
        args.addr,
        pin=args.pin or (None if ca else local_pin(args)),
        ca=ca,
        pq_mode=PqMode(args.pq_mode),
        timeout_s=args.timeout,
        cap=cap,
        sign=sign,
    )


def local_pin(args: Namespace) -> str:
    """The fingerprint of a node on this machine.

    Raises:
        ConfigError: The node or the admin plane is somewhere else.
        TransportError: The admin plane does not tell.
    """
    for option, address in (("--addr", args.addr), ("--admin", args.admin)):
        if not is_loopback(address):
            raise ConfigError(
                [f"--pin: missing, expected because {option} {address} is another machine"],
                hint=PIN_HINT,
            )
    _, page = read_json(args, "/version")
    pin = page.get("fingerprint")
    if not isinstance(pin, str) or len(pin) != 64:
        raise TransportError(f"{args.admin}: /version has no fingerprint")
    return pin


def is_loopback(address: str) -> bool:
    """True if ``host:port`` cannot leave this machine."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def admin_plane(args: Namespace) -> "Iterator[HTTPConnection]":
    """A connection to the admin plane, closed at the end.

    Raises:
        TransportError: Nobody answers in time, or not in HTTP.
    """
    import http.client

    connection = http.client.HTTPConnection(args.admin, timeout=args.timeout)
    try:
        yield connection
    except TimeoutError:
        raise TransportError(
            f"admin plane {args.admin}: silent, no answer in time", hint=START_HINT
        ) from None
    except OSError as exc:
        raise TransportError(
            f"admin plane {args.admin}: {exc.strerror or exc}", hint=START_HINT
        ) from exc
    except http.client.HTTPException as exc:
        raise TransportError(f"{args.admin}: {type(exc).__name__}, expected HTTP") from exc
    finally:
        connection.close()


def read_page(args: Namespace, path: str) -> tuple[int, bytes]:
    """Status and body of a page of the admin plane.

    Raises:
        TransportError: Nobody answers, or not in HTTP.
    """
    with admin_plane(args) as connection:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(MAX_PAGE_BYTES)


def read_json(args: Namespace, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of a page of the admin plane.

    Raises:
        TransportError: Nobody answers, or it is not the admin plane that does.
    """
    status, body = read_page(args, path)
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        page = None
    if not isinstance(page, dict):
        raise TransportError(f"{args.admin}: {path} is not a JSON object, is it the admin plane?")
    return status, page
