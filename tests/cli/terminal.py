"""A terminal of a known width, for what is printed to one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest


def on_a_terminal(action: Callable[[], None], columns: int) -> str:
    """Return what an action of this process writes to a terminal that many columns wide."""
    with opened(columns) as (reader, writer):
        with pytest.MonkeyPatch.context() as patch, os.fdopen(os.dup(writer), "w", encoding="utf-8") as terminal:
            patch.delenv("COLUMNS", raising=False)
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "__stdout__", terminal)
            action()
        os.close(writer)
        return written(reader)


def command_on_a_terminal(*arguments: str, columns: int) -> str:
    """Return what `pixelmeter` writes to a terminal that many columns wide."""
    with opened(columns) as (reader, writer):
        command = [sys.executable, "-m", "pixelmeter", *arguments]
        environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=environment) as process:
            os.close(writer)
            screen = written(reader)
            assert process.stderr is not None
            assert (0, b"") == (process.wait(), process.stderr.read())
        return screen


@contextlib.contextmanager
def opened(columns: int) -> Iterator[tuple[int, int]]:
    """Give both ends of a terminal; whoever takes the writing one closes it."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    try:
        yield reader, writer
    finally:
        os.close(reader)


def written(reader: int) -> str:
    """Return all that was written to a terminal, once nobody writes to it any more."""
    screen = b""
    # Linux ends a terminal that nobody writes to any more by an error.
    with contextlib.suppress(OSError):
        while piece := os.read(reader, 65536):
            screen += piece
    return screen.decode().replace("\r\n", "\n")
