"""The one error of the emulator side, with the exit code it leads to.

0  done, every check passed
1  a check failed
2  usage; or an image, a program or firmware is missing
3  the guest did not come up
"""

CHECK_FAILED = 1
USAGE = 2
NO_GUEST = 3


class QemuError(Exception):
    """The guest cannot be started, reached or used.

    Args:
        message: What happened, in one line.
        hint: What to do about it, or empty.
        code: Exit code of the program.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = CHECK_FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
