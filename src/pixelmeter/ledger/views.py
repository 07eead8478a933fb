"""The views: what people, reports and the exporter ask. `migrations/` must lead to exactly these too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection

from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.record import FIELDS
from pixelmeter.ledger.deltas import ARRAYS, TOTALS_SUMS, unpacked
from pixelmeter.ledger.measures import UNESTIMATED
from pixelmeter.ledger.rollups import DAILY_KEY, HOURLY_KEY, SUMS, TAG_DAILY_KEY, TAG_SUMS
from pixelmeter.ledger.sums import TOTALS_KEY

__all__ = ["VIEWS", "create_views"]

# What is not merged yet came later than all that is: in the order of its commits, beyond every number of the table.
_LATER = 1 << 62
_NOT_WIDE = " WHERE r.tag NOT IN (SELECT tag FROM pixelmeter_wide_tags)"


def _as_it_is(name: str) -> str:
    if name not in ADJUSTABLE:
        return f"a.{name}"
    return f"CASE WHEN j.number IS NULL THEN a.{name} ELSE j.{name} END AS {name}"


# Later columns come last: PostgreSQL replaces a view in place, with its rights, only if they do.
_LATER_FIELDS = FIELDS.index("service_tier") + 1
_SPEND = (
    *map(_as_it_is, FIELDS[:_LATER_FIELDS]),
    "j.kind AS adjusted_by",
    "coalesce(j.number, 0) AS adjustments",
    *map(_as_it_is, FIELDS[_LATER_FIELDS:]),
)

_OF_ATTEMPTS = {
    "pixelmeter_spend": f"""
SELECT {", ".join(_SPEND)}
FROM pixelmeter_attempts AS a
LEFT JOIN pixelmeter_adjustments AS j ON j.attempt_id = a.id AND j.is_latest
""",
    "pixelmeter_calls": f"""
SELECT call_id, min(started_at) AS started_at, count(*) AS attempts,
  CASE WHEN sum(images) <> 0 OR count(images) = count(*) THEN sum(images) END AS images,
  max(CASE WHEN outcome = 'success' THEN 1 ELSE 0 END) AS succeeded,
  max(CASE WHEN outcome = 'pending' THEN 1 ELSE 0 END) AS pending,
  CASE WHEN sum(cost) <> 0 OR count(cost) = count(*) THEN sum(cost) END AS cost,
  count(*) - count(cost) AS unknown_cost_attempts,
  CASE WHEN sum(at_risk) <> 0 OR max(CASE WHEN {UNESTIMATED} THEN 1 ELSE 0 END) = 0
    THEN coalesce(sum(at_risk), 0) END AS at_risk,
  sum(CASE WHEN outcome = 'blocked' THEN 1 ELSE 0 END) AS blocked
FROM pixelmeter_spend
GROUP BY call_id
""",
}


_COST_PARTS = ("cost_usd", "cost_nano")
# A sum of 0 is not known to be nothing where it leaves attempts out. By column: what is the sum, and what counts those.
_LEFT_OUT: Mapping[str, tuple[tuple[str, ...], str]] = {
    "cost": (("cost",), "unknown_cost_attempts"),
    "fee": (("fee",), "unknown_fee_attempts"),
    "at_risk": (("at_risk",), "unestimated_attempts"),
    "failure_cost": (("failure_cost",), "unknown_failures"),
    "cost_usd": (_COST_PARTS, "unknown_cost_attempts"),
    "cost_nano": (_COST_PARTS, "unknown_cost_attempts"),
}


def _sums(names: Sequence[str], of_row: str) -> Iterator[str]:
    """Yield the SQL of sums, NULL where nothing is known; `of_row` is that of a column as it is kept."""
    for name in names:
        value = of_row.format(name)
        if name in _LEFT_OUT:
            amount, counter = _LEFT_OUT[name]
            # An adjustment that takes back what was unknown is a row of fewer than none.
            is_known = [*(f"{of_row.format(one)} <> 0" for one in amount), f"{of_row.format(counter)} <= 0"]
            value = f"CASE WHEN {' OR '.join(is_known)} THEN {value} END"
        yield f"{value} AS {name}"


def _merged(name: str, key: Iterable[str], sums: Sequence[str], condition: str = "") -> str:
    return f"""
SELECT {", ".join((*key, *_sums(sums, "r.{}")))} FROM pixelmeter_{name}_merged AS r{condition}
"""


def _with_deltas(name: str, array: str, key: Mapping[str, str], condition: str = "") -> str:
    """Return a query of a table of sums, and of what an array of the deltas adds to it.

    `key` has the columns of its key, and what they are in the array.
    """
    sums = ARRAYS[array][1]
    unmerged = (*key.values(), *_sums(sums, "coalesce(r.{}, 0)"))
    return f"""{_merged(name, key, sums, condition)}UNION ALL
SELECT {", ".join(unmerged)} FROM ({unpacked("pixelmeter_deltas", array)}) AS r{condition}
"""


def _key(names: Iterable[str]) -> dict[str, str]:
    return {name: f"r.{name}" for name in names}


_SQLITE = {
    name: _merged(name, key, sums)
    for name, key, sums in (
        ("daily", DAILY_KEY, SUMS),
        ("hourly", HOURLY_KEY, SUMS),
        ("tag_daily", TAG_DAILY_KEY, TAG_SUMS),
        ("totals", ("number", *TOTALS_KEY), TOTALS_SUMS),
    )
}
_POSTGRESQL = {
    "daily": _with_deltas("daily", "hourly", {"day": "(r.hour AT TIME ZONE 'UTC')::date", **_key(DAILY_KEY[1:])}),
    "hourly": _with_deltas("hourly", "hourly", _key(HOURLY_KEY)),
    "tag_daily": _with_deltas("tag_daily", "tag_daily", _key(TAG_DAILY_KEY), _NOT_WIDE),
    "totals": _with_deltas("totals", "totals", {"number": f"{_LATER} + r.id", **_key(TOTALS_KEY)}),
}
VIEWS: Mapping[str, Mapping[str, str]] = {
    dialect: {**{f"pixelmeter_{name}": query for name, query in sums.items()}, **_OF_ATTEMPTS}
    for dialect, sums in (("sqlite", _SQLITE), ("postgresql", _POSTGRESQL))
}
"""What people ask, of each database: sums, attempts with their adjustments, and calls made of them.

In the order in which they are made.
"""

_RELATION = re.compile(r"\bpixelmeter_\w+")


def create_views(connection: Connection, schema: str | None) -> None:
    """Make the views, in a schema of PostgreSQL where one is named."""
    prefix = "" if schema is None else f'"{schema}".'
    for name, query in VIEWS[connection.dialect.name].items():
        qualified = _RELATION.sub(lambda found: f"{prefix}{found[0]}", query)
        connection.exec_driver_sql(f"CREATE VIEW {prefix}{name} AS {qualified}")
