"""What may be said of an exception of ours in a log: enough to find it, and nothing that must stay private."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from pixelmeter.core.ports import Distrusted
from pixelmeter.errors import PixelmeterError

__all__ = ["described"]

_LONGEST = 300
_PACKAGE = os.path.dirname(__file__)


def described(error: BaseException, path: str = "") -> str:
    """Return what went wrong, and where: "" where nothing may be said beyond the class.

    Of an OSError it is the number by its name, and `path`, which says what we were at work on, or the file below it.
    Our own errors have texts without secrets. The text of any other may hold what a caller sent, so it is the place in
    our code instead.
    """
    if isinstance(error, PixelmeterError):
        return _bounded(str(error))
    parts: list[str] = []
    if isinstance(error, Distrusted):
        parts.append(str(error.strerror))
    elif isinstance(error, OSError) and error.errno is not None:
        parts.append(f"{errno.errorcode.get(error.errno, error.errno)} {os.strerror(error.errno)}")
    if path:
        named = error.filename if isinstance(error, OSError) else None
        parts.append(named if isinstance(named, str) and named.startswith(path) else path)
    else:
        parts.append(_place(error.__traceback__))
    return _bounded(", ".join(filter(None, parts)))


def _bounded(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:_LONGEST]


def _place(traceback: TracebackType | None) -> str:
    """Return the file and the line of ours at which an exception came up or passed by."""
    found = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(f"{_PACKAGE}{os.sep}"):
            found = f"{os.path.relpath(file, _PACKAGE)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found
