"""Statements from a file: CSV or JSON lines, with the columns that its user names; also compressed by gzip."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import BinaryIO, TextIO, cast

import msgspec

from pixelmeter.core.gateways.amounts import Unit
from pixelmeter.core.ports import Clock
from pixelmeter.core.reconciling.statement import Grain, Period
from pixelmeter.errors import ConfigError, SourceError
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.rows import RowReader, RowShape, currencies_beside, paths
from pixelmeter.reconcile.sources.source import Page
from pixelmeter.system import SystemClock

__all__ = ["COLUMNS", "FileSource"]

COLUMNS = ("id", "time", "model", "amount", "currency", "unit", "images", "requests", "status", "label")
"""What `columns` may name; `unit` is no column but what amounts are counted in, such as cents."""

_PAGE_SIZE = 1000
_LINE_LIMIT = 1 << 20
_LINES_OF_A_RECORD = 20
_COLUMN_LIMIT = 1000
_CHUNK = 1 << 20
_DELIMITERS = ",;\t|"


class FileSource:
    """A file that a gateway lets its users download.

    `columns` says which column (of JSON lines: path) has what; `id` may be several with `|` between. Without
    `currency`, a column of that name is used by itself. Raises ConfigError for what cannot be one.
    """

    base_url: str | None = None
    by_id = False

    def __init__(
        self,
        path: str,
        gateway: str,
        columns: Mapping[str, str],
        *,
        grain: Grain = "request",
        is_complete: bool = False,
        clock: Clock | None = None,
    ) -> None:
        unknown = [name for name in columns if name not in COLUMNS]
        if unknown:
            raise ConfigError(f"there is no {unknown[0][:40]!r} to name a column for: use {', '.join(COLUMNS)}")
        if not columns.get("time"):
            raise ConfigError("say which column has the time: time=COLUMN")
        self.gateway = gateway
        self.grain: Grain = grain
        self.is_complete = is_complete
        self.has_amounts = "amount" in columns
        self.has_images = "images" in columns
        self._path = path
        self._columns = dict(columns)
        self._clock = clock or SystemClock()
        self._is_json = _is_json(path)
        self.id = "jsonl" if self._is_json else "csv"
        self._shape = _shape(columns, grain)

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield pages of a thousand rows; the cursor is the line at which the next one begins.

        A row that cannot be read is named with its line, and the others are read. Raises SourceError where the file
        cannot be read at all.
        """
        first = int(cursor) if cursor is not None and cursor.isdecimal() else 0
        reader = RowReader(
            gateway=self.gateway,
            source=self.id,
            grain=self.grain,
            shape=self._shape,
            period=period,
            read_at=self._clock.now(),
        )
        try:
            encoding, notes = _encoding(self._path)
            with closing(_opened(self._path, encoding)) as text:
                rows = self._json_rows(text, reader) if self._is_json else self._csv_rows(text, reader)
                part = list(islice(rows, _PAGE_SIZE))
                while True:
                    statements = reader.statements((f"line {line}", row) for line, row in part)
                    following = list(islice(rows, _PAGE_SIZE))
                    problems = reader.problems()
                    # Those before the cursor are read again only for rows that nothing tells from later ones.
                    if not part or part[-1][0] >= first:
                        yield Page(tuple(statements), str(following[0][0]) if following else None, problems, notes)
                    if not following:
                        return
                    part = following
        except (OSError, EOFError, UnicodeError) as error:
            text_of = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise SourceError(f"{self._path}: {text_of}. What had been read before is kept") from None

    def _json_rows(self, text: TextIO, reader: RowReader) -> Iterator[tuple[int, bytes]]:
        for number, line in _lines(text, reader):
            if line.strip():
                yield number, line.strip().encode()

    def _csv_rows(self, text: TextIO, reader: RowReader) -> Iterator[tuple[int, bytes]]:
        records = _records(_lines(text, reader), reader)
        header = next(records, None)
        if header is None:
            raise SourceError(f"{self._path} is empty")
        names = [name.strip() for name in header[1]]
        wanted = {str(path): names.index(path) for path in self._shape.all_kept if path in names}
        missing = [str(path) for path in self._shape.all_kept if path not in names]
        if missing:
            shown = ", ".join(names[:30])[:400]
            raise SourceError(f"{self._path} has no column {missing[0][:80]!r}; it has {shown}")
        if not self._shape.currency:
            beside = (name for path in self._shape.amount for name in currencies_beside(names, path))
            wanted |= {name: names.index(name) for name in beside}
        for number, values in records:
            if len(values) != len(names):
                reader.problem(f"line {number} has {len(values)} fields, the header {len(names)}")
                continue
            found = {name: value.strip() for name, at in wanted.items() if (value := values[at]).strip()}
            yield number, msgspec.json.encode(found)


