"""An export from its question to its end: to one stream, or to a folder with a file for each UTC day."""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, BinaryIO, Literal, TypeVar, assert_never

import msgspec

from pixelmeter.errors import ExportError
from pixelmeter.export.focus import FocusRows, FocusVersion, columns_of
from pixelmeter.export.formats import CsvRows, JsonLines, RowWriter
from pixelmeter.export.parquet import ParquetRows
from pixelmeter.export.stores import STATE, Store, writing
from pixelmeter.export.tables import TABLES, Table, TableName
from pixelmeter.ledger.exports import DayState, days, rows, state_of
from pixelmeter.ledger.queries import EVERYTHING, Filters
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["FORMATS", "ROWS_PER_FILE", "Format", "Question", "Summary", "Tick", "to_folder", "to_stream"]

Format = Literal["csv", "jsonl", "parquet", "focus"]
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet", "focus")
ROWS_PER_FILE = 1_000_000

_EXTENSIONS: dict[Format, str] = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet", "focus": "csv"}
_QUESTION = f"{STATE}/export.json"
_DAY = timedelta(days=1)

Rows = Sequence[Sequence[Any]]
_Known = TypeVar("_Known", bound=msgspec.Struct)
Tick = Callable[[date, int], None]
"""Told after each batch: which day is being written, and how many rows have been read so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be exported."""

    format: Format
    table: TableName = "attempts"
    focus_version: FocusVersion = "1.4"
    since: datetime | None = None
    until: datetime | None = None
    filters: Filters = EVERYTHING


@dataclass(slots=True)
class Summary:
    """What was exported; money is in nano-dollars."""

    rows: int = 0
    cost: int = 0
    """The sum of what is known. Of adjustments, of what they say an attempt costs."""
    unknown: int = 0
    """Rows whose cost is not known."""
    at_risk: int = 0
    left_out: int = 0
    """Of FOCUS: attempts of unknown cost, which have no place in it."""
    not_billed: int = 0
    """Of FOCUS: attempts that were not billed and cost nothing."""
    files: int = 0
    skipped: list[date] = field(default_factory=list[date])
    """Days that were there whole already."""
    kept: list[date] = field(default_factory=list[date])
    """Days of which the ledger has fewer rows than were exported once: what was exported stays."""


class _Written(msgspec.Struct, frozen=True):
    """What is remembered of a day that was exported."""

    rows: int
    """In the ledger, whether they fit or not."""
    adjustments: int
    columns: str
    """A digest of the names of the columns: a later version may have more of them."""
    parts: dict[str, int]
    """Bytes of each file."""


class _Asked(msgspec.Struct, frozen=True):
    """What a folder has the answer to: another question needs another folder."""

    format: str
    table: str
    focus_version: str
    filters: dict[str, Any]


def to_stream(reader: LedgerReader, question: Question, file: BinaryIO, tick: Tick) -> Summary:
    """Write all rows that are asked for to a file, in order of time.

    LedgerError where the ledger cannot be read, ExportError without the library that a format needs.
    """
    table, summary = TABLES[question.table], Summary(files=1)
    with _writing_rows(question, table, file, summary) as writer:
        for day in days(reader, table.source, question.since, question.until):
            since, until, filters = question.since, question.until, question.filters
            with closing(rows(reader, table.source, day, since=since, until=until, filters=filters)) as found:
                for batch in found:
                    writer.write(batch)
                    _add(summary, table, batch)
                    tick(day, summary.rows)
    return summary


def to_folder(
    reader: LedgerReader,
    question: Question,
    store: Store,
    tick: Tick,
    *,
    now: datetime,
    resume: bool = False,
    rows_per_file: int = ROWS_PER_FILE,
) -> Summary:
    """Write the UTC days that are asked for, whole, to files of their own, each replaced when the new one is whole.

    With `resume`, a day is skipped that is over and of which the ledger has what it had when the day was written.
    ExportError where the folder has the answer to another question.
    """
    export = _Export(reader, question, store, rows_per_file)
    export.claim()
    for day in days(reader, export.table.source, *_whole_days(question)):
        tick(day, export.summary.rows)
        state = state_of(reader, export.table.source, day)
        before = export.remembered(day)
        if before is not None and before.rows > state.rows:
            export.summary.kept.append(day)
        elif resume and before is not None and day < now.astimezone(UTC).date() and export.is_whole(day, before, state):
            export.summary.skipped.append(day)
        else:
            export.write(day, state, tick)
    return export.summary


