from __future__ import annotations

import random
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from pixelmeter.core.attempts.record import COST_SOURCES, FIELDS, OUTCOMES, Attempt
from pixelmeter.data_files import asset_dir
from pixelmeter.errors import LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger import migrate, version
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.adjusting import open_jobs
from pixelmeter.ledger.engine import changing, ensure_schema, open_engine
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.views import VIEWS
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import adjusted, recomputed, recomputed_totals, rollup, stored, totals
from tests.ledger.test_adjusting import heard, submitted
from tests.ledger.test_writer_postgres import WAITING

pytestmark = pytest.mark.slow


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(new_url: str) -> None:
    migrate.upgrade(new_url)

    with open_engine(new_url).connect() as connection:
        # SQLite has no identity columns, which Alembic compares as defaults; its tables are compared as text below.
        defaults = connection.dialect.name == "postgresql"
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": version.VERSION_TABLE,
                "compare_server_default": defaults,
                # Partitions look like tables, and none of the code knows them.
                "include_name": lambda name, kind, _: (
                    kind != "table" or not str(name).startswith("pixelmeter_attempts_")
                ),
            },
        )
        assert [] == compare_metadata(context, METADATA)


def test_a_migrated_ledger_and_one_that_made_itself_are_the_same(sqlite_url: str) -> None:
    migrate.upgrade(sqlite_url)
    migrated = definitions(sqlite_url)
    migrate.downgrade(sqlite_url, "base")
    with changing(read_address(sqlite_url)) as connection:
        connection.execute(text("DROP TABLE pixelmeter_schema"))
    ensure_schema(read_address(sqlite_url))

    assert definitions(sqlite_url) == migrated


def test_up_down_and_up_again_ends_where_it_began(new_url: str) -> None:
    up = migrate.upgrade(new_url)
    down = migrate.downgrade(new_url, "base")
    left = tables(new_url)
    again = migrate.upgrade(new_url)
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert ["current", "absent", "current"] == [up.state, down.state, again.state]
    assert {version.VERSION_TABLE} == left
    assert 1 == len(stored(new_url))


def test_the_totals_of_a_ledger_that_had_none_are_those_of_its_rows(new_url: str) -> None:
    chance = random.Random(3)
    with closing(open_writer(new_url)) as writer:
        writer.write([any_attempt(chance) for _ in range(500)], {"spool": 7}, [])
    kept = totals(new_url)

    migrate.downgrade(new_url, "0001")
    gone = tables(new_url)
    migrate.upgrade(new_url)
    with closing(open_writer(new_url)) as writer:
        position = writer.positions(["spool"])
        filled = totals(new_url)
        writer.write([any_attempt(chance) for _ in range(500)], {}, [])

    assert len(kept) > 100
    assert "pixelmeter_totals" not in gone
    assert kept == filled
    assert {"spool": 7} == position
    assert recomputed_totals(new_url) == totals(new_url)


_OF_0001 = FIELDS[: FIELDS.index("first_image")]
_OF_0002 = FIELDS[: FIELDS.index("job_id")]


@pytest.mark.parametrize(("revision", "fields"), [("0001", _OF_0001), ("0002", _OF_0002)])
def test_a_ledger_of_an_older_schema_keeps_its_rows_and_what_they_lack_is_null(
    new_url: str, revision: str, fields: Sequence[str]
) -> None:
    chance = random.Random(5)
    old = [any_attempt(chance) for _ in range(50)]
    fill_older(new_url, revision, fields, old)

    migrated = migrate.upgrade(new_url)
    before = stored(new_url)
    new = make_attempt(job_id="job_1", priced_parts="[]", baseline_model="m", baseline_cost=4, route_fee=1, savings=-3,
                       service_tier="flex")  # fmt: skip
    with closing(open_writer(new_url)) as writer:
        position = writer.positions(["spool"])
        written = writer.write([*old, new], {"spool": 9}, [])

    assert ("current", {"spool": 7}, 1) == (migrated.state, position, written)
    lacking = dict.fromkeys(set(FIELDS) - set(fields))
    assert {one.id: msgspec.structs.replace(one, **lacking) for one in old} == before
    assert {new.id: new, **before} == stored(new_url)
    assert recomputed_totals(new_url) == totals(new_url)
    assert rollup(new_url) == recomputed(new_url)