def _shape(columns: Mapping[str, str], grain: Grain) -> RowShape:
    def of(name: str) -> list[str]:
        return [part.strip() for part in columns.get(name, "").split("|") if part.strip()]

    try:
        unit = Unit(columns.get("unit", "usd"))
        if unit.of_usd is None:
            raise ValueError("amounts of a file are in usd, cents, or a part such as 1/1000")
        places = {name: paths(*of(name)) for name in COLUMNS if name not in ("id", "unit")}
        ids = paths(*of("id"))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    is_request = grain == "request"
    # A row of a sum is known by its id too, but a request has no such name.
    return RowShape(ids=ids if is_request else (), key=() if is_request else ids, unit=unit, **places)


def _is_json(path: str) -> bool:
    name = path.lower().removesuffix(".gz")
    return name.endswith((".jsonl", ".ndjson", ".json"))


def _binary(path: str) -> BinaryIO:
    with open(path, "rb") as file:
        magic = file.read(2)
    return cast("BinaryIO", gzip.open(path, "rb")) if magic == b"\x1f\x8b" else open(path, "rb")


def _encoding(path: str) -> tuple[str, tuple[str, ...]]:
    """Return the encoding of a file: that of its mark, else UTF-8, else Windows-1252, of which a note tells."""
    with closing(_binary(path)) as file:
        chunk = file.read(_CHUNK)
        if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16", ()
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        try:
            while chunk:
                decoder.decode(chunk)
                chunk = file.read(_CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252", (f"{path} is not UTF-8: it was read as Windows-1252",)
    return "utf-8-sig", ()


def _opened(path: str, encoding: str) -> TextIO:
    return io.TextIOWrapper(_binary(path), encoding=encoding, errors="replace", newline="")


def _lines(text: TextIO, reader: RowReader) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; one that is too long is a problem."""
    number = 0
    while line := text.readline(_LINE_LIMIT):
        number += 1
        if len(line) == _LINE_LIMIT and not line.endswith("\n"):
            while (rest := text.readline(_LINE_LIMIT)) and not rest.endswith("\n"):
                pass
            reader.problem(f"line {number} is longer than {_LINE_LIMIT} characters")
            continue
        yield number, line


def _records(lines: Iterator[tuple[int, str]], reader: RowReader) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV file, each with the number of its first line.

    A record may have line ends between quotes. Where a quote is not closed, the record that it is in is a problem, and
    the lines after its first are read for themselves.
    """
    waiting: deque[tuple[int, str]] = deque()
    delimiter = ""

    def take(taken: list[tuple[int, str]]) -> Iterator[str]:
        while len(taken) < _LINES_OF_A_RECORD:
            following = waiting.popleft() if waiting else next(lines, None)
            if following is None:
                return
            taken.append(following)
            yield following[1]

    while True:
        taken: list[tuple[int, str]] = []
        source = take(taken)
        if not delimiter:
            start = next(source, None)
            if start is None:
                return
            delimiter = max(_DELIMITERS, key=start.count)
            waiting.append(taken.pop())
            source = take(taken)
        try:
            values = next(csv.reader(source, delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            reader.problem(f"line {taken[0][0]} is no row of a CSV file: {error}")
            waiting.extendleft(reversed(taken[1:]))
            continue
        if values is None:
            return
        if len(values) > _COLUMN_LIMIT:
            reader.problem(f"line {taken[0][0]} has {len(values)} fields")
        elif values:
            yield taken[0][0], values
