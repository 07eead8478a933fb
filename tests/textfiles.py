"""Files that users may write by mistake, for every reader of such files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["UNREADABLE", "UNUSABLE"]

UNUSABLE: Mapping[str, tuple[str, str]] = {
    "many digits": ("# one\nx = " + "9" * 5000, ":2: a number has too many digits"),
    "many digits with underscores": ("x = 1" + "_000" * 2000, ":1: a number has too many digits"),
    "deep lists": ("\n\nx = " + "[" * 5000 + "]" * 5000, ":3: lists or tables are nested too deeply"),
    "deep tables": ("x = " + "{a = " * 5000 + "1" + "}" * 5000, ":1: lists or tables are nested too deeply"),
    "deep lists over lines": ("x = [\n" + "[\n" * 5000, ":51: lists or tables are nested too deeply"),
    "a control character": ('x = "\x01"', ":1: this is not TOML"),
    "a long name twice": (("a" * 5000 + " = 1\n") * 2, ":2: this is not TOML"),
}
"""TOML by what is wrong with it, and what is said: the line, and the reason."""


def _folder(path: Path) -> str:
    path.mkdir()
    return "it is a folder"


def _pipe(path: Path) -> str:
    os.mkfifo(path)
    return "it is no regular file"


def _huge(path: Path) -> str:
    with path.open("wb") as file:
        file.truncate(10**13)
    return "it is larger than 4 MB"


def _bytes(path: Path) -> str:
    path.write_bytes(b"# one\nx = '\xff'\n")
    return "it is not UTF-8 text, at byte 11 in line 2"


def _wide(path: Path) -> str:
    path.write_text("x = 1\n", encoding="utf-16")
    return "it is UTF-16: save it as UTF-8"


def _dangling(path: Path) -> str:
    path.symlink_to("nowhere")
    return "No such file or directory"


UNREADABLE: Mapping[str, Callable[[Path], str]] = {
    "a folder": _folder,
    "a pipe": _pipe,
    "a huge file": _huge,
    "no UTF-8": _bytes,
    "UTF-16": _wide,
    "a link to nothing": _dangling,
}
"""What is no text file: makes it at a path, and returns what is said of it."""
