"""Columns of a report, and what stands in them: as text, JSON and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pixelmeter.core.reporting.periods import utc_text
from pixelmeter.core.reporting.report import Report, Row
from pixelmeter.core.text import dollars, exact_usd, half_even
from pixelmeter.errors import ConfigError

__all__ = [
    "COLUMNS",
    "OF_PROGRAMS",
    "OF_TABLES",
    "as_json",
    "cells",
    "columns",
    "csv_columns",
    "gateway_hint",
    "notes",
    "share",
    "sparkline",
    "values",
]

COLUMNS: Mapping[str, str] = {
    "calls": "calls",
    "attempts": "attempts",
    "images": "images",
    "errors": "errors",
    "blocked": "blocked",
    "cost": "cost_usd",
    "share": "share",
    "at_risk": "at_risk_usd",
    "fee": "fee_usd",
    "unknown_cost": "unknown_cost_attempts",
    "cost_per_image": "cost_per_image_usd",
    "retry_cost": "retry_cost_usd",
    "failure_cost": "failure_cost_usd",
    "p50": "p50_seconds",
    "p95": "p95_seconds",
    "baseline": "baseline_usd",
    "route_fee": "route_fee_usd",
    "savings": "savings_usd",
}
"""Every column by its name in a table, with the one in JSON and CSV."""

OF_PROGRAMS: tuple[str, ...] = (
    "calls", "attempts", "images", "errors", "cost", "at_risk", "unknown_cost", "p50", "p95"
)  # fmt: skip
"""The columns of JSON and CSV where none are chosen."""

OF_TABLES: tuple[str, ...] = (
    "calls", "attempts", "images", "errors", "cost", "share", "at_risk", "unknown_cost", "p50", "p95"
)  # fmt: skip
"""The columns of a table where none are chosen."""

_BY_EITHER_NAME = {json: name for name, json in COLUMNS.items()} | {name: name for name in COLUMNS}
_SHARE = 1_000_000
_QUOTED = 40


def columns(text: str) -> tuple[str, ...]:
    """Return the columns of a list such as "cost,retry_cost", under their names in tables.

    Those of JSON are known too. ConfigError names what is no column.
    """
    found: dict[str, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part not in _BY_EITHER_NAME:
            raise ConfigError(f"{part[:_QUOTED]!r} is not a column: use {', '.join(COLUMNS)}")
        found[_BY_EITHER_NAME[part]] = None
    if not found:
        raise ConfigError(f"name at least one column: {', '.join(COLUMNS)}")
    return tuple(found)


def as_json(report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> dict[str, object]:
    """Return the report as JSON has it."""
    return {
        "since": utc_text(report.since),
        "until": utc_text(report.until),
        "rows": [values(row, report, chosen) for row in report.rows],
        "total": values(report.total, report, chosen),
    }


def csv_columns(report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> tuple[str, ...]:
    """Return the keys of a row's `values`, in order."""
    return (*report.by, *(COLUMNS[name] for name in chosen))


