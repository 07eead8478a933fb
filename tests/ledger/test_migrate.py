from __future__ import annotations

import re
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from pixelmeter._assets import asset_dir
from pixelmeter.errors import LedgerError, SchemaTooNew
from pixelmeter.ledger import migrate, version
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing, ensure_schema, open_engine
from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import stored


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(ledger_url: str) -> None:
    migrate.upgrade(ledger_url)

    with open_engine(ledger_url).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": version.VERSION_TABLE, "compare_server_default": True}
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


def test_up_down_and_up_again_ends_where_it_began(ledger_url: str) -> None:
    up = migrate.upgrade(ledger_url)
    down = migrate.downgrade(ledger_url, "base")
    left = tables(ledger_url)
    again = migrate.upgrade(ledger_url)
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert ["current", "absent", "current"] == [up.state, down.state, again.state]
    assert {version.VERSION_TABLE} == left
    assert 1 == len(stored(ledger_url))


def test_the_tables_and_versions_of_a_host_application_are_left_alone(ledger_url: str) -> None:
    with changing(read_address(ledger_url)) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        connection.execute(text("CREATE TABLE orders (id integer)"))

    migrate.upgrade(ledger_url)
    migrate.downgrade(ledger_url, "base")
    ensure_schema(read_address(ledger_url))

    with open_engine(ledger_url).connect() as connection:
        assert ["theirs"] == connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    assert {"alembic_version", "orders"} <= tables(ledger_url)


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


def test_the_status_tells_outdated_from_too_new(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.upgrade(ledger_url)

    monkeypatch.setattr("pixelmeter.ledger.version.revisions", lambda: ("0001", "0002"))
    outdated = migrate.status(ledger_url).state
    monkeypatch.setattr("pixelmeter.ledger.version.revisions", lambda: ("0000",))
    too_new = migrate.status(ledger_url).state

    assert ("outdated", "too new") == (outdated, too_new)


def test_a_ledger_of_a_newer_pixelmeter_is_not_migrated(ledger_url: str) -> None:
    migrate.upgrade(ledger_url)
    with changing(read_address(ledger_url)) as connection:
        connection.execute(text("UPDATE pixelmeter_schema SET version_num = '9999'"))

    with pytest.raises(SchemaTooNew, match="upgrade the package"):
        migrate.upgrade(ledger_url)
    with pytest.raises(SchemaTooNew, match="upgrade the package"):
        migrate.downgrade(ledger_url, "base")


def test_an_unknown_revision_is_refused_and_changes_nothing(ledger_url: str) -> None:
    with pytest.raises(LedgerError, match="the revisions are base, 0001"):
        migrate.upgrade(ledger_url, "7777")

    assert "absent" == migrate.status(ledger_url).state


def definitions(url: str) -> dict[str, str]:
    """Return the SQL of each table and index, apart from white space and the places of NOT NULL and quotes."""
    with open_engine(url).connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {name: re.sub(r'["\s]+', " ", sql) for name, sql in rows}


def tables(url: str) -> set[str]:
    with open_engine(url).connect() as connection:
        return set(inspect(connection).get_table_names())
