"""Columns of a report, and what stands in them: as text, JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from pixelmeter.core.reporting.periods import utc_text, zoned_text
from pixelmeter.core.reporting.report import Forecast, Report, Row
from pixelmeter.core.text import dollars, exact_usd, half_even, plural
from pixelmeter.errors import ConfigError

__all__ = [
    "COLUMNS",
    "HISTOGRAM",
    "OF_PROGRAMS",
    "OF_TABLES",
    "as_json",
    "cells",
    "change_text",
    "columns",
    "csv_columns",
    "csv_rows",
    "forecast_told",
    "gateway_hint",
    "names",
    "notes",
    "share",
    "sparkline",
    "sums",
    "values",
]

HISTOGRAM = "buckets"
"""The name of what percentiles are made of, among the sums of a column."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a report."""

    json: str
    """Its name in JSON and CSV."""
    sums: tuple[str, ...]
    """The sums of a `Row` that it is made of."""
    value: Callable[[Row, Row], object]
    """What stands in JSON and CSV for a row and the total; None where nothing is known."""
    text: Callable[[Row, Row], str]
    """What stands in a table."""


def _count_column(json: str, name: str, text: Callable[[int], str] = "{:,}".format) -> _Column:
    return _Column(json, (name,), lambda row, _: getattr(row, name), lambda row, _: text(getattr(row, name)))


def _money_column(json: str, amount: str, *sums: str, shows_zero: bool = True) -> _Column:
    def text(row: Row, _: Row) -> str:
        value = getattr(row, amount)
        return "" if value == 0 and not shows_zero else _shown(value)

    return _Column(json, sums, lambda row, _: _exact(getattr(row, amount)), text)


def _routed_column(json: str, amount: str, *sums: str) -> _Column:
    def text(row: Row, _: Row) -> str:
        return _shown(getattr(row, amount)) if row.routed_attempts else ""

    return _Column(json, ("routed_attempts", *sums), lambda row, _: _exact(getattr(row, amount)), text)


def _time_column(json: str, seconds: str) -> _Column:
    return _Column(
        json, (HISTOGRAM,), lambda row, _: getattr(row, seconds), lambda row, _: _seconds(getattr(row, seconds))
    )


def _per_image(row: Row, _: Row) -> str:
    return "" if row.known_cost is not None and not row.priced_images else _shown(row.cost_per_image)


def _per_megapixel(row: Row, _: Row) -> str:
    return "" if row.cost_per_megapixel is None else dollars(row.cost_per_megapixel)


_COST = ("cost", "unknown_cost_attempts")

_COLUMNS: Mapping[str, _Column] = {
    "calls": _count_column("calls", "calls"),
    "attempts": _count_column("attempts", "attempts"),
    "images": _count_column("images", "images"),
    "errors": _count_column("errors", "errors"),
    "blocked": _count_column("blocked", "blocked"),
    "cost": _money_column("cost_usd", "known_cost", *_COST),
    "share": _Column(
        "share",
        _COST,
        lambda row, total: _fraction(row, total),  # noqa: PLW0108 - it is defined below
        lambda row, total: "" if row.known_cost is None else share(row.cost, total.cost),
    ),
    "before": _money_column("cost_before_usd", "known_before", "before", "unknown_before"),
    "change": _Column(
        "change",
        (*_COST, "before", "unknown_before"),
        lambda row, _: _change(row),
        lambda row, _: _change_text(row),
    ),
    "at_risk": _money_column("at_risk_usd", "known_at_risk", "at_risk", "unestimated_attempts", shows_zero=False),
    "fee": _money_column("fee_usd", "known_fee", "fee", "unknown_fee_attempts"),
    "unknown_cost": _count_column(
        "unknown_cost_attempts", "unknown_cost_attempts", lambda number: f"{number:,}" if number else ""
    ),
    "cost_per_image": _Column(
        "cost_per_image_usd", (*_COST, "priced_images"), lambda row, _: _exact(row.cost_per_image), _per_image
    ),
    "cost_per_megapixel": _Column(
        "cost_per_megapixel_usd",
        ("pixels", "pixel_cost"),
        lambda row, _: _exact(row.cost_per_megapixel),
        _per_megapixel,
    ),
    "retry_cost": _money_column(
        "retry_cost_usd", "known_retry_cost", "retry_cost", "unknown_retries", shows_zero=False
    ),
    "paid_twice": _count_column("paid_twice_calls", "paid_twice", lambda number: f"{number:,}" if number else ""),
    "paid_twice_cost": _money_column(
        "paid_twice_usd", "known_paid_twice_cost", "paid_twice_cost", "unknown_paid_twice", shows_zero=False
    ),
    "paid_twice_at_risk": _money_column(
        "paid_twice_at_risk_usd", "known_paid_twice_at_risk", "paid_twice_at_risk", "unestimated_paid_twice",
        shows_zero=False,
    ),
    "failure_cost": _money_column(
        "failure_cost_usd", "known_failure_cost", "failure_cost", "unknown_failures", shows_zero=False
    ),
    "p50": _time_column("p50_seconds", "p50_seconds"),
    "p95": _time_column("p95_seconds", "p95_seconds"),
    "p99": _time_column("p99_seconds", "p99_seconds"),
    "baseline": _routed_column("baseline_usd", "known_baseline", "baseline", "stated_baselines"),
    "route_fee": _routed_column("route_fee_usd", "known_route_fee", "route_fee", "stated_route_fees"),
    "savings": _routed_column("savings_usd", "known_savings", "savings", "stated_savings"),
}  # fmt: skip

