"""Rows to standard output: a table to read, JSON to parse, CSV to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from pixelmeter.core.text import not_a_formula

if TYPE_CHECKING:
    from pixelmeter.cli.table import Column

__all__ = ["emit", "emit_json", "plain", "say", "table_columns", "warn", "write_csv", "write_csv_rows"]

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def emit(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    format: str,
    *,
    right: Collection[str] = (),
    total: Mapping[str, object] | None = None,
    names: Collection[str] = (),
    drop: Sequence[str] = (),
    below: Sequence[Sequence[str]] = (),
) -> None:
    """Print rows as `table`, `json` (a list of objects) or `csv`, with these columns in this order.

    Numbers are aligned to the right, as are the columns named in `right`; `total` is one more row under a table's
    line. None is an empty cell, or null in JSON. Text from outside cannot steer the terminal or start a formula.

    On a terminal that is too narrow, a table leaves out the columns of `drop`, in this order, then cuts those of
    `names` and wraps other text; a number is never cut. `below` has sentences for each row, which a table has under it.
    """
    if format == "json":
        emit_json([{column: row.get(column) for column in columns} for row in rows])
    elif format == "csv":
        write_csv(rows, columns)
    else:
        from pixelmeter.cli.table import laid_out, terminal_width

        found = table_columns(rows, columns, right=right, total=total, names=names, drop=drop)
        said = [[plain(text) for text in texts] for texts in below]
        for line in laid_out(found, terminal_width(), has_total=total is not None, below=said):
            sys.stdout.write(f"{line}\n")


def emit_json(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON document; a Decimal becomes a string."""
    sys.stdout.write(json.dumps(value, indent=indent, default=_jsonable) + "\n")


def write_csv(rows: Iterable[Mapping[str, object]], columns: Sequence[str], *, header: bool = True) -> None:
    """Print CSV of these columns, as `write_csv_rows` does."""
    write_csv_rows(([row.get(column) for column in columns] for row in rows), columns, header=header)


def write_csv_rows(rows: Iterable[Sequence[object]], columns: Sequence[str], *, header: bool = True) -> None:
    """Print CSV: text in quotes and never a formula, numbers (and text that is exactly a number) bare."""
    writer = csv.writer(sys.stdout, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    if header:
        writer.writerow(columns)
    read = plain if sys.stdout.isatty() else _text
    writer.writerows([_cell(value, read) for value in row] for row in rows)


def say(text: str) -> None:
    """Print a sentence, wrapped at the words on a terminal; text from outside cannot steer it."""
    from pixelmeter.cli.table import terminal_width, wrapped

    for line in wrapped(plain(text), terminal_width()):
        click.echo(line)


def warn(text: str) -> None:
    """Print a warning to standard error, in the place of a progress bar where there is one."""
    from pixelmeter.cli.progress import make_room

    make_room()
    click.echo(f"Warning: {text}", err=True)


def plain(value: object) -> str:
    """Return the text of a value without what could steer a terminal: escape sequences and invisible characters."""
    text = _text(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in click.unstyle(text) if unicodedata.category(c) not in _INVISIBLE)


def table_columns(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    right: Collection[str] = (),
    total: Mapping[str, object] | None = None,
    names: Collection[str] = (),
    drop: Sequence[str] = (),
) -> list[Column]:
    """Return the columns of a table, with what is in them as text."""
    from pixelmeter.cli.table import Column

    return [
        Column(
            # The key of a tag is somebody's name for it.
            heading=plain(name if name.startswith("tag:") else name.replace("_", " ")),
            cells=[plain(row.get(name)) for row in rows],
            footer=plain(total.get(name)) if total else "",
            is_right=name in right or any(_is_number(row.get(name)) for row in rows),
            is_name=name in names,
            drop=drop.index(name) if name in drop else None,
        )
        for name in columns
    ]


class _Bare(str):
    """A cell without quotes: the csv module leaves them off whatever can be a float."""

    __slots__ = ()

    def __float__(self) -> float:
        raise TypeError("csv only asks whether this method is there")


_NOTHING = _Bare()


def _cell(value: object, read: Callable[[object], str]) -> str | int | float:
    # A report may have millions. These the csv module writes as they are, as JSON does.
    if type(value) is int or type(value) is float:
        return value
    if value is None:
        return _NOTHING
    text = read(value)
    if _NUMBER.fullmatch(text) or (type(value) is not str and _is_number(value)):
        return _Bare(text)
    return not_a_formula(text)


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
