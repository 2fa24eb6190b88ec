"""`ronctl`: which verbs there are, the options they share, and how they end.

Exit codes: 0 done, 1 failed or refused, 2 usage or a setting is wrong.

Each verb is a module with ``register(verbs, shared)`` and loads what it needs when it runs:
`ronctl --help` and `ronctl oap decode` must not wait for a TLS library.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from overlay_edge import __version__
from overlay_edge.ctl import (
    amnesia,
    audit,
    budget,
    bus,
    cap,
    config,
    echo,
    gaps,
    get,
    head,
    oap,
    panic,
    peers,
    publish,
    purge,
    put,
    sim,
    status,
    stop,
    subscribe,
)
from overlay_edge.ctl.output import complain
from overlay_edge.ctl.shapes import digest, endpoint, seconds, url
from overlay_edge.errors import ConfigError, EdgeError, TransportError

FAILED, USAGE = 1, 2
VERBS = (
    put,
    get,
    head,
    echo,
    publish,
    subscribe,
    peers,
    gaps,
    purge,
    stop,
    panic,
    status,
    config,
    amnesia,
    budget,
    bus,
    audit,
    oap,
    cap,
    sim,
)


def entry() -> None:
    """Run as a program."""
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # half-written files are removed
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code."""
    defaults = argparse.Namespace(
        addr="127.0.0.1:9444",
        admin="127.0.0.1:9600",
        pin=None,
        ca=None,
        cap=None,
        cap_key=None,
        pq_mode="hybrid",
        timeout=5.0,
        patience=30.0,
        json=False,
    )
    args = parser().parse_args(argv, defaults)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        complain(error, as_json=args.json)
        return USAGE
    except EdgeError as error:
        complain(error, as_json=args.json)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as exc:
        what = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror or exc)
        complain(TransportError(what), as_json=args.json)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
    return FAILED


def parser() -> argparse.ArgumentParser:
    """All verbs; the shared options may stand before or behind the verb."""
    shared = argparse.ArgumentParser(
        add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    add = shared.add_argument
    add("--addr", type=endpoint, metavar="HOST:PORT", help="the node (127.0.0.1:9444)")
    add("--admin", type=url, metavar="URL", help="its admin plane (http://127.0.0.1:9600)")
    add(
        "--pin",
        type=digest,
        metavar="SHA256",
        help="fingerprint of the node's certificate: on its console, in its log and in /version;"
        " for a node on this machine it is asked from the admin plane",
    )
    add("--ca", metavar="FILE", help="PEM of the authorities to believe, instead of --pin")
    add("--cap", metavar="FILE", help="capability to use, from ronctl cap mint")
    add("--cap-key", metavar="FILE", help="private key of the holder whom that capability names")
    add("--pq-mode", choices=["hybrid", "classical"], help="key exchange to offer (hybrid)")
    add("--timeout", type=seconds, metavar="SECONDS", help="to connect and greet (5)")
    add(
        "--patience",
        type=seconds,
        metavar="SECONDS",
        help="how long to wait in all when a node asks to come back later (30)",
    )
    add("--json", action="store_true", help="one JSON object on stdout, errors too on stderr")
    top = argparse.ArgumentParser(
        prog="ronctl",
        description="Use and look at an overlay-edge node.",
        epilog="exit codes: 0 done, 1 failed or refused, 2 usage or a setting is wrong",
        parents=[shared],
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"ronctl {__version__}")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for verb in VERBS:
        verb.register(verbs, shared)
    return top