COLUMNS: Mapping[str, str] = {name: column.json for name, column in _COLUMNS.items()}
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


def sums(chosen: Iterable[str]) -> frozenset[str]:
    """Return the sums of rows that columns are made of."""
    return frozenset(name for column in chosen for name in _COLUMNS[column].sums)


def as_json(report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> dict[str, object]:
    """Return the report as JSON has it."""
    found: dict[str, object] = {
        "since": utc_text(report.since),
        "until": utc_text(report.until),
        "rows": [values(row, report, chosen) for row in report.rows],
        "total": values(report.total, report, chosen),
    }
    if report.forecast is not None:
        until, cost = report.forecast
        found["forecast"] = {"until": utc_text(until), "cost_usd": _exact(cost)}
    return found


def csv_columns(report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> tuple[str, ...]:
    """Return the headings of `csv_rows`: the keys of a row's `values`, in order."""
    return (*report.by, *(COLUMNS[name] for name in chosen))


def csv_rows(report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> Iterator[Sequence[object]]:
    """Yield what stands under `csv_columns` in each row."""
    read = [_COLUMNS[name].value for name in chosen]
    for row in report.rows:
        yield [*row.key, *[value(row, report.total) for value in read]]


def values(row: Row, report: Report, chosen: Sequence[str] = OF_PROGRAMS) -> dict[str, object]:
    """Return a row with a key for each dimension (the total has none) and each chosen column.

    Money is exact decimal text in USD, and None where nothing is known of it; share and change are fractions.
    """
    found: dict[str, object] = dict(zip(report.by, row.key, strict=False))
    for name in chosen:
        column = _COLUMNS[name]
        found[column.json] = column.value(row, report.total)
    return found


def cells(row: Row, report: Report, chosen: Iterable[str] = tuple(_COLUMNS)) -> dict[str, str]:
    """Return the text of each cell of a row, by dimension (the total has none) and column.

    What is not known is "unknown", and what is nothing in most rows is left empty where it is nothing.
    """
    found = {name: value or "(none)" for name, value in zip(report.by, row.key, strict=False)}
    return found | {name: _COLUMNS[name].text(row, report.total) for name in chosen}


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


def _change(row: Row) -> float | None:
    cost, before = row.known_cost, row.known_before
    return None if cost is None or not before else half_even((cost - before) * _SHARE, abs(before)) / _SHARE


def _change_text(row: Row) -> str:
    return change_text(row.known_cost, row.known_before)


def change_text(cost: int | None, before: int | None) -> str:
    """Return by what part a cost is above the one before, such as "+12.5 %"; "new" where there was none.

    "unknown" where one of them is, and nothing where both are nothing.
    """
    if cost is None or before is None:
        return "unknown"
    if not before:
        return "new" if cost else ""
    text = share(abs(cost - before), abs(before))
    return f"{'+' if cost >= before else '-'}{text}"


def _exact(amount: int | None) -> str | None:
    return None if amount is None else exact_usd(amount)


def _shown(amount: int | None) -> str:
    return "unknown" if amount is None else dollars(amount)


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
        said.append(f"{plural(unknown, 'attempt')} of unknown cost {verb} not in the sums.")
    if blocked := report.total.blocked:
        verb = "was" if blocked == 1 else "were"
        said.append(
            f"{plural(blocked, 'attempt')} {verb} refused by a budget: nothing was sent, and nothing is charged."
        )
    routed = report.total.routed_attempts
    for what, stated in (
        ("the baseline", report.total.stated_baselines),
        ("the route fee", report.total.stated_route_fees),
        ("the savings", report.total.stated_savings),
    ):
        if missing := routed - stated:
            said.append(f"The gateway does not say {what} of {missing:,} of {plural(routed, 'routed attempt')}.")
    models: dict[str, int] = {}
    for model, number in unpriced:
        models[model] = models.get(model, 0) + number
    if models:
        missing = sum(models.values())
        verb = "has" if missing == 1 else "have"
        said.append(f"{plural(missing, 'attempt')} of {plural(len(models), 'model')} {verb} no price: {names(models)}")
    return said


def forecast_told(forecast: Forecast, zone: tzinfo) -> str:
    """Return a forecast in a sentence, with its end as `zone` has it."""
    until, cost = zoned_text(forecast.until, zone), forecast.cost
    if cost is None:
        return f"Forecast: unknown until {until}; nothing is known of the cost so far."
    return f"Forecast: {dollars(cost)} until {until}, if spending continues at this rate."


def gateway_hint(host: str, models: Mapping[str, Sequence[str]]) -> str:
    """Return what to do about a host without a profile; `models` are its models with the profiles that price them."""
    common = [name for name in next(iter(models.values())) if all(name in known for known in models.values())]
    profiles = common or list(dict.fromkeys(name for known in models.values() for name in known))
    return (
        f"{host} is no gateway that pixelmeter knows. If it is {' or '.join(profiles)} by another name, calls of "
        f"{names(models)} get a price from then on with PIXELMETER_GATEWAYS={host}={profiles[0]}"
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


def names(models: Iterable[str]) -> str:
    """Return the names of a few models, and how many more there are."""
    names = [model or "(no model)" for model in models]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
