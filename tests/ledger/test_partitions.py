"""The months of a PostgreSQL ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.errors import LedgerError
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing, ensure_schema
from pixelmeter.ledger.partitions import AHEAD, Months, first_id, make_ahead, months_of, partitions
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.system import SystemClock
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, rollup, stored
from tests.ledger.test_writer_postgres import documented_grants
from tests.postgres import PASSWORD

NOW = SystemClock().now()
"""The real time: a ledger makes the months by the clock of its machine."""
BEFORE = "0007"
WHERE = "SELECT tableoid::regclass::text, count(*) FROM pixelmeter_attempts GROUP BY 1 ORDER BY 1"


def month(number: int) -> date:
    """Return the first day of the month that is so many after the present one."""
    day = moment_of(NOW).date().replace(day=1)
    for _ in range(number):
        day = (day + timedelta(days=31)).replace(day=1)
    for _ in range(-number):
        day = (day - timedelta(days=1)).replace(day=1)
    return day


def made_in(day: date) -> Attempt:
    """Return an attempt with an id of a UTC day."""
    low = UUID(first_id(day)).int
    return make_attempt(
        id=str(UUID(int=low + (UUID(make_attempt().id).int & (1 << 76) - 1))),
        started_at=microseconds_of(datetime(day.year, day.month, day.day, tzinfo=UTC)),
    )


def write(url: str, *attempts: Attempt) -> int:
    with closing(open_writer(url)) as writer:
        return writer.write(attempts, {}, [])


def asked(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def table_of(day: date) -> str:
    return f"pixelmeter_attempts_{day:%Y_%m}"


def where(url: str) -> dict[str, int]:
    return dict(asked(url, WHERE))


def months(url: str, now: int = NOW) -> Months | None:
    with reading_ledger(url) as reader:
        return months_of(reader, now)


def make(url: str, now: int = NOW) -> list[str]:
    with changing(read_address(url)) as connection:
        return make_ahead(connection, None, moment_of(now))


@contextmanager
def role(url: str, *grants: str) -> Iterator[str]:
    """Give the name of a role with these rights; its password is `only-this`."""
    name = url.rpartition("/")[2] + "_role"
    asked(url, f"CREATE ROLE {name} LOGIN PASSWORD 'only-this'")
    try:
        for grant in grants:
            asked(url, grant.replace("role_name", name))
        yield name
    finally:
        asked(url, f"DROP OWNED BY {name}")
        asked(url, f"DROP ROLE {name}")


def test_an_id_of_a_day_begins_with_its_milliseconds() -> None:
    assert "01a19467-e800-0000-0000-000000000000" == first_id(date(2026, 11, 1))


def test_a_new_ledger_has_months_ahead_and_each_attempt_goes_into_its_own(postgres_url: str) -> None:
    ensure_schema(read_address(postgres_url))
    days = [month(-30), month(-1), month(0), month(1), month(AHEAD), month(AHEAD + 1)]
    write(postgres_url, *map(made_in, days))

    assert {
        "pixelmeter_attempts_first": 2,
        **{table_of(day): 1 for day in days[2:5]},
        "pixelmeter_attempts_default": 1,
    } == where(postgres_url)
    assert Months(ahead=AHEAD, without=1) == months(postgres_url)


def test_a_ledger_without_partitions_has_no_months(sqlite_url: str) -> None:
    ensure_schema(read_address(sqlite_url))

    with reading_ledger(sqlite_url) as reader:
        assert [] == partitions(reader)
    assert months(sqlite_url) is None


def test_the_same_id_is_taken_once_whatever_month_is_made_in_between(postgres_url: str) -> None:
    late = made_in(month(AHEAD + 2))
    first = write(postgres_url, late)
    make(postgres_url, microseconds_of(datetime.combine(month(3), datetime.min.time(), UTC)))
    again = write(postgres_url, late, late, made_in(month(0)))

    assert (1, 1) == (first, again)
    assert rollup(postgres_url) == recomputed(postgres_url)


def test_what_came_without_a_month_is_moved_into_the_one_that_is_made_for_it(postgres_url: str) -> None:
    early, late, far = made_in(month(AHEAD + 1)), made_in(month(AHEAD + 3)), made_in(month(600))
    write(postgres_url, early, late, far)
    before = where(postgres_url)
    in_two_months = microseconds_of(datetime.combine(month(2), datetime.min.time(), UTC))
    made = make(postgres_url, in_two_months)
    again = make(postgres_url, in_two_months)

    assert {"pixelmeter_attempts_default": 3} == before
    assert ([f"{month(AHEAD + each):%Y-%m}" for each in (1, 2)], []) == (made, again)
    assert {table_of(month(AHEAD + 1)): 1, "pixelmeter_attempts_default": 2} == where(postgres_url)
    assert {one.id for one in (early, late, far)} == stored(postgres_url).keys()
    assert Months(ahead=AHEAD, without=2) == months(postgres_url, in_two_months)


def test_what_fell_into_a_gap_gets_its_month_as_well(postgres_url: str) -> None:
    ensure_schema(read_address(postgres_url))
    asked(postgres_url, "DROP TABLE pixelmeter_attempts_first")
    write(postgres_url, made_in(month(-3)))
    made = make(postgres_url)

    assert [f"{month(-3):%Y-%m}"] == made
    assert {table_of(month(-3)): 1} == where(postgres_url)


def test_a_ledger_that_nobody_has_looked_after_says_how_far_its_months_reach(postgres_url: str) -> None:
    ensure_schema(read_address(postgres_url))

    assert [AHEAD, 0, -1] == [
        found.ahead
        for number in (0, AHEAD, AHEAD + 1)
        if (found := months(postgres_url, microseconds_of(datetime.combine(month(number), datetime.min.time(), UTC))))
    ]


def test_an_upgrade_of_a_ledger_that_is_up_to_date_makes_the_months(postgres_url: str) -> None:
    ensure_schema(read_address(postgres_url))
    asked(postgres_url, f"DROP TABLE {table_of(month(2))}, {table_of(month(3))}")
    before = months(postgres_url)
    migrate.upgrade(postgres_url)

    assert (Months(1, 0), Months(AHEAD, 0)) == (before, months(postgres_url))


def test_a_role_that_may_write_needs_no_right_on_any_month_and_makes_none(postgres_url: str) -> None:
    ensure_schema(read_address(postgres_url))
    with role(postgres_url, *documented_grants()) as name:
        limited = postgres_url.replace(f"postgres:{PASSWORD}", f"{name}:only-this")
        before = tables(postgres_url)
        written = write(limited, made_in(month(0)), made_in(month(AHEAD + 4)))
        with reading_ledger(limited) as reader:
            found = months_of(reader, NOW)
        with pytest.raises(LedgerError, match="permission denied|must be owner"):
            make(limited, NOW + 200 * 86_400_000_000)

        assert (2, Months(AHEAD, 1)) == (written, found)
        assert before == tables(postgres_url)


def tables(url: str) -> set[str]:
    return {name for (name,) in asked(url, "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')")}


# ----------------------------------------------------------------------------------------------- a table that is there


RIGHTS = """
SELECT c.relname, a.attname, coalesce(g.rolname, 'PUBLIC'), x.privilege_type, x.is_grantable
FROM pg_class AS c LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
CROSS JOIN LATERAL aclexplode(CASE WHEN a.attname IS NULL THEN c.relacl ELSE a.attacl END) AS x
LEFT JOIN pg_roles AS g ON g.oid = x.grantee
WHERE c.relname IN ('pixelmeter_attempts', 'pixelmeter_spend', 'pixelmeter_calls', 'theirs')
UNION ALL
SELECT c.relname, NULL, coalesce(g.rolname, 'PUBLIC'), x.privilege_type, x.is_grantable
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS x LEFT JOIN pg_roles AS g ON g.oid = x.grantee
WHERE c.relname IN ('pixelmeter_attempts', 'pixelmeter_spend', 'pixelmeter_calls', 'theirs')
ORDER BY 1, 2, 3, 4
"""
ABOUT = "SELECT pg_get_userbyid(relowner), reloptions FROM pg_class WHERE relname = '{}'"
INDEXES = "SELECT replace(indexdef, ' ONLY ', ' ') FROM pg_indexes WHERE tablename = 'pixelmeter_attempts' ORDER BY 1"


@pytest.mark.slow
def test_a_table_that_is_there_becomes_the_first_partition_with_all_that_belongs_to_it(postgres_url: str) -> None:
    kept = [made_in(month(number)) for number in (-30, -1, 0)]
    ahead = [made_in(month(2)), made_in(month(60))]
    write(postgres_url, *kept, *ahead)
    migrate.downgrade(postgres_url, BEFORE)
    grants = [grant for grant in documented_grants() if "prunes" not in grant and "check_notices" not in grant]
    with role(postgres_url, *grants) as name:
        for statement in (
            f"GRANT UPDATE (tags), REFERENCES (id) ON pixelmeter_attempts TO {name} WITH GRANT OPTION",
            "GRANT SELECT ON pixelmeter_attempts TO PUBLIC",
            "ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO PUBLIC",
            "CREATE INDEX theirs_too ON pixelmeter_attempts (model text_pattern_ops) WHERE cost > 0",
            "CREATE VIEW theirs WITH (security_barrier) AS SELECT id FROM pixelmeter_attempts WHERE model LIKE '%gpt%'",
            f"GRANT SELECT ON theirs TO {name}",
            "CREATE VIEW above AS SELECT count(*) AS n FROM theirs",
        ):
            asked(postgres_url, statement)
        questions = (RIGHTS, ABOUT.format("pixelmeter_attempts"), ABOUT.format("theirs"), INDEXES)
        before = [asked(postgres_url, question) for question in questions]
        rows = stored(postgres_url)

        migrate.upgrade(postgres_url)
        divided = [asked(postgres_url, question) for question in questions]
        spread = where(postgres_url)
        new = made_in(month(1))
        write(postgres_url, new, *kept)
        counted = asked(postgres_url, "SELECT n, (SELECT count(*) FROM pixelmeter_spend) FROM above")
        after = stored(postgres_url)
        migrate.downgrade(postgres_url, BEFORE)
        united = [asked(postgres_url, question) for question in questions]

        assert before == divided == united
        assert {"pixelmeter_attempts_first": 3, table_of(month(2)): 1, "pixelmeter_attempts_default": 1} == spread
        assert ([(6, 6)], {**rows, new.id: new}, after) == (counted, after, stored(postgres_url))


@pytest.mark.slow
def test_what_cannot_be_carried_over_is_named_and_nothing_is_changed(postgres_url: str) -> None:
    write(postgres_url, made_in(month(0)))
    migrate.downgrade(postgres_url, BEFORE)
    for statement in (
        "CREATE MATERIALIZED VIEW stored_models AS SELECT DISTINCT model FROM pixelmeter_attempts",
        "CREATE TABLE notes (of uuid REFERENCES pixelmeter_attempts)",
        "ALTER TABLE pixelmeter_attempts ADD CONSTRAINT not_dear CHECK (cost < 1000000000000)",
    ):
        asked(postgres_url, statement)
    with pytest.raises(LedgerError, match=r"not_dear.*notes_of_fkey.*stored_models.*Drop that, upgrade"):
        migrate.upgrade(postgres_url)

    assert BEFORE == migrate.status(postgres_url).revision
    assert 1 == len(stored(postgres_url))


@pytest.mark.slow
def test_an_upgrade_by_another_role_leaves_the_table_to_its_owner(postgres_url: str) -> None:
    ensure_schema(read_address(postgres_url))
    migrate.downgrade(postgres_url, BEFORE)
    with role(postgres_url, "GRANT USAGE, CREATE ON SCHEMA public TO role_name") as name:
        asked(postgres_url, f"ALTER TABLE pixelmeter_attempts OWNER TO {name}")
        migrate.upgrade(postgres_url)
        owners = asked(
            postgres_url,
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
            " WHERE relname LIKE 'pixelmeter_attempts%' AND relkind IN ('r', 'p')",
        )

        assert [(name,)] == owners
        asked(postgres_url, f"REASSIGN OWNED BY {name} TO postgres")