def values(row: Row, report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> dict[str, object]:
    """Return a row with a key for each dimension (the total has none) and each chosen column.

    Money is exact decimal text in USD, and None where nothing is known of it; the share is a fraction.
    """
    known: dict[str, object] = {
        "calls": row.calls,
        "attempts": row.attempts,
        "images": row.images,
        "errors": row.errors,
        "blocked": row.blocked,
        "cost": _exact(row.known_cost),
        "share": _fraction(row, report.total),
        "at_risk": _exact(row.known_at_risk),
        "fee": _exact(row.known_fee),
        "unknown_cost": row.unknown_cost_attempts,
        "cost_per_image": _exact(row.cost_per_image),
        "retry_cost": _exact(row.known_retry_cost),
        "failure_cost": _exact(row.known_failure_cost),
        "p50": row.p50_seconds,
        "p95": row.p95_seconds,
        "baseline": _exact(row.known_baseline),
        "route_fee": _exact(row.known_route_fee),
        "savings": _exact(row.known_savings),
    }
    return {**dict(zip(report.by, row.key, strict=False)), **{COLUMNS[name]: known[name] for name in chosen}}


def cells(row: Row, report: Report) -> dict[str, str]:
    """Return the text of each cell of a row, by dimension (the total has none) and column.

    What is not known is "unknown", and what is nothing in most rows is left empty where it is nothing.
    """
    whole = report.total.cost
    return {
        **{name: value or "(none)" for name, value in zip(report.by, row.key, strict=False)},
        "calls": f"{row.calls:,}",
        "attempts": f"{row.attempts:,}",
        "images": f"{row.images:,}",
        "errors": f"{row.errors:,}",
        "blocked": f"{row.blocked:,}",
        "cost": _shown(row.known_cost),
        "share": "" if row.known_cost is None else share(row.cost, whole),
        "at_risk": "" if row.known_at_risk == 0 else _shown(row.known_at_risk),
        "fee": _shown(row.known_fee),
        "unknown_cost": f"{row.unknown_cost_attempts:,}" if row.unknown_cost_attempts else "",
        "cost_per_image": "" if row.known_cost is not None and not row.priced_images else _shown(row.cost_per_image),
        "retry_cost": "" if row.known_retry_cost == 0 else _shown(row.known_retry_cost),
        "failure_cost": "" if row.known_failure_cost == 0 else _shown(row.known_failure_cost),
        "p50": _seconds(row.p50_seconds),
        "p95": _seconds(row.p95_seconds),
        "baseline": _routed(row, row.known_baseline),
        "route_fee": _routed(row, row.known_route_fee),
        "savings": _routed(row, row.known_savings),
    }


def share(part: int, whole: int) -> str:
    """Return what a part is of the whole, such as "12.5 %"; empty where the whole is not above zero."""
    if whole <= 0:
        return ""
    per_mille = (part * 2000 + whole) // (whole * 2)
    sign = "-" if per_mille < 0 else ""
    return f"{sign}{abs(per_mille) // 10}.{abs(per_mille) % 10} %"


def _fraction(row: Row, total: Row) -> float | None:
    if row.known_cost is None or total.cost <= 0:
        return None
    return half_even(row.cost * _SHARE, total.cost) / _SHARE


def _exact(amount: int | None) -> str | None:
    return None if amount is None else exact_usd(amount)


def _shown(amount: int | None) -> str:
    return "unknown" if amount is None else dollars(amount)


def _routed(row: Row, amount: int | None) -> str:
    return _shown(amount) if row.routed_attempts else ""


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


_STROKES = "▁▂▃▄▅▆▇█"
_NOT_KNOWN = "?"
_NAMED = 5


def notes(report: Report, unpriced: Iterable[tuple[str, int]]) -> list[str]:
    """Return a sentence for each thing that the sums leave out; `unpriced` is models with their attempts."""
    said: list[str] = []
    at_risk = report.total.known_at_risk
    if at_risk is None:
        said.append("At risk: unknown; of the attempts whose billing is unknown, none can be estimated.")
    elif at_risk:
        said.append(
            f"At risk: {dollars(at_risk)} more may have been charged for attempts whose billing "
            "is unknown; the sums leave it out."
        )
    if unknown := report.total.unknown_cost_attempts:
        verb = "is" if unknown == 1 else "are"
        said.append(f"{_count(unknown, 'attempt')} of unknown cost {verb} not in the sums.")
    if blocked := report.total.blocked:
        verb = "was" if blocked == 1 else "were"
        said.append(
            f"{_count(blocked, 'attempt')} {verb} refused by a budget: nothing was sent, and nothing is charged."
        )
    routed = report.total.routed_attempts
    for what, stated in (
        ("the baseline", report.total.stated_baselines),
        ("the route fee", report.total.stated_route_fees),
        ("the savings", report.total.stated_savings),
    ):
        if missing := routed - stated:
            said.append(f"The gateway does not say {what} of {missing:,} of {_count(routed, 'routed attempt')}.")
    models: dict[str, int] = {}
    for model, number in unpriced:
        models[model] = models.get(model, 0) + number
    if models:
        missing = sum(models.values())
        verb = "has" if missing == 1 else "have"
        said.append(f"{_count(missing, 'attempt')} of {_count(len(models), 'model')} {verb} no price: {_names(models)}")
    return said


def gateway_hint(host: str, models: Mapping[str, Sequence[str]]) -> str:
    """Return what to do about a host without a profile; `models` are its models with the profiles that price them."""
    common = [name for name in next(iter(models.values())) if all(name in known for known in models.values())]
    profiles = common or list(dict.fromkeys(name for known in models.values() for name in known))
    return (
        f"{host} is no gateway that pixelmeter knows. If it is {' or '.join(profiles)} by another name, calls of "
        f"{_names(models)} get a price from then on with PIXELMETER_GATEWAYS={host}={profiles[0]}"
    )


def sparkline(values: Sequence[int | None]) -> str:
    """Return a stroke for each value, the largest at full height; only zero and below have the lowest stroke.

    A question mark stands for None, of which nothing is known.
    """
    largest = max((value for value in values if value is not None), default=0)
    steps = len(_STROKES) - 2
    return "".join(
        _NOT_KNOWN if value is None else _STROKES[1 + value * steps // largest if value > 0 else 0] for value in values
    )


def _names(models: Iterable[str]) -> str:
    names = [model or "(no model)" for model in models]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
