"""Tables as templates show them: cells with the text for people and the value for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pixelmeter.core.text import dollars, exact_usd

__all__ = ["Cell", "Chart", "Head", "Line", "Table", "count", "money", "name", "seconds", "share_of"]


class Cell(NamedTuple):
    """What stands in one place."""

    text: str
    value: str | None = None
    """As programs read it: US dollars, seconds or a number; None where nothing is known, and of text."""
    href: str | None = None
    """Where the rows are that it adds up, or more about it."""
    kind: Literal["number", "name", "text", "share", "budget", "moment", "outcome"] = "number"
    is_unknown: bool = False
    title: str | None = None


class Head(NamedTuple):
    """The heading of a column."""

    text: str
    is_number: bool = True
    series: str | None = None
    """The name of what a chart draws of this column; None for what it does not."""


class Line(NamedTuple):
    """A row: its heading, which has a key in the colour of a series, and its cells."""

    head: Cell
    cells: Sequence[Cell]
    at: int | None = None
    """Where it stands in time: Unix time in seconds."""
    key: str | None = None


class Chart(NamedTuple):
    """How a table is drawn."""

    kind: Literal["bars-stacked", "lines"]
    unit: Literal["usd", "count", "seconds"]
    step: int
    """Seconds from one row to the next, about."""
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its caption."""

    id: str
    caption: str
    heads: Sequence[Head]
    """The first one is of the headings of rows."""
    lines: Sequence[Line]
    total: Line | None = None
    chart: Chart | None = None
    notes: Sequence[str] = field(default_factory=list[str])


def money(amount: int | None, href: str | None = None, *, shows_zero: bool = True) -> Cell:
    """Return an amount of nano-dollars; None is unknown, and nothing is left empty where it need not be shown."""
    if amount is None:
        return Cell("unknown", None, href, is_unknown=True)
    if not amount and not shows_zero:
        return Cell("", "0")
    return Cell(dollars(amount), exact_usd(amount), href, title=f"${exact_usd(amount)}")


def count(number: int, href: str | None = None, *, shows_zero: bool = True) -> Cell:
    """Return a whole number."""
    if not number and not shows_zero:
        return Cell("", "0")
    return Cell(f"{number:,}", str(number), href)


def seconds(value: float | None, href: str | None = None) -> Cell:
    """Return a duration; None where there is none."""
    if value is None:
        return Cell("")
    return Cell(f"{value:,.1f} s" if value >= 1 else f"{value * 1000:.0f} ms", f"{value:.3f}", href)


def name(text: str | None, href: str | None = None) -> Cell:
    """Return a name; None is that of what has none."""
    return Cell(text or "(none)", None, href, "name")


def share_of(part: int | None, whole: int) -> Cell:
    """Return what a part is of a whole, in percent; empty where that says nothing."""
    if part is None or whole <= 0 or part < 0:
        return Cell("", None, None, "share")
    per_mille = (part * 2000 + whole) // (whole * 2)
    text = f"{per_mille // 10}.{per_mille % 10}"
    return Cell(f"{text} %", text, None, "share")
