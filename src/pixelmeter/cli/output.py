"""Rows to standard output: a table to read, JSON to parse, CSV to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal

import click

__all__ = ["emit", "emit_json", "plain", "write_csv"]

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# Wide enough that nothing is cut where the reader is a file or a pipe.
_UNBOUNDED = 4000
_NARROWEST = 12


def emit(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    format: str,
    *,
    right: Collection[str] = (),
    total: Mapping[str, object] | None = None,
) -> None:
    """Print rows as `table`, `json` (a list of objects) or `csv`, with these columns in this order.

    Numbers are aligned to the right, as are the columns named in `right`; `total` is one more row under a table's
    line. None is an empty cell, or null in JSON. Text from outside cannot steer the terminal or start a formula.
    """
    if format == "json":
        emit_json([{column: row.get(column) for column in columns} for row in rows])
    elif format == "csv":
        write_csv(rows, columns)
    else:
        _table(rows, columns, right, total)


def emit_json(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON document; a Decimal becomes a string."""
    sys.stdout.write(json.dumps(value, indent=indent, default=_jsonable) + "\n")


def write_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, header: bool = True) -> None:
    """Print CSV: text in quotes and never a formula, numbers (and text that is exactly a number) bare."""
    writer = csv.writer(sys.stdout, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    if header:
        writer.writerow(columns)
    read = plain if sys.stdout.isatty() else _text
    writer.writerows([_cell(row.get(column), read) for column in columns] for row in rows)


def plain(value: object) -> str:
    """Return the text of a value without what could steer a terminal: escape sequences and invisible characters."""
    text = _text(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in click.unstyle(text) if unicodedata.category(c) not in _INVISIBLE)


def _table(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    right: Collection[str],
    total: Mapping[str, object] | None,
) -> None:
    from rich import box
    from rich.console import Console, ConsoleDimensions
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_footer=total is not None, show_edge=False, padding=(0, 1, 0, 0))
    grid: list[list[Text]] = []
    for column in columns:
        cells = [Text(plain(row.get(column))) for row in rows]
        # The key of a tag is somebody's name for it.
        words = column if column.startswith("tag:") else column.replace("_", " ")
        heading, footer = Text(words), Text(plain(total.get(column)) if total else "")
        natural = max(cell.cell_len for cell in (heading, footer, *cells))
        is_right = column in right or any(_is_number(row.get(column)) for row in rows)
        table.add_column(
            heading,
            footer=footer,
            justify="right" if is_right else "left",
            overflow="fold",
            min_width=natural if is_right else min(natural, _NARROWEST),
        )
        grid.append(cells)
    for line in zip(*grid, strict=True):
        table.add_row(*line)
    console = Console(file=sys.stdout, highlight=False)
    unbounded = console.options.update(max_width=_UNBOUNDED)
    # A cut number is a wrong number: what does not fit runs over the edge of the terminal.
    needed = Measurement.get(console, unbounded, table).minimum if sys.stdout.isatty() else _UNBOUNDED
    console.size = ConsoleDimensions(max(console.width, needed), console.height)
    console.print(table)


class _Bare(str):
    """A cell without quotes: the csv module leaves them off whatever can be a float."""

    __slots__ = ()

    def __float__(self) -> float:
        raise TypeError("csv only asks whether this method is there")


def _cell(value: object, read: Callable[[object], str]) -> str:
    text = read(value)
    if value is None or _is_number(value) or _NUMBER.fullmatch(text):
        return _Bare(text)
    return "'" + text if text.startswith(_FORMULA) else text


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _jsonable(value: object) -> object:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
