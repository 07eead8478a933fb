"""TOML that users write: parsed, or refused with the line and a reason."""

from __future__ import annotations

import datetime
import re
import tomllib
from typing import Any, cast

__all__ = ["TomlError", "line_at", "parse"]

_LONGEST_MESSAGE = 300
_AT = re.compile(r"\(at line (\d{1,9}), column \d+\)")
_MANY_DIGITS = re.compile(r"[0-9][0-9_]{3999,}")
_DEEP = 50
_HEADER = re.compile(r"\s*(\[\[?)([^\[\]=]{1,200})\]")
_KEY = re.compile(r"""\s*([\w.'"-]{1,200})\s*=""")
_NAME = re.compile(r"[\w-]+")
# Lists of tables in tables of a list, and more.
_DEPTH_OF_DATES = 8
# In a tuple, where a library that stops the clock does not replace it.
_DATE = (cast("type[datetime.date]", datetime.date.__mro__[-2]),)


class TomlError(ValueError):
    """Why a text is no TOML that can be used; `line` is where, the first is 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> dict[str, Any]:
    """Return the document; TomlError for everything that cannot be read, however it is wrong."""
    try:
        document: dict[str, Any] = _real(tomllib.loads(text))
        return document
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        at = _AT.search(message)
        line = int(at[1]) if at else text.count("\n") + 1
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]} … (at line {line})"
        raise TomlError(line, f"this is not TOML: {message}") from None
    except RecursionError:
        raise TomlError(_deep_line(text), "lists or tables are nested too deeply") from None
    except ValueError:
        # What Python says of an integer that has more digits than it converts.
        found = _MANY_DIGITS.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        raise TomlError(line, "a number has too many digits") from None


def line_at(text: str, path: str) -> int:
    """Return the line of a document where a path such as `$.route[1].request.model` is, or the nearest to it; from 1.

    For documents that `parse` takes, with a key a line, as people write them.
    """
    wanted = tuple(_NAME.findall(path))
    best, line = 0, 1
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, each in enumerate(text.split("\n"), start=1):
        header = _HEADER.match(each)
        key = None if header else _KEY.match(each)
        if header:
            table = _table(header[2].strip(), header[1] == "[[", counts)
        elif key is None:
            continue
        here = (*table, *_NAME.findall(key[1])) if key else table
        same = next((at for at, (one, other) in enumerate(zip(here, wanted, strict=False)) if one != other), None)
        if same is None and best < len(here) <= len(wanted):
            best, line = len(here), number
    return line


def _table(name: str, is_one_of_several: bool, counts: dict[tuple[str, ...], int]) -> tuple[str, ...]:
    """Return the path of a table by its header, with the number of each list of tables that it is in."""
    path: tuple[str, ...] = ()
    names = _NAME.findall(name)
    for at, each in enumerate(names):
        path = (*path, each)
        if is_one_of_several and at == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, str(counts[path]))
    return path


def _real(value: Any, depth: int = _DEPTH_OF_DATES) -> Any:
    """Return a value with every date of Python's own class: one of freezegun's is none to what is written in C."""
    if isinstance(value, _DATE) and not hasattr(value, "hour"):
        return _DATE[0](value.year, value.month, value.day)
    if not depth or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [_real(each, depth - 1) for each in cast("Any", value)]
    return {key: _real(each, depth - 1) for key, each in cast("dict[str, Any]", value).items()}


def _deep_line(text: str) -> int:
    """Return the first line that opens more brackets than anybody needs, as far as it can be told."""
    depth = 0
    for number, line in enumerate(text.split("\n"), start=1):
        depth += line.count("[") + line.count("{") - line.count("]") - line.count("}")
        if depth > _DEEP or line.count("[") > _DEEP or line.count("{") > _DEEP:
            return number
    return 1
