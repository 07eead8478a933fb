"""A ledger of the release before is upgraded with all that is in it; what it adds is added up from the rows."""

from __future__ import annotations

from datetime import UTC

import pytest

from benchmarks.upgrade import BEFORE, check, fill
from pixelmeter.errors import SchemaOutdated
from pixelmeter.ledger import migrate
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import (
    hours,
    recomputed,
    recomputed_hours,
    recomputed_tag_days,
    recomputed_totals,
    rollup,
    tag_days,
    totals,
)

pytestmark = pytest.mark.slow

ROWS = 3000


def test_every_rollup_adds_up_to_the_rows_of_the_release_before(new_url: str) -> None:
    fill(new_url, ROWS)
    assert BEFORE == migrate.status(new_url).revision
    with pytest.raises(SchemaOutdated):
        open_writer(new_url).write([make_attempt()], {}, [])

    migrate.upgrade(new_url)

    check(new_url, ROWS)
    writer = open_writer(new_url)
    writer.write([make_attempt(tags='{"team":"team-1"}')], {}, [])
    writer.close()
    assert recomputed(new_url) == rollup(new_url)
    # SQLite has no time zones.
    by_hour = {(hour.replace(tzinfo=UTC), *key): sums for (hour, *key), sums in hours(new_url).items()}
    assert recomputed_hours(new_url) == by_hour
    assert recomputed_tag_days(new_url) == tag_days(new_url)
    assert recomputed_totals(new_url) == totals(new_url)
