"""An application whose migrations are made by Alembic, in the database that has the ledger."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from textwrap import indent

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.pool import NullPool

from pixelmeter.ledger import include_name
from pixelmeter.ledger.address import in_schema
from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.version import VERSION_TABLE
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import stored

pytestmark = pytest.mark.slow

ENV = """
import pixelmeter.ledger
import sqlalchemy as sa
from alembic import context

metadata = sa.MetaData()
sa.Table("users", metadata, sa.Column("id", sa.Integer, primary_key=True){columns})
engine = sa.create_engine({url!r}, poolclass=sa.pool.NullPool)
with engine.connect() as connection:
{configure}
    with context.begin_transaction():
        context.run_migrations()
"""
PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
FILTERED = PAGE.partition("```python\n")[2].partition("```")[0]
"""How the page says to configure Alembic."""
ALL_SCHEMAS = FILTERED.replace("connection=", "include_schemas=True, connection=", 1)
UNFILTERED = "context.configure(connection=connection, target_metadata=metadata)"
COLUMN = ', sa.Column("name", sa.Text)'


class Application:
    """Migrations of its own, made by Alembic from a model."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder / "migrations"
        self._url = make_url(url.replace("postgresql:", "postgresql+psycopg:", 1)).difference_update_query(["schema"])
        self._config = Config(folder / "alembic.ini", stdout=io.StringIO())
        command.init(self._config, str(self._folder))

    def migrate(self, name: str, columns: str = "", configure: str = FILTERED) -> str:
        """Make a migration to a model with these further columns, apply it, and return what it does."""
        made = self.make(name, columns, configure)
        command.upgrade(self._config, "head")
        return made

    def make(self, name: str, columns: str, configure: str) -> str:
        """Make a migration, and return what it does."""
        url = self._url.render_as_string(hide_password=False)
        (self._folder / "env.py").write_text(ENV.format(columns=columns, url=url, configure=indent(configure, " " * 4)))
        script = command.revision(self._config, message=name, autogenerate=True)
        assert isinstance(script, Script)
        return Path(script.path).read_text().partition("def upgrade")[2].partition("def downgrade")[0]

    def tables(self) -> set[str]:
        """Return the tables of the whole database."""
        inspector = inspect(create_engine(self._url, poolclass=NullPool))
        return {name for schema in inspector.get_schema_names() for name in inspector.get_table_names(schema)}


@pytest.fixture(params=["sqlite", "postgres", "schema"])
def shared_url(request: pytest.FixtureRequest) -> str:
    """The URL of a ledger on each database, and on PostgreSQL in a schema of its own too."""
    if request.param == "schema":
        return in_schema(request.getfixturevalue("postgres_url"), "meter")
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.mark.parametrize("configure", [FILTERED, ALL_SCHEMAS])
def test_the_migrations_of_an_application_leave_the_ledger_alone(
    shared_url: str, tmp_path: Path, configure: str
) -> None:
    application = Application(tmp_path, shared_url)
    first = application.migrate("first", configure=configure)
    with closing(open_writer(shared_url)) as writer:
        writer.write([make_attempt()], {"a": 1}, [])
        second = application.migrate("second", COLUMN, configure=configure)
        third = application.migrate("third", COLUMN, configure=configure)
        writer.write([make_attempt()], {"a": 2}, [])

    assert "op.create_table('users'" in first
    assert "op.add_column('users'" in second
    assert "op." not in third
    assert "pixelmeter" not in first + second
    assert {"users", "alembic_version", VERSION_TABLE, *METADATA.tables} <= application.tables()
    assert 2 == len(stored(shared_url))


def test_without_the_filter_they_would_drop_it(new_url: str, tmp_path: Path) -> None:
    """Else the filter would prove nothing."""
    application = Application(tmp_path, new_url)
    application.migrate("first")
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert "op.drop_table('pixelmeter_attempts')" in application.make("second", COLUMN, UNFILTERED)


def test_a_ledger_in_a_schema_of_its_own_needs_no_filter(postgres_url: str, tmp_path: Path) -> None:
    url = in_schema(postgres_url, "meter")
    application = Application(tmp_path, url)
    application.migrate("first")
    with closing(open_writer(url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert "pixelmeter" not in application.migrate("second", COLUMN, configure=UNFILTERED)
    assert 1 == len(stored(url))


def test_only_our_tables_are_left_out() -> None:
    assert not any(include_name(name, "table", {"schema_name": None}) for name in (VERSION_TABLE, *METADATA.tables))
    assert not include_name("pixelmeter_of_a_newer_version", "table", {"schema_name": "meter"})
    for name, kind in (("users", "table"), ("pixelmeters", "table"), (None, "schema"), ("pixelmeter_x", "column")):
        assert include_name(name, kind, {})
