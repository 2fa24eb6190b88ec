"""What may be shown on a terminal: text of peers and operators cannot steer it."""

from overlay_edge.errors import ConfigError, EdgeError

MAX_MESSAGE = 2000  # characters of one line about an error


def printable(text: str, limit: int = 200) -> str:
    """One line that only shows: control and direction characters escaped, cut at ``limit``."""
    shown = text if text.isprintable() else "".join(map(_escaped, text[: limit + 1]))
    return shown if len(shown) <= limit else f"{shown[: max(0, limit - 3)]}..."


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def explain(error: EdgeError) -> list[str]:
    """An error for a person: ``error: ...`` for each mistake, then ``hint: ...``."""
    found = error.mistakes if isinstance(error, ConfigError) else (str(error),)
    lines = [f"error: {printable(line, MAX_MESSAGE)}" for line in found]
    return lines + ([f"hint: {printable(error.hint, MAX_MESSAGE)}"] if error.hint else [])