def test_an_upgrade_may_be_taken_back_and_done_again(new_url: str) -> None:
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt(savings=1), make_attempt()], {}, [])
    kept = stored(new_url)

    migrate.downgrade(new_url, "0002")
    lost = [loss.column for loss in migrate.losses(new_url, "0002")]
    migrate.upgrade(new_url)

    assert [] == lost
    assert {name: msgspec.structs.replace(one, savings=None) for name, one in kept.items()} == stored(new_url)
    assert recomputed_totals(new_url) == totals(new_url)
    assert rollup(new_url) == recomputed(new_url)


def test_a_downgrade_takes_back_what_adjustments_have_changed(new_url: str) -> None:
    attempts = [submitted(f"job_{number}", duration=number * 1000) for number in range(20)]
    with closing(open_writer(new_url)) as writer:
        writer.write([*attempts, make_attempt()], {}, [])
        before = rollup(new_url)
        writer.write([heard(one.job_id or "", model="fal-ai/flux/dev") for one in attempts[:15]], {}, [])
        assert before != rollup(new_url) == recomputed(new_url)
    migrate.downgrade(new_url, "0003")
    migrate.upgrade(new_url)

    assert before == rollup(new_url) == recomputed(new_url)


def test_jobs_that_were_submitted_before_an_upgrade_come_to_their_end(new_url: str) -> None:
    named, nameless = submitted("job_1"), submitted(None)
    again = submitted("job_1", attempt=1, started_at=named.started_at + 1)
    with closing(open_writer(new_url)) as writer:
        writer.write([again, named, nameless, make_attempt()], {}, [])
    migrate.downgrade(new_url, "0003")
    migrate.upgrade(new_url)

    with reading_ledger(new_url) as reader:
        assert {named.id, nameless.id} == {job.attempt_id for job in open_jobs(reader)}
    with closing(open_writer(new_url)) as writer:
        writer.write([heard("job_1")], {}, [])
    outcomes = {one.id: one.outcome for one in adjusted(new_url).values()}
    assert ("success", "success", "pending") == tuple(outcomes[one.id] for one in (named, again, nameless))


def test_a_migrated_ledger_has_the_views_of_the_code(new_url: str) -> None:
    def views() -> dict[str, list[str]]:
        with open_engine(new_url).connect() as connection:
            found = inspect(connection)
            return {name: found.get_view_definition(name).split() for name in found.get_view_names()}

    migrate.upgrade(new_url)
    migrated = views()
    migrate.downgrade(new_url, "base")
    with changing(read_address(new_url)) as connection:
        connection.execute(text("DROP TABLE pixelmeter_schema"))
    ensure_schema(read_address(new_url))

    assert VIEWS[read_address(new_url).dialect].keys() == migrated.keys()
    assert views() == migrated


def test_a_package_that_does_not_know_the_newest_schema_writes_nothing_into_it(
    new_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = version.revisions()
    migrate.upgrade(new_url)
    with monkeypatch.context() as older, closing(open_writer(new_url)) as writer:
        older.setattr("pixelmeter.ledger.version.revisions", lambda: known[:-1])
        for _ in range(2):
            with pytest.raises(SchemaTooNew, match="pip install --upgrade pixelmeter"):
                writer.write([make_attempt()], {"spool": 1}, [])

    assert {} == stored(new_url)


def test_a_writer_that_was_connected_before_a_migration_does_not_write_past_it(new_url: str) -> None:
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt()], {"a": 1}, [])
        migrate.downgrade(new_url, "0001")
        with pytest.raises(LedgerError):
            writer.write([make_attempt()], {"a": 2}, [])
        with pytest.raises(SchemaOutdated, match="pixelmeter db upgrade"):
            writer.write([make_attempt()], {"a": 2}, [])

    migrate.upgrade(new_url)
    assert 1 == len(stored(new_url))


