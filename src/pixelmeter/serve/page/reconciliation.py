"""What the page of reconciliations shows."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.calls import time_text
from pixelmeter.serve.page.sections import Section
from pixelmeter.serve.page.tables import Cell, Head, Line, Table, count, money

__all__ = ["reconciliation_sections"]

_PARTS_OF_A_PERCENT = 10_000
_HEADS = (
    Head("Month (UTC)", is_number=False),
    Head("Gateway", is_number=False),
    Head("Report", is_number=False),
    Head("Covered", is_number=False),
    Head("They charged"),
    Head("The ledger has"),
    Head("Difference of matches"),
    Head("Equal"),
    Head("Differ"),
    Head("Unsettled"),
    Head("Only ours"),
    Head("Only theirs"),
    Head("Adjusted"),
    Head("Reconciled at", is_number=False),
)
_NONE = "No reconciliation is kept yet: `pixelmeter reconcile` compares the ledger with a gateway's own usage report."
_TOLD = (
    "Covered is the part of what the gateway charged that belongs to attempts of the ledger. Equal, differ and "
    "unsettled count matches of a statement with its attempt, or of the sums of a day."
)


def reconciliation_sections(found: Sequence[Reconciliation], asked: Asked) -> list[Section]:
    """Return the latest reconciliation of each gateway, report and month."""
    if not found:
        return [Section(id="none", title="Months", notes=[_NONE])]
    table = Table(
        id="months", caption="The latest reconciliation of each month", heads=_HEADS,
        lines=[_line(one, asked) for one in found],
    )  # fmt: skip
    return [Section(id="reconciliations", title="Months", tables=[table], notes=[_TOLD])]


def _line(one: Reconciliation, asked: Asked) -> Line:
    covered = Cell("", kind="share")
    if one.coverage is not None:
        percent = f"{one.coverage // _PARTS_OF_A_PERCENT}.{one.coverage % _PARTS_OF_A_PERCENT // 1000}"
        covered = Cell(f"{percent} %", percent, kind="share")
    year, month = map(int, one.month.split("-"))
    following = f"{year + month // 12}-{month % 12 + 1:02}"
    rows = f"/calls?since={one.month}&until={following}&gateway={quote(one.gateway, safe='')}"
    return Line(
        Cell(one.month, kind="text"),
        [
            Cell(one.gateway, kind="name"),
            Cell(one.source, kind="name"),
            covered,
            money(one.theirs),
            money(one.ours, rows),
            money(one.drift),
            *(count(getattr(one, name)) for name in ("equal", "differs", "unsettled", "only_ours", "only_theirs")),
            count(one.adjusted),
            Cell(time_text(moment_of(one.run_at), asked.zone), kind="moment"),
        ],
    )
