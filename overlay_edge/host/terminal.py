"""What may be shown on a terminal: text of peers and operators cannot steer it."""


def printable(text: str, limit: int = 200) -> str:
    """One line that only shows: control and direction characters escaped, cut at ``limit``."""
    shown = text if text.isprintable() else "".join(map(_escaped, text[: limit + 1]))
    return shown if len(shown) <= limit else f"{shown[: max(0, limit - 3)]}..."


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"