def test_what_an_older_writer_adds_with_every_attempt_has_no_place_any_more(new_url: str) -> None:
    migrate.upgrade(new_url, "0001")
    add = text("INSERT INTO pixelmeter_daily VALUES ('2026-05-28', '', '', '', '', '', :n, 1, 1, 1, 1, 1, 1, 1, 1) "
               "ON CONFLICT (day, gateway, provider, operation, model, outcome, bucket) DO NOTHING")  # fmt: skip
    with changing(read_address(new_url)) as connection:
        connection.execute(add, {"n": 1})

    migrate.upgrade(new_url)

    with pytest.raises(LedgerError), changing(read_address(new_url)) as connection:
        connection.execute(add, {"n": 2})


@pytest.mark.parametrize("steps", [("0001", "head"), ("head", "0001"), ("head", "base")])
def test_a_migration_and_a_writer_in_the_middle_of_its_work_do_not_deadlock(
    postgres_url: str, steps: tuple[str, str]
) -> None:
    begin, end = steps
    migrate.upgrade(postgres_url, begin)
    sums = ["pixelmeter_daily", "pixelmeter_totals", "pixelmeter_deltas"]
    touched = ["pixelmeter_attempts", *sums, "pixelmeter_spools"]
    first, *rest = [name for name in touched if name in tables(postgres_url)]
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(postgres_url) as writer,
        psycopg.connect(postgres_url, autocommit=True) as observer,
    ):
        # The writer waits longer than the migration, so that it is the migration that a deadlock would end.
        writer.execute("SET deadlock_timeout = '60s'")
        writer.execute(f"LOCK TABLE {first} IN ROW EXCLUSIVE MODE".encode())
        change = migrate.upgrade if end == "head" else migrate.downgrade
        changed = threads.submit(change, postgres_url, end)
        while observer.execute(WAITING).fetchone() != (1,):
            assert not changed.done(), changed.result()
        for name in rest:
            writer.execute(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE".encode())
        writer.commit()

        expected = changed.result().revision
        assert expected == migrate.status(postgres_url).revision


def test_a_migration_counts_the_rows_that_it_had_to_wait_for(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt()], {}, [])
    migrate.downgrade(postgres_url, "0001")
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(postgres_url) as writing,
        psycopg.connect(postgres_url, autocommit=True) as observer,
    ):
        # With such a default, a transaction sees what there was when it began.
        observer.execute(
            f"ALTER DATABASE {observer.info.dbname} SET default_transaction_isolation = 'repeatable read'".encode()
        )
        writing.execute(
            "INSERT INTO pixelmeter_attempts SELECT (jsonb_populate_record(a, jsonb_build_object('id', %s::text))).* "
            "FROM pixelmeter_attempts AS a",
            (make_attempt().id,),
        )
        migrated = threads.submit(migrate.upgrade, postgres_url)
        while observer.execute(WAITING).fetchone() != (1,):
            assert not migrated.done(), migrated.result()
        writing.commit()
        migrated.result()

    assert 2 == len(stored(postgres_url))
    assert recomputed_totals(postgres_url) == totals(postgres_url)


def test_the_tables_and_versions_of_a_host_application_are_left_alone(new_url: str) -> None:
    with changing(read_address(new_url)) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        connection.execute(text("CREATE TABLE orders (id integer)"))

    migrate.upgrade(new_url)
    migrate.downgrade(new_url, "base")
    ensure_schema(read_address(new_url))

    with open_engine(new_url).connect() as connection:
        assert ["theirs"] == connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    assert {"alembic_version", "orders"} <= tables(new_url)


def test_the_file_names_say_what_alembic_says() -> None:
    config = Config()
    config.set_main_option("script_location", str(asset_dir("migrations")))
    script = ScriptDirectory.from_config(config)

    assert script.get_current_head() == migrate.head()
    assert list(version.revisions()) == [one.revision for one in script.walk_revisions()][::-1]


def test_the_status_of_a_missing_file_does_not_make_it(sqlite_url: str) -> None:
    first = migrate.status(sqlite_url)

    assert ("absent", None, migrate.head()) == (first.state, first.revision, first.head)
    assert "absent" == migrate.status(sqlite_url).state


