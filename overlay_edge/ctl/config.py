"""`ronctl config`: would a node start with this file, with which settings, and take them now."""

import os
from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.errors import ConfigError
from overlay_edge.host.terminal import printable

MAX_FILE_BYTES = 1 << 20


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb and its parts."""
    verb = verbs.add_parser("config", help="check, print or reload settings")
    halves = verb.add_subparsers(required=True, metavar="check|print|reload")
    for name, run, text in (
        ("check", run_check, "name every mistake of a file; exit code 2 if there is one"),
        ("print", run_print, "print the settings a file leads to"),
    ):
        half = halves.add_parser(name, parents=[shared], help=text, description=text)
        choose(half)
        half.set_defaults(run=run)
    text = "have a node read its settings and certificates again; all of it or nothing"
    halves.add_parser("reload", parents=[shared], help=text, description=text).set_defaults(
        run=run_reload
    )


def run_reload(args: Namespace) -> int:
    """Ask for it, and print what differs."""
    from overlay_edge.ctl.control import post

    done = post(args, "/control/reload", {})
    changed = done.get("changed")
    lines = [printable(str(line)) for line in changed] if isinstance(changed, list) else []
    emit(args.json, done, f"version {printable(str(done.get('version')))}", *lines)
    return 0


def run_check(args: Namespace) -> int:
    """Say that it is fine, or raise with every mistake."""
    from overlay_edge.config import require_fit

    name, profile, config, lowered = effective(args)
    require_fit(config)
    emit(
        args.json,
        {"ok": True, "file": name, "profile": profile, "lowered": lowered},
        f"{printable(name)}: ok, profile {profile}",
        *lowered,
    )
    return 0


def run_print(args: Namespace) -> int:
    """Print what is in force."""
    import tomllib

    from overlay_edge.config import to_toml

    name, profile, config, lowered = effective(args)
    text = to_toml(config)
    notes = [f"# {printable(name)}, profile {profile}", *(f"# {line}" for line in lowered)]
    emit(args.json, tomllib.loads(text), *notes, text.rstrip("\n"))
    return 0


def choose(verb: ArgumentParser) -> None:
    """Add the arguments that :func:`effective` reads."""
    verb.add_argument(
        "file", metavar="FILE", nargs="?", help="RON_CONFIG, or the defaults, if left out"
    )
    verb.add_argument("--profile", metavar="NAME", help="for another board than this one")


def effective(args: Namespace) -> tuple[str, str, Any, list[str]]:
    """The file's name, the profile's, the settings in force, and what the profile lowered."""
    from overlay_edge.config import DEFAULTS, PROFILES, apply_profile, lowered, parse
    from overlay_edge.host.board import detect, profile_text, read_machine

    name = args.file or os.environ.get("RON_CONFIG") or ""
    config = parse(_read(name), source=name) if name else DEFAULTS
    profile = args.profile or config.profile
    if profile == "auto":
        machine = read_machine()
        profile = detect(machine.model, machine.mem_bytes)
    if profile not in PROFILES:
        raise ConfigError([f"--profile: {profile}, expected one of {', '.join(PROFILES)}"])
    fitted = apply_profile(config, profile_text(profile))
    return name or "defaults", profile, fitted, list(lowered(config, fitted))


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES).decode()
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{path}: byte {exc.start} is not UTF-8"]) from exc
