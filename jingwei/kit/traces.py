"""Errors told by their places only: a message or a source line may quote a person's data (P-3.3, P-4.1)."""

import logging
import sys
import traceback
from contextlib import suppress


def places(error: BaseException) -> str:
    """The class of an error and the frames it came through, innermost first; its causes below."""
    lines = []
    while error is not None:
        lines.append(f"{type(error).__module__}.{type(error).__qualname__}")
        frames = traceback.extract_tb(error.__traceback__)
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
        error = error.__cause__ or error.__context__
    return "\n".join(lines)


class LineFormatter(logging.Formatter):
    """A log line whose traceback holds places only."""

    def formatException(self, exc_info):
        return places(exc_info[1])


class LineHandler(logging.StreamHandler):
    """Lines to the error stream there is now; a line that can't be written is told by places, too.

    The library's own handler would then print the error that was being told of, with its message.
    """

    def __init__(self):
        super().__init__(sys.stderr)

    def emit(self, record):
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record):
        with suppress(OSError, ValueError):  # the error stream itself is closed or full
            sys.stderr.write(f"A log line of {record.name} was lost:\n{places(sys.exception())}\n")