def test_the_status_tells_outdated_from_too_new(new_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrated = migrate.upgrade(new_url)

    monkeypatch.setattr("pixelmeter.ledger.version.revisions", lambda: ("0001", migrated.head, "9999"))
    outdated = migrate.status(new_url).state
    monkeypatch.setattr("pixelmeter.ledger.version.revisions", lambda: ("0000",))
    too_new = migrate.status(new_url).state

    assert ("outdated", "too new") == (outdated, too_new)


def test_a_ledger_of_a_newer_pixelmeter_is_not_migrated(new_url: str) -> None:
    migrate.upgrade(new_url)
    with changing(read_address(new_url)) as connection:
        connection.execute(text("UPDATE pixelmeter_schema SET version_num = '9999'"))

    with pytest.raises(SchemaTooNew, match="upgrade the package"):
        migrate.upgrade(new_url)
    with pytest.raises(SchemaTooNew, match="upgrade the package"):
        migrate.downgrade(new_url, "base")


def test_an_unknown_revision_is_refused_and_changes_nothing(new_url: str) -> None:
    with pytest.raises(LedgerError, match="the revisions are base, 0001"):
        migrate.upgrade(new_url, "7777")

    assert "absent" == migrate.status(new_url).state


def any_attempt(chance: random.Random) -> Attempt:
    """Return an attempt whose labels and numbers may be any of a few, those at the edges among them."""
    counts = (None, 0, 1, 5, 2**40)
    return make_attempt(
        attempt=chance.randrange(3),
        gateway=chance.choice(["aigateway", "openai"]),
        model=chance.choice(["", "a", "ä"]),
        # No budget of theirs refused anything.
        outcome=chance.choice([outcome for outcome in OUTCOMES if outcome != "blocked"]),
        status=chance.choice([None, 200, 400, 401, 402, 429, 503]),
        error_type=chance.choice([None, "ReadError", "rate_limit_error"]),
        error_code=chance.choice([None, "content_filter"]),
        cost=chance.choice([None, 0, 1, 42_240_000, 10**15]),
        cost_source=chance.choice(COST_SOURCES),
        cost_reason=chance.choice([None, "no_price", "cached"]),
        at_risk=chance.choice([None, 0, 7, 10**15]),
        images=chance.choice([None, 0, 4]),
        size=chance.choice([None, "1K", "31x7"]),
        quality=chance.choice([None, "hd", "best"]),
        duration=chance.choice([0, 100_000, 100_001, 119_999_999, 120_000_000, 120_000_001, 2**53]),
        input_text_tokens=chance.choice(counts),
        cached_input_tokens=chance.choice(counts),
        input_image_tokens=chance.choice(counts),
        output_text_tokens=chance.choice(counts),
        output_image_tokens=chance.choice(counts),
        job_id=chance.choice([None, "job"]),
        baseline_cost=chance.choice([None, 40_000_000]),
        savings=chance.choice([None, -5]),
    )


def fill_older(url: str, revision: str, fields: Sequence[str], attempts: Sequence[Attempt]) -> None:
    """Make a ledger of an older schema that has these attempts, as a package of that time would have left it."""
    with closing(open_writer(url)) as writer:
        writer.write(attempts, {"spool": 7}, [])
    # What goes on the way down is made again from nothing on the way up, so none of the new code has a part in it.
    migrate.downgrade(url, revision)
    with open_engine(url).connect() as connection:
        columns = [column["name"] for column in inspect(connection).get_columns("pixelmeter_attempts")]
        count = connection.execute(text("SELECT count(*) FROM pixelmeter_attempts")).scalar()
    assert (list(fields), len(attempts)) == (columns, count)


def definitions(url: str) -> dict[str, str]:
    """Return the SQL of each table and index, apart from white space and the places of NOT NULL and quotes."""
    with open_engine(url).connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {name: re.sub(r'["\s]+', " ", sql) for name, sql in rows}


def tables(url: str) -> set[str]:
    with open_engine(url).connect() as connection:
        return set(inspect(connection).get_table_names())
