"""Tags that have too many values for a rollup, such as the ids of customers: reports count them from the attempts.

A tag with more than `MOST_VALUES` values on one UTC day is wide, and stays so. Whoever writes attempts without adding
such a tag to its rollup has read in the same transaction that it is wide, so whoever does not see that it is finds all
values in the rollup.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeGuard
from zlib import crc32

from pixelmeter.ledger.reader import LedgerReader

__all__ = ["MOST_VALUES", "Watch", "has_many_values", "is_plain_key", "is_plain_value", "is_rolled_up", "wide_tags"]

MOST_VALUES = 1000
"""How many values of a tag on one UTC day a rollup keeps."""

# What `tagging` lets through. Others come only from records that were not made by it, and databases tell them apart.
_LONGEST_KEY = 64
_LONGEST_VALUE = 256
# One in so many values makes a writer count all there are.
_SAMPLE = 32
_REMEMBERED = 100_000


def is_rolled_up(reader: LedgerReader, key: str) -> bool:
    """Return whether the rollup by tags has all values of a tag."""
    if not is_plain_key(key):
        return False
    return not reader.rows("SELECT 1 FROM pixelmeter_wide_tags WHERE tag = ?", [key])


def wide_tags(reader: LedgerReader) -> frozenset[str]:
    """Return the tags that are wide."""
    return frozenset(str(tag) for (tag,) in reader.rows("SELECT tag FROM pixelmeter_wide_tags"))


def has_many_values(tag: str, day: str) -> str:
    """Return the SQL of whether a tag has more values on a day than a rollup keeps; both are SQL too."""
    return f"""
SELECT count(*) > {MOST_VALUES} FROM (
  SELECT DISTINCT value FROM pixelmeter_tag_daily_merged AS t WHERE t.tag = {tag} AND t.day = {day}
  LIMIT {MOST_VALUES + 1}
) AS found"""


def is_plain_key(key: str) -> bool:
    """Return whether a tag may be in the rollup at all: it is as `pixelmeter.tags` takes them."""
    return 0 < len(key) <= _LONGEST_KEY and key.isprintable()


def is_plain_value(value: object) -> TypeGuard[str]:
    """Return whether every database tells this value of a tag as it is."""
    return isinstance(value, str) and len(value) <= _LONGEST_VALUE and value.isprintable()


class Watch:
    """Picks the tags whose values a writer should count, though each process may see but a few of them."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str]] = set()

    def suspects(self, added: Iterable[Sequence[Any]]) -> Collection[tuple[str, str]]:
        """Return the tags and days to look into, given what is added to the rollup by tags."""
        new = {(tag, day, value) for tag, day, value, *_ in added} - self._seen
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        self._seen |= new
        return {(tag, day) for tag, day, value in new if crc32(value.encode()) % _SAMPLE == 0}
