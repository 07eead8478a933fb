"""What the page of attempts shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import msgspec

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.listing import started
from pixelmeter.core.reporting.report import Row
from pixelmeter.core.text import dollars, exact_usd
from pixelmeter.reports.calls import Names, Stretch
from pixelmeter.reports.report import Reading
from pixelmeter.serve.page.asked import Asked, call_path, place_text
from pixelmeter.serve.page.sections import Link, Note, reading_told
from pixelmeter.serve.page.tables import Cell, Head, Line, Table, count, money, name, seconds

__all__ = ["Listed", "attempts_table", "calls_view", "time_text"]

_HEADS = (
    Head("Started", is_number=False),
    Head("Outcome", is_number=False),
    Head("Cost"),
    Head("Model", is_number=False),
    Head("Gateway", is_number=False),
    Head("Tags", is_number=False),
    Head("At risk"),
    Head("Images"),
    Head("Duration"),
    Head("Status"),
)


@dataclass(kw_only=True)
class Listed:
    """A part of a list of attempts, and what all of it adds up to."""

    names: Names
    table: Table
    limit: int
    orders: Sequence[Link]
    sum: Sequence[Note]
    """Empty where many attempts must be read for it."""
    reading: str
    reading_url: str
    notes: Sequence[str]
    first_url: str | None
    next_url: str | None


def calls_view(asked: Asked, found: Stretch | None, total: Row | Reading, known: Names, limit: int) -> Listed:
    """Return what is shown of a part of a list; None where many attempts must be read to find it."""
    found, is_missing = found or Stretch((), None, None), found is None
    by_cost = asked.first("sort") == "cost"
    following = None
    if found.following is not None:
        following = asked.here("/calls", ("after", place_text(found.following, by_cost=by_cost)))
    notes = [found.lacking] if found.lacking else []
    if not found.attempts and not is_missing:
        notes.append("No attempt fits: ask for an earlier time, or take a filter away.")
    return Listed(
        names=known,
        table=attempts_table(found.attempts, asked, "attempts", "Attempts, each as it is now"),
        limit=limit,
        orders=[
            Link("newest first", asked.here("/calls", ("sort", None)), not by_cost),
            Link("most expensive first", asked.here("/calls", ("sort", "cost")), by_cost),
        ],
        sum=list(_sum(total)) if isinstance(total, Row) else [],
        reading=reading_told(total) if isinstance(total, Reading) else "",
        reading_url=asked.here("/calls", ("read", "all")),
        notes=notes,
        first_url=asked.here("/calls") if asked.first("after") else None,
        next_url=following,
    )


def attempts_table(found: Sequence[Attempt], asked: Asked, identity: str, caption: str) -> Table:
    """Return a table of attempts, each with a link to its call."""
    return Table(id=identity, caption=caption, heads=_HEADS, lines=[_line(one, asked) for one in found])


def cost_cell(attempt: Attempt, href: str | None = None) -> Cell:
    """Return what an attempt costs, or why nobody knows."""
    if attempt.cost is None:
        return Cell("unknown", None, href, is_unknown=True, title=attempt.cost_reason)
    return Cell(dollars(attempt.cost), exact_usd(attempt.cost), href, title=f"${exact_usd(attempt.cost)}")


def time_text(when: datetime, zone: tzinfo) -> str:
    """Return a moment to the second, in a zone."""
    return f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _line(one: Attempt, asked: Asked) -> Line:
    is_settled = one.billing not in {"unknown", "pending"}
    risk = Cell("") if is_settled and one.at_risk is None else money(one.at_risk)
    tags: dict[str, str] = msgspec.json.decode(one.tags)
    return Line(
        Cell(time_text(started(one), asked.zone), href=asked.url(call_path(one.call_id), keep=("tz",)), kind="text"),
        [
            Cell(one.outcome, kind="outcome"),
            cost_cell(one),
            name(one.model or "(no model)"),
            name(one.gateway),
            Cell(" ".join(f"{key}={value}" for key, value in tags.items()), kind="name"),
            risk,
            Cell("") if one.images is None else count(one.images),
            Cell("") if one.outcome == "blocked" else seconds(one.duration / 1e6),
            Cell("" if one.status is None else str(one.status)),
        ],
        at=one.started_at // 1_000_000,
    )


def _sum(row: Row) -> Iterator[Note]:
    yield Note("", count(row.attempts), " attempts, ", name="attempts")
    yield Note("known cost ", money(row.known_cost), "", name="cost")
    if row.known_at_risk != 0:
        yield Note(", at risk ", money(row.known_at_risk), " more", name="at-risk")
    if row.unknown_cost_attempts:
        yield Note(", ", count(row.unknown_cost_attempts), " of unknown cost", name="unknown-cost")
