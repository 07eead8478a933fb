"""What the first page shows, put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.report import tag_of
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.queries import newest_tags
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.reports.budgets import overviews
from pixelmeter.reports.calls import Names, names, stretch
from pixelmeter.reports.overview import Overview, overview, tag_spend
from pixelmeter.reports.report import Question
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.budgets import budgets_table
from pixelmeter.serve.page.calls import attempts_table
from pixelmeter.serve.page.cards import card_of_spell, cards_of_range
from pixelmeter.serve.page.overview import range_told, sections_of_sums, tag_table
from pixelmeter.serve.page.sections import Card, Link, Section, reading_told

__all__ = ["First", "first_view"]

_RECENT = 10
_TOP = 12
_SAMPLE = 1000
_MOST_KEYS = 20
_MOST_VALUES = 60
_EMPTY = (
    "Nothing fits. If the ledger is empty, wrap a client with pixelmeter.instrument(client, meter) and make an image "
    "call, or run `pixelmeter demo`; else ask for an earlier time, or take a filter away."
)


@dataclass(kw_only=True)
class First:
    """The first page."""

    names: Names
    widened: str | None
    cards: Sequence[Card]
    reading: str | None
    reading_url: str
    sections: Sequence[Section]
    is_empty: str | None


def first_view(reader: LedgerReader, asked: Asked, clock: Clock) -> First:
    """Return what the first page shows of a question."""
    step = asked.step()
    question = Question(
        since=asked.since, until=asked.until, zone=asked.zone, filters=asked.filters, by=(), period=asked.period
    )
    reads_all = asked.first("read") == "all"
    found = overview(reader, question, step, clock, now=asked.now, reads_all=reads_all)
    cards = [card_of_spell(one, asked) for one in found.spells]
    cards += cards_of_range(found, asked)
    sums = sections_of_sums(found, asked, step, is_cut=asked.first("top") != "all")
    is_empty = found.total is not None and not found.total.attempts
    return First(
        names=names(reader),
        widened=range_told(found, asked),
        cards=cards,
        reading=None if found.reading is None else reading_told(found.reading),
        reading_url=asked.here("/", ("read", "all")),
        sections=[
            *sums,
            *_savings(found),
            *_tags(reader, question, asked, found),
            *_budgets(reader, asked),
            *_recent(reader, asked),
        ],
        is_empty=_EMPTY if is_empty else None,
    )


def _savings(found: Overview) -> Iterator[Section]:
    """Yield what to do about savings that are not among the cards, as they would be added up from many attempts."""
    if found.total is not None and found.total.attempts and not found.has_savings:
        told = "They are not added up here: `pixelmeter report --savings` reads the routed attempts one by one."
        yield Section(id="savings", title="Saved by routing", notes=[told])


def _tags(reader: LedgerReader, question: Question, asked: Asked, found: Overview) -> Iterator[Section]:
    """Yield what was spent by one tag, with links to the others."""
    keys = newest_tags(reader, asked.since, asked.until, limit=_SAMPLE)[:_MOST_KEYS]
    chosen = asked.first("tags") or next((one.tag for one in keys if one.values <= _MOST_VALUES), None)
    if chosen is None and not keys:
        return
    if chosen is not None and tag_of(f"tag:{chosen}") is None:
        raise ConfigError("tags names no key of a tag")
    shown = [one.tag for one in keys]
    if chosen is not None and chosen not in shown:
        shown.append(chosen)
    switch = [Link(tag, asked.here("/", ("tags", tag)), tag == chosen) for tag in shown]
    section = Section(id="tags", title="Spend by tag", switches=[("Tag", switch)])
    reads_all = asked.first("read") == "all"
    spend = None if chosen is None else tag_spend(reader, question, chosen, _TOP, reads_all=reads_all)
    if spend is not None:
        section.title = f"Spend by tag {spend.tag}"
        section.tables = [tag_table(spend, asked, found)]
    elif chosen is not None:
        section.notes = [_unsummed(chosen)]
        section.links = [Link("Read the attempts of the range", asked.here("/", ("tags", chosen), ("read", "all")))]
    yield section


def _unsummed(tag: str) -> str:
    return f"No sums by {tag} are kept for this question: its attempts must be read one by one."


def _budgets(reader: LedgerReader, asked: Asked) -> Iterator[Section]:
    at = int(asked.now.timestamp()) * 1_000_000
    found = overviews(reader, at, values=1)
    if found:
        table = budgets_table(found, asked, "budgets-now", "Of each the value that is used most")
        yield Section(
            id="budgets",
            title="Budgets",
            tables=[table],
            links=[Link("All budgets", asked.url("/budgets", keep=("tz",)))],
        )


def _recent(reader: LedgerReader, asked: Asked) -> Iterator[Section]:
    """Yield the newest attempts, where they are found without looking through many."""
    if not asked.filters.rolled_up or asked.filters.coarse.outcome or asked.filters.only:
        return
    question = Question(since=asked.since, until=asked.until, zone=asked.zone, filters=asked.filters, by=())
    found = stretch(reader, question, limit=_RECENT)
    if found.attempts:
        yield Section(
            id="recent",
            title="Newest attempts",
            tables=[attempts_table(found.attempts, asked, "newest", "The newest attempts of the range")],
            links=[
                Link("All attempts of the range", asked.url("/calls")),
                Link("The most expensive attempts", asked.url("/calls", ("sort", "cost"))),
            ],
        )
