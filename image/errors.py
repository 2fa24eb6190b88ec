"""The one error of the image builder: a line for people, a hint, and the exit code.

0  done
1  failed (a tool, the disk, a signature)
2  usage, recipe or site file
3  a locked download is not to be had, or does not match its hash
4  the staged root lacks something (an import, a library, a kernel module)
5  the flash target was refused, or does not read back what was written
"""

FAILED = 1
USAGE = 2
DOWNLOAD = 3
INCOMPLETE = 4
TARGET = 5


class ImageError(Exception):
    """Building or flashing stops here.

    Args:
        message: What was found and what was expected, in one line.
        hint: What to do about it, or empty.
        code: Exit code of the program.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
