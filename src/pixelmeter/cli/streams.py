"""Standard streams that are closed, full or broken end a command with one line and a status, never a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["discard_output", "guarded"]


@contextmanager
def guarded() -> Generator[None]:
    """Run a command; what cannot be written, by the last flush at the latest, ends the process with status 1.

    A reader that has left, as `head` does, is not worth a word; a full disk and a closed stream are.
    """
    _fill()
    try:
        try:
            yield
        finally:
            # Here and not when the interpreter ends, where nothing could be said of it any more.
            sys.stdout.flush()
    except OSError as error:
        discard_output()
        if error.errno != errno.EPIPE:
            _say(error)
        sys.exit(1)


def discard_output() -> None:
    """Let what is written to standard output from now on, and what waits to be, go nowhere."""
    with suppress(OSError, ValueError):
        descriptor = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _fill() -> None:
    """Give the streams that were closed a descriptor: else the next file that is opened, a ledger say, would have it.

    What is written to such a standard output is an error, as it is for other programs; to standard error it goes
    nowhere.
    """
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdin = _opened(os.O_RDONLY, "r")
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdout = _opened(os.O_RDONLY, "w")
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr = _opened(os.O_WRONLY, "w")


def _opened(flags: int, mode: str) -> TextIO:
    # The lowest that is free: that of the stream, as those below it have been filled.
    raw = io.FileIO(os.open(os.devnull, flags), mode)
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace")


def _say(error: OSError) -> None:
    told = error.strerror or str(error)
    if error.filename is not None:
        from pixelmeter.cli.output import plain

        told = f"{plain(error.filename)}: {told}"
    elif not isinstance(error, ConnectionError | TimeoutError):
        # Neither a file nor a connection: a stream.
        told = f"cannot write to standard output: {told}"
    with suppress(OSError, ValueError):
        sys.stderr.write(f"Error: {told}\n")
        sys.stderr.flush()
