"""What a row of `pixelmeter_deltas` holds: three arrays of rows that are to be added to tables of sums.

Each row is an object without what is 0, and names its columns by numbers: names would be a third of all bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pixelmeter.ledger.rollups import HOURLY_KEY, SUMS, TAG_DAILY_KEY, TAG_SUMS
from pixelmeter.ledger.sums import TOTALS_COLUMNS, TOTALS_KEY

__all__ = ["ARRAYS", "DELTA_ROWS", "TOTALS_SUMS", "unpacked"]

TOTALS_SUMS = TOTALS_COLUMNS[len(TOTALS_KEY) :]
ARRAYS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "hourly": (HOURLY_KEY, SUMS),
    "tag_daily": (TAG_DAILY_KEY, TAG_SUMS),
    "totals": (TOTALS_KEY, TOTALS_SUMS),
}
"""The key and the sums of the rows of each array, in the order of their numbers."""

_TYPES = {"hour": "timestamptz", "day": "date", "latency_bucket": "smallint"}


def _row_of(key: Sequence[str], sums: Sequence[str]) -> type[msgspec.Struct]:
    columns: list[Any] = [*((name, object) for name in key), *((name, int, 0) for name in sums)]
    numbers = {name: str(number) for number, name in enumerate((*key, *sums), 1)}
    return msgspec.defstruct("DeltaRow", columns, omit_defaults=True, rename=numbers, gc=False)


DELTA_ROWS = {array: _row_of(*columns) for array, columns in ARRAYS.items()}
"""The class of the rows of each array, as they are encoded."""


def unpacked(source: str, array: str) -> str:
    """Return the query of the rows of an array in a relation that has the columns of the deltas, and their ids."""
    key, sums = ARRAYS[array]
    types = [*(_TYPES.get(name, "text") for name in key), *("bigint" for _ in sums)]
    columns = [*key, *sums]
    named = [f'r."{number}" AS {name}' for number, name in enumerate(columns, 1)]
    definition = [f'"{number}" {kind}' for number, kind in enumerate(types, 1)]
    return (
        f"SELECT d.id, {', '.join(named)} FROM {source} AS d,"
        f" json_to_recordset(d.{array}) AS r({', '.join(definition)})"
    )
