"""`overlay-edge`: arguments and files become one config, the config becomes a running node.

    built-in or --defaults  <  --config or RON_CONFIG  <  OVERLAY_*  <  flags  <  profile's caps

Exit codes:

    0  done: stopped when asked, or the check found nothing
    1  failed
    2  usage, or a setting is wrong
    3  the RAM-only promise cannot be kept: swap, a path or a log on a disk, core dumps
    4  an address cannot be bound: the port is in use, or the address is not this machine's
    5  the TLS identity is unusable: certificate, key or self-test
    10  done, and power off was asked for: `ronctl stop --then poweroff`
    11  done, and a reboot was asked for: `ronctl stop --then reboot`
    12  panic: everything was wiped, without a drain; wipe what is outside, and power off

The machine is not touched from here: who started the node acts on 10 to 12, or does not.

Signals:

    SIGTERM, SIGINT  drain, then end; a second SIGINT cuts the drain, wipes, and ends with 1
    SIGHUP           read the settings again
    SIGUSR1          panic; a second one ends at once
"""

import gc
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from overlay_edge import __version__
from overlay_edge.config import (
    DEFAULTS,
    PROFILES,
    Config,
    LogLevel,
    apply_profile,
    lowered,
    parse,
    require_fit,
    to_toml,
)
from overlay_edge.config.values import quoted
from overlay_edge.ending import Ending
from overlay_edge.errors import BindError, ConfigError, EdgeError, IdentityError, PolicyError
from overlay_edge.host.terminal import explain, printable

EXIT_CODES = ((ConfigError, 2), (PolicyError, 3), (BindError, 4), (IdentityError, 5))
FAILED = 1
MAX_FILE_BYTES = 1 << 20  # the parser's own limit is lower; this keeps us from reading a disk
SETTINGS = {  # key -> the variable and the flag that set it
    "oap.addr": ("OVERLAY_OAP_ADDR", "--oap-addr"),
    "admin.addr": ("OVERLAY_ADMIN_ADDR", "--admin-addr"),
    "oap.pq_mode": ("OVERLAY_PQ_MODE", "--pq-mode"),
    "amnesia": ("OVERLAY_AMNESIA", "--amnesia"),
    "profile": ("", "--profile"),
    "log_level": ("", "--log-level"),
    "panic.medium": ("", "--medium"),
}
SWITCH = {"on": "true", "off": "false", "true": "true", "false": "false"}  # what no quotes are for


@dataclass(frozen=True, slots=True)
class Setup:
    """What a start was asked for.

    Attributes:
        config: In force, the profile's caps applied.
        profile: The profile's name.
        origin: How the profile was chosen, for people.
        lowered: One line for each cap the profile lowered.
        config_error: Why the site's file was left out; empty if it was not.
    """

    config: Config
    profile: str
    origin: str
    lowered: tuple[str, ...]
    config_error: str


def entry() -> None:
    """Run as a program."""
    gc.disable()  # nothing of the start is garbage; the node turns it on when it is ready
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except KeyboardInterrupt:  # before the node took over the signal
        sys.exit(FAILED)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what the arguments say and return the exit code."""
    args = _parser().parse_args(argv)
    try:
        setup = gather(args, environ)
        if args.check:
            _print_check(setup)
            return 0
        return _run(setup, partial(gather_again, args, environ))
    except EdgeError as error:
        print(*explain(error), sep="\n", file=sys.stderr)
        return exit_code(error)


def gather(args: Namespace, environ: Mapping[str, str]) -> Setup:
    """Read every source of settings, in order.

    Raises:
        ConfigError: With every mistake of the first source that has any.
    """
    base = DEFAULTS
    if args.defaults:
        base = parse(_read(args.defaults), source=args.defaults)
    config, config_error = base, ""
    path = environ.get("RON_CONFIG") or args.config
    if path:
        try:
            config = parse(_read(path), base=base, source=path)
        except ConfigError as error:
            if args.check or not args.tolerate_bad_config:
                raise
            config_error = str(error)
    config = _with_settings(config, args, environ)
    setup = _with_profile(config, config_error)
    try:
        require_fit(setup.config)
    except ConfigError as error:
        if config_error or args.check or not args.tolerate_bad_config or not path:
            raise
        return _with_profile(_with_settings(base, args, environ), str(error))
    return setup


def gather_again(args: Namespace, environ: Mapping[str, str]) -> Config:
    """Read every source once more, for a reload: a mistake keeps what is in force.

    Raises:
        ConfigError: With every mistake, also where a start would have tolerated it.
    """
    strict = Namespace(**{**vars(args), "tolerate_bad_config": False})
    return gather(strict, environ).config


def exit_code(error: EdgeError) -> int:
    """The documented code for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), FAILED)


