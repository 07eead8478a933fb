"""A report in words and strokes, for people."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmeter.core.money import dollars
from pixelmeter.core.report import Report, Row

__all__ = ["lines", "notes", "share", "sparkline"]

_STROKES = "▁▂▃▄▅▆▇█"
_NAMED = 5


def lines(report: Report) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Return the rows and the total as the text of each cell."""
    rows = [_cells(row, report.by, report.total.cost) for row in report.rows]
    total = _cells(report.total, (), report.total.cost) | {report.by[0]: "total"}
    return rows, total


def notes(report: Report, unpriced: Sequence[tuple[str, int]]) -> list[str]:
    """Return a sentence for each thing that the sums leave out; `unpriced` is models with their attempts."""
    said: list[str] = []
    if report.total.at_risk:
        said.append(
            f"At risk: {dollars(report.total.at_risk)} more may have been charged for attempts whose billing "
            "is unknown; the sums leave it out."
        )
    if unknown := report.total.unknown_cost_attempts:
        verb = "is" if unknown == 1 else "are"
        said.append(f"{_count(unknown, 'attempt')} of unknown cost {verb} not in the sums.")
    if unpriced:
        missing = sum(number for _, number in unpriced)
        verb = "has" if missing == 1 else "have"
        names = ", ".join(model or "(no model)" for model, _ in unpriced[:_NAMED])
        more = f" and {len(unpriced) - _NAMED} more" if len(unpriced) > _NAMED else ""
        said.append(f"{_count(missing, 'attempt')} of {_count(len(unpriced), 'model')} {verb} no price: {names}{more}")
    return said


def share(part: int, whole: int) -> str:
    """Return what a part is of the whole, such as "12.5 %"; empty where the whole is not above zero."""
    if whole <= 0:
        return ""
    per_mille = (part * 2000 + whole) // (whole * 2)
    sign = "-" if per_mille < 0 else ""
    return f"{sign}{abs(per_mille) // 10}.{abs(per_mille) % 10} %"


def sparkline(values: Sequence[int]) -> str:
    """Return a stroke for each value, the largest at full height; only zero and below have the lowest stroke."""
    largest = max(values, default=0)
    steps = len(_STROKES) - 2
    return "".join(_STROKES[1 + value * steps // largest if value > 0 else 0] for value in values)


def _cells(row: Row, by: Sequence[str], whole: int) -> dict[str, str]:
    unknown = not row.cost and row.unknown_cost_attempts > 0
    return {
        **{name: value or "(none)" for name, value in zip(by, row.key, strict=True)},
        "calls": f"{row.calls:,}",
        "attempts": f"{row.attempts:,}",
        "images": f"{row.images:,}",
        "errors": f"{row.errors:,}",
        "cost": "unknown" if unknown else dollars(row.cost),
        "share": "" if unknown else share(row.cost, whole),
        "at_risk": dollars(row.at_risk) if row.at_risk else "",
        "fee": dollars(row.fee),
        "unknown_cost": f"{row.unknown_cost_attempts:,}" if row.unknown_cost_attempts else "",
        "p50": _seconds(row.p50_seconds),
        "p95": _seconds(row.p95_seconds),
    }


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
