"""What pages are made of: cards, sections with tables, and links to the rows behind their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pixelmeter.core.reporting.report import Row
from pixelmeter.reports.overview import Overview
from pixelmeter.reports.report import Reading
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.tables import Cell, Table

__all__ = ["Card", "Link", "Note", "Rows", "RowsWith", "Section", "of_model", "of_risk", "only", "reading_told"]


class Link(NamedTuple):
    """A link, and whether it leads to what is shown already."""

    text: str
    href: str
    is_current: bool = False


class Note(NamedTuple):
    """A cell with the words around it."""

    before: str
    cell: Cell | None = None
    after: str = ""
    direction: str | None = None
    name: str = ""


class Card(NamedTuple):
    """One large number, and what belongs to it."""

    title: str
    big: Cell
    notes: Sequence[Note]


@dataclass(kw_only=True)
class Section:
    """A heading with tables below it."""

    id: str
    title: str
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    links: Sequence[Link] = ()
    switches: Sequence[tuple[str, Sequence[Link]]] = field(default_factory=list[tuple[str, Sequence[Link]]])


def reading_told(reading: Reading) -> str:
    """Return what is missing, how many attempts it would read and for how long."""
    taken = max(round(reading.seconds), 1)
    told = f"{taken} s" if taken < 100 else f"{round(taken / 60)} minutes"
    return (
        f"No sums are kept of a part of this: about {reading.attempts:,} attempts must be read for it, which takes "
        f"about {told}."
    )


class Rows:
    """URLs of the rows behind numbers of a range."""

    def __init__(self, asked: Asked, found: Overview) -> None:
        self.asked = asked
        self._found = found

    def __call__(self, also: Iterable[tuple[str, str]] = (), step: str = "") -> str:
        """Return the URL of the rows of the range, or of one of its periods, of which more is asked for."""
        window = self._found.windows.get(step)
        since, until = (self._found.since, self._found.until) if window is None else (window.start, window.end)
        return self.asked.rows(also=also, since=since, until=until)


class RowsWith:
    """The same for numbers of which more is asked for anyway."""

    def __init__(self, link: Rows, also: Iterable[tuple[str, str]]) -> None:
        self._link = link
        self._also = list(also)

    def __call__(self, also: Iterable[tuple[str, str]] = ()) -> str:
        """Return the URL of the rows."""
        return self._link([*self._also, *also])


def only(what: str) -> list[tuple[str, str]]:
    return [("only", what)]


def of_risk(row: Row) -> list[tuple[str, str]]:
    """Return what asks for the attempts that are at risk: for those without an estimate, where none has one."""
    return only("unestimated" if row.known_at_risk is None else "at-risk")


def of_model(model: str | None) -> list[tuple[str, str]]:
    return [("exact-model", model)] if model else [("only", "no-model")]