def _parser() -> ArgumentParser:
    text = (__doc__ or "").partition("\n\n")[2]
    parser = ArgumentParser(
        prog="overlay-edge",
        description="Run one edge of an overlay network, in RAM only.",
        epilog="settings, later ones win:\n\n" + text,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="TOML settings; RON_CONFIG wins over it")
    add("--defaults", metavar="FILE", help="TOML that replaces the built-in defaults")
    add(
        "--tolerate-bad-config",
        action="store_true",
        help="start without --config's file if it has mistakes, and let /readyz tell them",
    )
    add("--profile", metavar="NAME", help=f"board class: auto, {', '.join(PROFILES)}")
    add("--oap-addr", metavar="HOST:PORT", help=f"for peers and clients ({DEFAULTS.oap.addr})")
    add("--admin-addr", metavar="HOST:PORT", help=f"for the admin plane ({DEFAULTS.admin.addr})")
    add("--pq-mode", metavar="MODE", help="key exchange: hybrid or classical")
    add("--amnesia", metavar="on|off", help="off: start where memory can reach a disk (on)")
    add("--log-level", metavar="LEVEL", help=f"least important line: {', '.join(LogLevel)}")
    add("--medium", metavar="NAME", help="block device to watch, see [panic] in default.toml")
    add("--check", action="store_true", help="print the effective settings and exit")
    add("--version", action="version", version=f"overlay-edge {__version__}")
    return parser


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError([f"{path}: more than {MAX_FILE_BYTES} bytes, expected settings"])
        return data.decode()
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{path}: byte {exc.start} is not UTF-8"]) from exc


def _with_settings(config: Config, args: Namespace, environ: Mapping[str, str]) -> Config:
    """Environment and flags as one TOML text: all their mistakes in one go, and no order."""
    chosen: dict[str, tuple[str, str]] = {}
    for key, (variable, option) in SETTINGS.items():
        if variable and environ.get(variable):
            chosen[key] = (environ[variable], variable)
        flag = getattr(args, option.lstrip("-").replace("-", "_"))
        if flag is not None:
            chosen[key] = (flag, option)
    text = "".join(f"{key} = {_literal(key, value)}\n" for key, (value, _) in chosen.items())
    try:
        return parse(text, base=config, source="flags and environment")
    except ConfigError as error:
        origins = {key: origin for key, (_, origin) in chosen.items()}
        guilty = [f"{key} is from {origin}" for key, origin in origins.items() if key in str(error)]
        raise ConfigError(error.mistakes, hint=error.hint or ", ".join(guilty)) from None


def _literal(key: str, value: str) -> str:
    """TOML of a flag's or variable's text."""
    return SWITCH.get(value, quoted(value)) if key == "amnesia" else quoted(value)


def _with_profile(config: Config, config_error: str) -> Setup:
    from overlay_edge.host.board import detect, profile_text, read_machine

    profile, origin = config.profile, "as configured"
    if profile == "auto":
        machine = read_machine()
        profile = detect(machine.model, machine.mem_bytes)
        origin = f"{machine.model or 'unnamed board'}, {machine.mem_bytes >> 20} MiB"
    fitted = apply_profile(config, profile_text(profile))
    return Setup(fitted, profile, origin, lowered(config, fitted), config_error)


def _print_check(setup: Setup) -> None:
    print(f"# profile {setup.profile} ({printable(setup.origin)})")
    for line in setup.lowered:
        print(f"# {line}")
    print(to_toml(setup.config), end="")


def _run(setup: Setup, read_config: Callable[[], Config]) -> int:
    """Run the node until a signal ends it."""
    import asyncio

    from overlay_edge.host.journal import journal

    journal.configure(str(setup.config.log_level))
    for line in setup.lowered:
        journal.info("cap_lowered", profile=setup.profile, msg=line)
    if setup.config_error:
        journal.warning("config_left_out", reason=setup.config_error)
    try:
        return asyncio.run(_serve(setup, read_config))
    except Exception as exc:
        cause = _cause(exc)
        if isinstance(cause, EdgeError):
            raise cause from None
        journal.exception("service_crashed", cause, msg='ServiceCrashed{service="svc-overlay"}')
        return FAILED


def _cause(exc: Exception) -> Exception:
    """The one to tell of a group: what we can explain before what we cannot."""
    if not isinstance(exc, ExceptionGroup):
        return exc
    leaves = [_cause(inner) for inner in exc.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, EdgeError)), leaves[0])


async def _serve(setup: Setup, read_config: Callable[[], Config]) -> Ending:
    import asyncio
    import signal

    from overlay_edge.host.journal import journal
    from overlay_edge.node import Node
    from overlay_edge.store.wiping import Cause

    node = Node(
        setup.config,
        profile=setup.profile,
        config_error=setup.config_error,
        journal=journal,
        read_config=read_config,
    )
    asked: list[int] = []

    def stop(number: int) -> None:
        asked.append(number)
        if asked.count(signal.SIGINT) > 1:
            journal.warning("shutdown_cut", reason="second interrupt")
            node.panic.overwrite(Cause.DRAIN)
            os._exit(Ending.PANIC if node.panic.is_struck else FAILED)
        node.request_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, node.request_reload)

    def arm(seconds: float) -> None:
        signal.signal(signal.SIGALRM, lambda *_: node.panic.last_resort())
        signal.setitimer(signal.ITIMER_REAL, seconds)

    node.panic.arm = arm
    # Not through the loop: it may be what is stuck.
    signal.signal(signal.SIGUSR1, lambda *_: node.panic.on_signal(loop))
    ending = await node.run()
    if ending is Ending.PANIC:
        os._exit(ending)  # threads and tasks that still run are not waited for
    return ending