class _Export:
    """An export to a folder."""

    def __init__(self, reader: LedgerReader, question: Question, store: Store, rows_per_file: int) -> None:
        self.table = TABLES[question.table]
        self.summary = Summary()
        self._reader = reader
        self._question = question
        self._store = store
        self._most = rows_per_file
        names = [column.name for column in columns_of(question.focus_version)]
        if question.format != "focus":
            names = [column.name for column in self.table.columns]
        self._columns = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    def claim(self) -> None:
        """Remember the question; ExportError where the folder has the answer to another one."""
        filters = self._question.filters
        asked = _Asked(
            format=self._question.format,
            table=self._question.table,
            focus_version=self._question.focus_version if self._question.format == "focus" else "",
            filters={name: value for name in filters.__slots__ if (value := getattr(filters, name))},
        )
        found = self._store.read(_QUESTION)
        if found is None:
            self._store.write(_QUESTION, msgspec.json.encode(asked))
            return
        before = _decoded(found, _Asked)
        if before is None:
            raise ExportError(
                f"{_QUESTION} in {self._store.place} cannot be read, so it is not known what was exported there: "
                "give another folder, or, if it was the same as now, remove that file"
            )
        if before != asked:
            raise ExportError(
                f"{self._store.place} has another export, of other rows or in another format: give another folder, "
                "or remove that one"
            )

    def remembered(self, day: date) -> _Written | None:
        """Return what is known of a day that was exported; None where nothing is."""
        found = self._store.read(_state_name(day))
        return None if found is None else _decoded(found, _Written)

    def is_whole(self, day: date, before: _Written, state: DayState) -> bool:
        """Return whether all files of a day are there as they would be written now."""
        return (before.rows, before.adjustments, before.columns) == (*state, self._columns) and (
            self._store.sizes(self._prefix(day)) == before.parts
        )

    def write(self, day: date, state: DayState, tick: Tick) -> None:
        """Write a day to files beside those that are there, then put them into their place."""
        names = [*self._written(day, state, tick)]
        # From here to the end the day is not whole, and whoever goes on later must see that. What the new files do not
        # replace goes first: a row is missing for a moment, and never there twice.
        self._store.remove(_state_name(day))
        for stale in sorted({*self._store.sizes(self._prefix(day))} - {*names}):
            self._store.remove(stale)
        parts = {name: self._store.publish(name) for name in names}
        self.summary.files += len(parts)
        done = _Written(rows=state.rows, adjustments=state.adjustments, columns=self._columns, parts=parts)
        self._store.write(_state_name(day), msgspec.json.encode(done))

    def _written(self, day: date, state: DayState, tick: Tick) -> Iterator[str]:
        """Write the rows of a day to staged files, and yield the name of each that is complete."""
        is_split = state.rows > self._most
        with closing(self._pieces(day, tick)) as pieces:
            for number, of_file in itertools.groupby(pieces, key=operator.itemgetter(0)):
                name = self._name(day, number if is_split else None)
                path = self._store.staged(name)
                with (
                    writing(path),
                    open(path, "wb") as file,
                    _writing_rows(self._question, self.table, file, self.summary) as writer,
                ):
                    for _, piece in of_file:
                        writer.write(piece)
                yield name

    def _pieces(self, day: date, tick: Tick) -> Generator[tuple[int, Rows]]:
        """Yield the rows of a day in order, each piece with the number of the file that it goes to."""
        number, room = 0, self._most
        with closing(rows(self._reader, self.table.source, day, filters=self._question.filters)) as batches:
            for batch in batches:
                _add(self.summary, self.table, batch)
                tick(day, self.summary.rows)
                left = batch
                while left:
                    if not room:
                        number, room = number + 1, self._most
                    piece = left[:room]
                    yield number, piece
                    left, room = left[len(piece) :], room - len(piece)

    def _name(self, day: date, number: int | None) -> str:
        suffix = "" if number is None else f"-{number:02}"
        return f"{self._prefix(day)}{suffix}.{_EXTENSIONS[self._question.format]}"

    def _prefix(self, day: date) -> str:
        return f"month={day:%Y-%m}/part-{day:%Y-%m-%d}"


@contextmanager
def _writing_rows(question: Question, table: Table, file: BinaryIO, summary: Summary) -> Generator[RowWriter]:
    writer: RowWriter
    match question.format:
        case "csv":
            writer = CsvRows(table, file)
        case "jsonl":
            writer = JsonLines(table, file)
        case "parquet":
            writer = ParquetRows(table, file)
        case "focus":
            writer = FocusRows(table, file, question.focus_version)
        case _:
            assert_never(question.format)
    try:
        yield writer
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    if isinstance(writer, FocusRows):
        summary.left_out += writer.unknown
        summary.not_billed += writer.not_billed


def _add(summary: Summary, table: Table, batch: Rows) -> None:
    cost, at_risk = table.place("cost"), table.place("at_risk")
    known = [row[cost] for row in batch if row[cost] is not None]
    summary.rows += len(batch)
    summary.cost += sum(known)
    summary.unknown += len(batch) - len(known)
    summary.at_risk += sum(row[at_risk] or 0 for row in batch)


def _whole_days(question: Question) -> tuple[datetime | None, datetime | None]:
    """Return a range from the start of its first UTC day to the end of its last: files hold whole days."""
    since, until = question.since, question.until
    if since is not None:
        since = datetime.combine(since.astimezone(UTC).date(), time.min, UTC)
    if until is not None and until != (start := datetime.combine(until.astimezone(UTC).date(), time.min, UTC)):
        until = start + _DAY
    return since, until


def _state_name(day: date) -> str:
    return f"{STATE}/{day.isoformat()}.json"


def _decoded(content: bytes, type: type[_Known]) -> _Known | None:
    """Return what was remembered; None where it cannot be read, so that it counts for nothing."""
    try:
        return msgspec.json.decode(content, type=type)
    except msgspec.MsgspecError:
        return None
