"""What changes a running node: POST to its admin plane, with a capability where it asks for one."""

import json
from argparse import Namespace
from typing import Any

from overlay_edge.ctl.target import MAX_PAGE_BYTES, admin_plane, is_loopback
from overlay_edge.errors import ConfigError, Refused, TransportError
from overlay_edge.host.terminal import printable

MAX_LEDGER_BYTES = 16 << 20  # 65536 streams of 250 bytes


def post(args: Namespace, path: str, fields: dict[str, object]) -> dict[str, Any]:
    """Ask for a change, and return what the node says to it.

    Raises:
        Refused: The node does not do it.
        TransportError: Nobody answers, or not in HTTP and JSON.
    """
    headers = {"Connection": "close", "Content-Type": "application/json", **bearer(args)}
    with admin_plane(args) as connection:
        connection.request("POST", path, json.dumps(fields), headers)
        response = connection.getresponse()
        status, body = response.status, response.read(MAX_PAGE_BYTES)
    return answer(args, path, status, body)


def read(args: Namespace, path: str) -> dict[str, Any]:
    """A page that is only for who may control the node.

    Raises:
        Refused: The node does not show it.
        TransportError: Nobody answers, or not in JSON.
    """
    with admin_plane(args) as connection:
        connection.request("GET", path, headers={"Connection": "close", **bearer(args)})
        response = connection.getresponse()
        status, body = response.status, response.read(MAX_LEDGER_BYTES)
    return answer(args, path, status, body)


def bearer(args: Namespace) -> dict[str, str]:
    """The header with the capability of ``--cap``; plain HTTP to elsewhere would give it away."""
    if not args.cap:
        return {}
    if not is_loopback(args.admin):
        raise ConfigError(
            [f"--cap: anyone between here and {args.admin} could read it, expected loopback"],
            hint="ssh -L 9600:127.0.0.1:9600 to the node, then --admin 127.0.0.1:9600",
        )
    from overlay_edge.ctl.keyfile import cap_text, read_cap

    return {"Authorization": f"Bearer {cap_text(read_cap('--cap', args.cap).cap)}"}


def answer(args: Namespace, path: str, status: int, body: bytes) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ConfigError: The node's settings are wrong, with every mistake.
        Refused: The node does not do it.
        TransportError: It is not a JSON object.
    """
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        page = None
    if not isinstance(page, dict):
        raise TransportError(f"{args.admin}: {path} is not a JSON object, is it the admin plane?")
    if status >= 400:
        token, message = page.get("error"), page.get("message")
        hint, mistakes = str(page.get("hint", "")), page.get("mistakes")
        if isinstance(mistakes, list) and mistakes:
            raise ConfigError([str(line) for line in mistakes], hint=hint)
        raise Refused(
            status,
            token if isinstance(token, str) else "refused",
            printable(message if isinstance(message, str) else f"status {status}"),
        )
    return page
