"""A client of the page that reads its tables as programs do: from the HTML that a browser gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser

from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Clock
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.guard import Guard
from pixelmeter.serve.page.app import Page
from pixelmeter.serve.page.desk import Desk
from pixelmeter.serve.server import make_app

__all__ = ["Browser", "Cell", "Shown", "amount", "browsing", "fill", "rows_of"]


@dataclass
class Cell:
    """A cell, a number of a card, or any element with a value."""

    text: str = ""
    value: str | None = None
    href: str | None = None
    column: str = ""


@dataclass
class Shown:
    """A page as it came."""

    path: str
    status: int
    headers: dict[str, str]
    text: str
    tables: dict[str, list[list[Cell]]] = field(default_factory=dict[str, list[list[Cell]]])
    """Rows of cells by the id of the table, headings of rows first, and without the total."""
    totals: dict[str, list[Cell]] = field(default_factory=dict[str, list[Cell]])
    words: str = ""
    """All that people read."""
    numbers: list[Cell] = field(default_factory=list[Cell])
    """What stands outside tables and has a value."""
    links: dict[str, str] = field(default_factory=dict[str, str])
    """By their text."""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list[tuple[str, dict[str, str | None]]])
    """Every element, with its attributes."""

    def column(self, table: str, heading: str) -> list[Cell]:
        """Return the cells below a heading."""
        return [cell for row in self.tables[table] for cell in row if cell.column == heading]


class Browser:
    """Asks for pages."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, path: str, **headers: str) -> Shown:
        """Return a page, with the tables in it."""
        answer = self.client.get(path, headers=headers)
        shown = Shown(path, answer.status_code, dict(answer.headers), answer.text)
        if answer.headers.get("content-type", "").startswith("text/html"):
            _Reading(shown).feed(answer.text)
        return shown


@contextmanager
def browsing(
    url: str, clock: Clock, guard: Guard | None = None, desk: Desk | None = None, host: str = "localhost"
) -> Iterator[Browser]:
    """Give a client of the page of a ledger."""
    app = make_app(CollectorRegistry(), guard, Page(url, clock, desk).routes())
    with TestClient(app, base_url=f"http://{host}") as client:
        yield Browser(client)


def fill(url: str, attempts: Sequence[Attempt]) -> None:
    """Write attempts to a ledger."""
    with closing(open_writer(url)) as writer:
        writer.write(list(attempts), {}, [])


def rows_of(browser: Browser, path: str) -> list[list[Cell]]:
    """Return all rows of a list of attempts, page by page."""
    found: list[list[Cell]] = []
    while True:
        shown = browser.get(path)
        assert 200 == shown.status, (path, shown.words)
        found += shown.tables.get("attempts", [])
        following = next((href for text, href in shown.links.items() if text.startswith("The next")), None)
        if following is None:
            return found
        path = following


def amount(cells: Sequence[Cell]) -> Decimal:
    """Return the sum of the values of cells, as far as they are known."""
    return sum((Decimal(cell.value) for cell in cells if cell.value is not None), Decimal(0))


class _Reading(HTMLParser):
    def __init__(self, shown: Shown) -> None:
        super().__init__(convert_charrefs=True)
        self._shown = shown
        self._table: str | None = None
        self._headings: list[str] = []
        self._row: list[Cell] | None = None
        self._cell: Cell | None = None
        self._number: Cell | None = None
        self._number_tag = ""
        self._part = ""
        self._link: str | None = None
        self._link_text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._shown.tags.append((tag, given))
        if tag == "table":
            self._table, self._headings = given.get("id") or "", []
            self._shown.tables[self._table] = []
        elif tag in {"thead", "tbody", "tfoot"}:
            self._part = tag
        elif tag == "tr" and self._table is not None:
            self._row = []
        elif tag in {"td", "th"} and self._row is not None:
            self._cell = Cell(value=given.get("data-value"))
        elif tag == "a":
            self._link, self._link_text = given.get("href") or "", ""
            for cell in (self._cell, self._number):
                if cell is not None:
                    cell.href = self._link
        elif self._table is None and given.get("data-value"):
            self._number = Cell(value=given["data-value"], column=given.get("data-sum") or "")
            self._shown.numbers.append(self._number)
            self._number_tag = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = None
        elif tag == "tr" and self._row is not None and self._table is not None:
            if self._part == "thead":
                self._headings = [cell.text for cell in self._row]
            else:
                for cell, heading in zip(self._row, self._headings, strict=False):
                    cell.column = heading
                if self._part == "tbody":
                    self._shown.tables[self._table].append(self._row)
                else:
                    self._shown.totals[self._table] = self._row
            self._row = None
        elif tag in {"td", "th"} and self._cell is not None and self._row is not None:
            self._cell.text = self._cell.text.strip()
            self._row.append(self._cell)
            self._cell = None
        elif tag == "a" and self._link is not None:
            self._shown.links.setdefault(self._link_text.strip(), self._link)
            self._link = None
        elif self._number is not None and tag == self._number_tag:
            self._number = None

    def handle_data(self, data: str) -> None:
        self._shown.words += data
        if self._cell is not None:
            self._cell.text += data
        if self._number is not None:
            self._number.text += data
        if self._link is not None:
            self._link_text += data
