"""CSV and JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, Protocol

import msgspec

from pixelmeter.core.text import not_a_formula
from pixelmeter.export.tables import Column, Kind, Table, as_text

__all__ = ["CsvRows", "JsonLines", "RowWriter", "csv_line", "quoted", "quoted_name"]

_BARE: tuple[Kind, ...] = ("integer", "money", "seconds", "flag")
_MICROSECONDS_PER_SECOND = 1_000_000

_encode = msgspec.json.Encoder().encode


class RowWriter(Protocol):
    """Writes the rows of a table to a file that somebody else opens and closes."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows as `pixelmeter.ledger.exports.rows` has them."""
        ...

    def close(self) -> None:
        """Write what is left: after that the file is whole."""
        ...

    def abandon(self) -> None:
        """Let go of a file that will not be whole."""
        ...


def quoted(text: str) -> str:
    """Return text as a cell of a CSV file that a spreadsheet takes for no formula."""
    return '"' + not_a_formula(text).replace('"', '""') + '"'


quoted_name = lru_cache(maxsize=4096)(quoted)
"""The same, of what comes again and again."""


def csv_line(cells: Sequence[str]) -> str:
    return ",".join(cells) + "\n"


class CsvRows:
    """CSV in UTF-8: text in quotes, numbers bare, nothing where nothing is known."""

    def __init__(self, table: Table, file: BinaryIO) -> None:
        self._file = file
        self._cells = [_cell(column) for column in table.columns]
        file.write(csv_line([quoted(column.name) for column in table.columns]).encode())

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        cells = self._cells
        lines = [
            csv_line(["" if value is None else cell(value) for cell, value in zip(cells, row, strict=True)])
            for row in rows
        ]
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class JsonLines:
    """One JSON object a line, as `pixelmeter calls --format json` has them."""

    def __init__(self, table: Table, file: BinaryIO) -> None:
        self._file = file
        self._names = [column.name for column in table.columns]
        self._changed = [(n, _jsonable(c.kind)) for n, c in enumerate(table.columns) if c.kind in _OF_JSON]

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        lines: list[bytes] = []
        for row in rows:
            values = list(row)
            for place, convert in self._changed:
                if values[place] is not None:
                    values[place] = convert(values[place])
            lines.append(_encode(dict(zip(self._names, values, strict=True))))
        lines.append(b"")
        self._file.write(b"\n".join(lines))

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def _cell(column: Column) -> Callable[[Any], str]:
    text = as_text(column.kind)
    if column.kind in _BARE:
        return text
    if column.kind == "moment":
        return lambda value: f'"{text(value)}"'
    return quoted_name if column.kind == "name" else quoted


def _seconds(microseconds: int) -> float:
    return microseconds / _MICROSECONDS_PER_SECOND


def _json(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


_OF_JSON: dict[Kind, Callable[[Any], object]] = {
    "money": as_text("money"),
    "moment": as_text("moment"),
    "seconds": _seconds,
    "tags": _json,
    "json": _json,
}


def _jsonable(kind: Kind) -> Callable[[Any], object]:
    return _OF_JSON[kind]
