"""What the page of one call shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.budgets import told_reset
from pixelmeter.core.reporting.changes import told
from pixelmeter.core.reporting.listing import listed
from pixelmeter.core.reporting.report import known
from pixelmeter.core.text import dollars, exact_usd
from pixelmeter.reports.one_call import MOST_ATTEMPTS, Arithmetic, Call, Told, arithmetic
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.calls import attempts_table
from pixelmeter.serve.page.sections import Card, Note, Section
from pixelmeter.serve.page.tables import Cell, Head, Line, Table, count, money

__all__ = ["call_view"]

_SOURCES = {
    "reported": "The gateway said so.",
    "priced": "Worked out from the price book.",
    "reconciled": "From the gateway's usage report.",
    "none": "Nobody knows, or nothing was charged.",
}
_TOLD_ELSEWHERE = ("priced_parts", "call_id", "tags")


def call_view(found: Call, asked: Asked) -> tuple[Sequence[Card], Sequence[Section]]:
    """Return what is shown of a call."""
    every = [one.attempt for one in found.attempts]
    newest = f"the newest {MOST_ATTEMPTS} attempts"
    sections = [
        Section(
            id="attempts-of-call",
            title="Attempts",
            tables=[attempts_table(every, asked, "attempts", "Attempts of this call, the first one first")],
            notes=[f"Only {newest} are shown."] if found.is_cut else [],
        )
    ]
    for number, one in enumerate(found.attempts):
        sections += _of_attempt(number, one, asked)
    return _cards(every, newest if found.is_cut else "the call"), sections


def _cards(every: Sequence[Attempt], of: str) -> list[Card]:
    unknown = sum(one.cost is None for one in every)
    cost = known(sum(one.cost or 0 for one in every), unknown)
    notes = [Note("", count(len(every)), " attempts" if len(every) > 1 else " attempt")]
    if unknown:
        notes.append(Note("", count(unknown), " of unknown cost, not in the sum"))
    if any(one.at_risk is not None for one in every):
        notes.append(Note("at risk ", money(sum(one.at_risk or 0 for one in every)), " more, estimated"))
    return [Card(f"Known cost of {of}", money(cost), notes)]


def _of_attempt(number: int, one: Told, asked: Asked) -> Iterator[Section]:
    attempt, changes, resets = one
    prefix = f"attempt-{number}"
    which = f"Attempt {number + 1}"
    yield Section(
        id=f"{prefix}-cost",
        title=f"{which}: cost",
        notes=_cost_told(attempt),
        tables=[_products(prefix, which, each) for each in arithmetic(attempt)],
    )
    said = [(change.adjustment.made_at, told(change, asked.zone)) for change in changes]
    said += [(reset.made_at, told_reset(reset, asked.zone, is_beside_attempt=True)) for reset in resets]
    if said:
        yield Section(
            id=f"{prefix}-changes",
            title=f"{which}: adjustments",
            notes=[text for _, text in sorted(said, key=lambda each: each[0])],
        )
    yield Section(
        id=f"{prefix}-fields", title=f"{which}: all that is recorded", tables=[_fields(prefix, which, attempt)]
    )


def _cost_told(one: Attempt) -> list[str]:
    if one.cost is None:
        said = [f"The cost is unknown: {one.cost_reason or 'no reason is recorded'}."]
    else:
        reason = f" ({one.cost_reason})" if one.cost_reason else ""
        said = [f"${exact_usd(one.cost)}{reason}. {_SOURCES[one.cost_source]}"]
    said.append(f"Billing: {one.billing.replace('_', ' ')}.")
    if one.at_risk is not None:
        said.append(f"At risk: ${exact_usd(one.at_risk)}, which may have been charged.")
    for name, text in (("reported_cost", "The gateway reported"), ("token_cost", "By tokens and the price book"),
                       ("image_cost", "By images and the price book")):  # fmt: skip
        amount = getattr(one, name)
        if amount is not None:
            said.append(f"{text}: ${exact_usd(amount)}.")
    if one.fee:
        said.append(f"The gateway's fee, apart from the cost: {dollars(one.fee)} ({one.fee_rate / 10_000:g} %).")
    return said


def _products(prefix: str, which: str, found: Arithmetic) -> Table:
    lines: list[Line] = []
    for part, usd in found.products:
        surcharge = f"{part.surcharge / 10_000:g} %" if part.surcharge else ""
        lines.append(
            Line(
                Cell(part.unit, kind="name"),
                [
                    Cell(part.model, kind="name"),
                    count(part.quantity),
                    Cell(f"${part.price}", part.price),
                    Cell(surcharge),
                    Cell(f"${usd}", usd),
                    Cell(part.price_id, kind="name"),
                ],
            )
        )
    name = found.cost.replace("_", " ")
    total = Cell(f"${exact_usd(found.amount)}", exact_usd(found.amount))
    return Table(
        id=f"{prefix}-{found.cost}",
        caption=f"{which}: how the {name} is worked out: quantity times price, with the surcharge of a region",
        heads=[
            Head("Unit", is_number=False),
            Head("Model", is_number=False),
            Head("Quantity"),
            Head("Price of one unit"),
            Head("Surcharge"),
            Head("Amount"),
            Head("Entry of the price book", is_number=False),
        ],
        lines=lines,
        total=Line(
            Cell("sum, rounded half to even to a billionth of a dollar", kind="text"),
            [Cell(""), Cell(""), Cell(""), Cell(""), total, Cell("")],
        ),
    )


def _fields(prefix: str, which: str, one: Attempt) -> Table:
    lines = [
        Line(Cell(name, kind="name"), [Cell(_text(value), kind="name")])
        for name, value in listed(one).items()
        if name not in _TOLD_ELSEWHERE and value is not None
    ]
    lines += [
        Line(Cell(f"tag {key}", kind="name"), [Cell(value, kind="name")]) for key, value in sorted(_tags(one).items())
    ]
    return Table(
        id=f"{prefix}-record",
        caption=f"{which} as it is now; what is not known is left out. Times are UTC",
        heads=[Head("Field", is_number=False), Head("Value", is_number=False)],
        lines=lines,
    )


def _tags(one: Attempt) -> dict[str, str]:
    found: dict[str, object] = msgspec.json.decode(one.tags)
    return {key: str(value) for key, value in found.items()}


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
