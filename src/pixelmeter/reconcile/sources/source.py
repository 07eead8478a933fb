"""What a source of statements is, and what it gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from pixelmeter.core.reconciling.statement import Grain, Period, Statement
from pixelmeter.errors import SourceError
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.rows import RowReader, RowShape

__all__ = ["GatewaySource", "Page", "Pages", "Source", "asked", "date_of", "days_of", "numbered"]


class Page(NamedTuple):
    """A part of a report, in the order in which the gateway gives it."""

    statements: tuple[Statement, ...]
    cursor: str | None
    """Where the next page begins: `pages` goes on there. None after the last page: the report was read to its end."""
    problems: tuple[str, ...] = ()
    """The rows that could not be read: each says which one and why. What they have of an amount is in no statement."""
    notes: tuple[str, ...] = ()
    """What limits the report: that it does not go back to the beginning of the period, for one."""


class Source(Protocol):
    """A usage report of a gateway."""

    @property
    def id(self) -> str:
        """The name of the report, such as `openai_costs`; statements have it as `source`."""
        ...

    @property
    def gateway(self) -> str:
        """The gateway whose report it is, as attempts have it."""
        ...

    @property
    def base_url(self) -> str | None:
        """The vendor's own address; None where only its user knows it, or where nothing is asked."""
        ...

    @property
    def grain(self) -> Grain:
        """What its rows are about."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether it lists every request of a period once it has been read to its end, so that what is not there was
        not charged."""
        ...

    @property
    def by_id(self) -> bool:
        """Whether it is asked for one request after the other (`wanted_ids`)."""
        ...

    @property
    def has_amounts(self) -> bool:
        """Whether its rows say what was charged."""
        ...

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages of a period, from `cursor` on where one is given.

        Raises SourceError where the gateway does not give the report, or gives something else; what was yielded
        before is right. Only files need no client.
        """
        ...


class GatewaySource:
    """What the reports of gateways have in common."""

    id = ""
    gateway = ""
    base_url: str | None = None
    grain: Grain = "request"
    is_complete = False
    by_id = False
    has_amounts = True
    shape = RowShape()

    def reader(self, client: UsageClient, period: Period) -> RowReader:
        """Return a reader of the rows of this report."""
        return RowReader(
            gateway=self.gateway,
            source=self.id,
            grain=self.grain,
            shape=self.shape,
            period=period,
            read_at=client.now(),
        )


class Pages:
    """The pages of a report whose end only the gateway knows. SourceError where it shows none."""

    def __init__(self, where: str, limit: int) -> None:
        self._where = where
        self._limit = limit
        self._number = 0
        self._seen: dict[bytes, int] = {}

    def numbers(self, first: int = 1) -> Iterator[int]:
        """Yield the numbers of pages from the first one on, as long as they are asked for."""
        for number in range(first, self._limit + 1):
            self._number = number
            yield number
        raise SourceError(
            f"{self._where}: more than {self._limit} pages, and no end. What had been read before is kept"
        )

    def check(self, rows: Sequence[msgspec.Raw], following: str | None = None) -> None:
        """Take note of what the latest page has, and which one is to follow it; SourceError where one had it before.

        A gateway that takes no note of the page that it is asked for gives the first one for ever, or as often as it
        says that there are pages: then its other rows are missing.
        """
        # Pages without rows are told apart by what follows them.
        text = b"\n".join(map(bytes, rows)) if rows else (following or "").encode()
        same = self._seen.setdefault(hashlib.sha256(text).digest(), self._number)
        if same != self._number:
            raise SourceError(
                f"{self._where}: the gateway gives the same page twice (page {self._number} has what page {same} had),"
                " so the report has no end, or lacks the pages between. What had been read before is kept:"
                " run this again later, or use a file"
            )


def asked(client: UsageClient | None) -> UsageClient:
    """Return the client; SourceError where there is none."""
    if client is None:
        raise SourceError("this report is asked for at a gateway")
    return client


def numbered(rows: Sequence[msgspec.Raw], where: str) -> Iterator[tuple[str, msgspec.Raw]]:
    """Yield rows with what to call each in a problem."""
    return ((f"{where}, row {at}", row) for at, row in enumerate(rows, 1))


def days_of(period: Period) -> Iterator[date]:
    """Yield the UTC days that a period touches."""
    first = date_of(period.start)
    for day in range((date_of(period.end - 1) - first).days + 1):
        yield first + timedelta(days=day)


def date_of(moment: int) -> date:
    """Return the UTC day of a time in microseconds."""
    return datetime.fromtimestamp(moment // 1_000_000, UTC).date()
