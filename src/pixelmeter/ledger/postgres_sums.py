"""The sums of a PostgreSQL ledger: what a commit appends to them, and how what was appended is merged.

A commit touches no row of a sum, which others would have to wait for: it adds one row to `pixelmeter_deltas`. Whoever
gets a lock takes such rows away and adds them to the tables of sums, in one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.deltas import ARRAYS, DELTA_ROWS, TOTALS_SUMS, unpacked
from pixelmeter.ledger.reader import with_schema
from pixelmeter.ledger.rollups import DAILY_KEY, HOURLY_KEY, SUMS, TAG_DAILY_KEY, TAG_SUMS
from pixelmeter.ledger.sums import ADJUSTMENT_TOTALS_COLUMNS, TOTALS_KEY, adjustment_row, delta_of
from pixelmeter.ledger.wide_tags import Watch, has_many_values

__all__ = ["MOST_DELTAS", "Additions", "additions_of", "looking_for_wide", "merging", "setting_apart"]

MOST_DELTAS = 5000
"""So many deltas are merged at once at most, that nobody is busy with it for long."""

_LARGEST = 2**63 - 1
# An index of PostgreSQL has room for 2704 bytes of a key.
_LONGEST_KEY = 2500


class Additions(NamedTuple):
    """What is added to the sums, each as a JSON array of objects without what is 0."""

    hourly: str
    tag_daily: str
    totals: str
    adjusted: str | None
    wide: Sequence[str]
    """The tags that turn out to be wide."""
    suspects: Collection[tuple[str, str]]
    """The tags and days to look into, once this is merged."""


def additions_of(
    attempts: Sequence[Attempt], changes: Sequence[Change], wide: Collection[str], watch: Watch
) -> Additions:
    """Return what attempts and changes add; OverflowError or ValueError where that is more than columns can hold.

    Nobody would be there to tell, once it is merged.
    """
    delta = delta_of(attempts, changes, wide)
    adjusted = [dict(zip(ADJUSTMENT_TOTALS_COLUMNS, adjustment_row(tally), strict=True)) for tally in delta.adjusted]
    return Additions(
        _json("hourly", delta.hourly),
        _json("tag_daily", delta.tag_daily),
        _json("totals", [total.row() for total in delta.totals]),
        msgspec.json.encode(adjusted).decode() if adjusted else None,
        sorted(delta.wide),
        watch.suspects(delta.tag_daily),
    )


def _json(array: str, rows: Iterable[Sequence[Any]]) -> str:
    kind, width = DELTA_ROWS[array], len(ARRAYS[array][0])
    found: list[msgspec.Struct] = []
    for row in rows:
        sums, texts = row[width:], "".join(one for one in row[:width] if isinstance(one, str))
        if max(sums) > _LARGEST or min(sums) < -_LARGEST:
            raise OverflowError("a sum of more than 63 bits")
        if len(texts) * 4 > _LONGEST_KEY and len(texts.encode()) > _LONGEST_KEY:
            raise ValueError("a key that no index has room for")
        found.append(kind(*row))
    return msgspec.json.encode(found).decode()


def merging(address: Address) -> bytes:
    """Return the statements that merge up to `%s` deltas, unless somebody else is about it; no commit.

    The first one tells how many were merged and how many seconds ago the first of them was made.
    """
    key = ", ".join(HOURLY_KEY)
    by_day = f"""
  FROM (SELECT (hour AT TIME ZONE 'UTC')::date AS day, hours.* FROM hours) AS days GROUP BY {", ".join(DAILY_KEY)}"""
    by_tag = f"""
  FROM ({unpacked("gone", "tag_daily")}) AS added GROUP BY {", ".join(TAG_DAILY_KEY)}"""
    of_totals = f"""
  FROM ({unpacked("gone", "totals")}) AS added GROUP BY {", ".join(TOTALS_KEY)}"""
    statements = f"""
WITH mine AS MATERIALIZED (
  SELECT pg_try_advisory_xact_lock(hashtext('pixelmeter'), hashtext('pixelmeter_deltas'::regclass::oid::text)) AS it
), gone AS (
  DELETE FROM pixelmeter_deltas AS d
  USING mine, (SELECT id FROM pixelmeter_deltas WHERE NOT is_apart ORDER BY id LIMIT %s) AS next
  WHERE mine.it AND d.id = next.id RETURNING d.*
), hours AS (
  SELECT {key}, {", ".join(f"sum({name}) AS {name}" for name in SUMS)}
  FROM ({unpacked("gone", "hourly")}) AS added GROUP BY {key}
), to_hourly AS ({_adding("hourly", HOURLY_KEY, SUMS, f"FROM hours GROUP BY {key}", key)}
), to_daily AS ({_adding("daily", DAILY_KEY, SUMS, by_day, ", ".join(DAILY_KEY))}
), to_tag_daily AS ({_adding("tag_daily", TAG_DAILY_KEY, TAG_SUMS, by_tag, ", ".join(TAG_DAILY_KEY))}
), to_totals AS ({_adding("totals", TOTALS_KEY, TOTALS_SUMS, of_totals, "min(id)")}
)
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(made_at)), 0)::float8 FROM gone;
DELETE FROM pixelmeter_tag_daily_merged WHERE tag IN (SELECT tag FROM pixelmeter_wide_tags)
"""
    return with_schema(statements, address).encode()


def looking_for_wide(address: Address) -> bytes:
    """Return the statement that marks those of the tags and days, two arrays, as wide that have many values."""
    statement = f"""
INSERT INTO pixelmeter_wide_tags (tag, found_at)
SELECT DISTINCT s.tag, now() FROM unnest(%s::text[], %s::date[]) AS s(tag, day)
WHERE ({has_many_values("s.tag", "s.day")}) ORDER BY s.tag ON CONFLICT (tag) DO NOTHING
"""
    return with_schema(statement, address).encode()


def setting_apart(address: Address) -> bytes:
    """Return the statement that leaves the first delta to the readers for good, as it cannot be merged."""
    first = "SELECT id FROM pixelmeter_deltas WHERE NOT is_apart ORDER BY id LIMIT 1"
    return with_schema(f"UPDATE pixelmeter_deltas SET is_apart = true WHERE id = ({first})", address).encode()


def _adding(name: str, key: Sequence[str], sums: Sequence[str], source: str, order: str) -> str:
    """Return what adds the rows of a source, which groups them by their key, to a table."""
    keys = ", ".join(key)
    return f"""
  INSERT INTO pixelmeter_{name}_merged AS present ({keys}, {", ".join(sums)})
  SELECT {keys}, {", ".join(f"coalesce(sum({column}), 0)" for column in sums)} {source} ORDER BY {order}
  ON CONFLICT ({keys}) DO UPDATE SET {", ".join(f"{column} = present.{column} + excluded.{column}" for column in sums)}
"""
