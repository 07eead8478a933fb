from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pixelmeter.errors import ConfigError, LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing, ensure_schema, open_engine, reading
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.postgres import PASSWORD


def test_sqlite_writes_with_a_wal_and_syncs_every_commit(sqlite_url: str) -> None:
    with open_engine(sqlite_url).connect() as connection:
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()

    assert ("wal", 2, 30_000) == (journal, synchronous, patience)


def test_errors_of_an_engine_never_show_bound_values(new_url: str) -> None:
    with open_engine(new_url).connect() as connection, pytest.raises(DBAPIError) as raised:
        connection.execute(text("SELECT :value FROM nowhere"), {"value": "canary"})

    assert "canary" not in str(raised.value)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "pixelmeter.ledger.postgres", raising=False)

    for use in (open_engine, read, open_writer):
        with pytest.raises(ConfigError, match=r'pip install "pixelmeter\[postgres\]"'):
            use("postgresql://db/spend")


def test_an_option_that_postgres_does_not_have_is_named_without_its_value() -> None:
    for use in (open_engine, read, open_writer):
        with pytest.raises(ConfigError, match="options that PostgreSQL does not: pasword, nosuch;") as raised:
            use("postgresql://db/spend?pasword=canary&nosuch=1&sslmode=disable")
        assert "canary" not in str(raised.value)


def test_a_folder_in_place_of_a_file_is_said_to_be_one_and_nothing_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    folder.mkdir()
    url = f"sqlite:///{folder}"

    for use in (
        lambda: open_engine(url),
        lambda: read(url),
        lambda: open_writer(url).positions([]),
        lambda: migrate.status(url),
        lambda: migrate.upgrade(url),
    ):
        with pytest.raises(LedgerError, match=f"{folder} is a folder: name a file .* sqlite:///{folder}/pixelmeter.db"):
            use()

    assert [folder] == list(tmp_path.iterdir())


def test_a_newer_schema_is_refused(new_url: str) -> None:
    set_revision(new_url, "9999")

    with pytest.raises(SchemaTooNew, match="pip install --upgrade"):
        ensure_schema(read_address(new_url))
    with pytest.raises(SchemaTooNew, match="pip install --upgrade"):
        read(new_url)


@pytest.mark.parametrize("count", [1, 40])
def test_a_newer_schema_is_refused_by_a_writer_that_was_connected_before(new_url: str, count: int) -> None:
    batch = [make_attempt() for _ in range(count)]
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt()], {"a": 1}, [])
        set_revision(new_url, "9999")
        for _ in range(2):
            with pytest.raises(SchemaTooNew, match="pip install --upgrade"):
                writer.write(batch, {"a": 2}, [])
        say(new_url, migrate.head())
        position = writer.positions(["a"])
        assert count == writer.write(batch, {"a": 2}, [])

    assert {"a": 1} == position


def test_an_older_schema_is_refused_with_the_command_that_helps(new_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_revision(new_url, "0001")
    monkeypatch.setattr("pixelmeter.ledger.version.revisions", lambda: ("0001", "0002"))

    with pytest.raises(SchemaOutdated, match="pixelmeter db upgrade"):
        ensure_schema(read_address(new_url))
    with pytest.raises(SchemaOutdated, match="pixelmeter db upgrade"):
        read(new_url)


def test_tables_without_a_version_are_left_alone(new_url: str) -> None:
    address = read_address(new_url)
    with changing(address) as connection:
        connection.execute(text("CREATE TABLE pixelmeter_attempts (id integer)"))

    with pytest.raises(LedgerError, match="which says its version, is not"):
        ensure_schema(address)


def test_a_wrong_password_is_not_in_the_message(postgres_url: str) -> None:
    address = read_address(postgres_url.replace(PASSWORD, "canary-password"))

    with pytest.raises(LedgerError, match="password authentication failed") as raised:
        ensure_schema(address)

    assert "canary" not in str(raised.value)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(LedgerError, match=r"postgresql://me@127\.0\.0\.1:1/spend cannot be used") as raised:
        ensure_schema(read_address("postgresql://me:canary@127.0.0.1:1/spend"))

    assert "canary" not in str(raised.value)


def read(url: str) -> None:
    """Open a ledger for reading, and close it."""
    with reading_ledger(url):
        pass


def set_revision(url: str, revision: str) -> None:
    ensure_schema(read_address(url))
    say(url, revision)


def say(url: str, revision: str) -> None:
    with changing(read_address(url)) as connection:
        connection.execute(text("UPDATE pixelmeter_schema SET version_num = :revision"), {"revision": revision})


@pytest.mark.parametrize("form", ["?host=127.0.0.1,127.0.0.1&port=1,{port}", "?host=127.0.0.1&port={port}"])
def test_servers_among_the_options_are_tried_one_after_the_other(postgres_url: str, form: str) -> None:
    head, _, port_and_database = postgres_url.partition("@127.0.0.1:")
    port, _, database = port_and_database.partition("/")
    url = f"{head}@/{database}{form.format(port=port)}"

    with closing(open_writer(url)) as writer:
        writer.write([make_attempt()], {}, [])
    with reading_ledger(url) as reader, reading(read_address(url)) as connection:
        assert [(1,)] == reader.rows("SELECT count(*) FROM pixelmeter_attempts")
        assert 1 == connection.execute(text("SELECT count(*) FROM pixelmeter_attempts")).scalar()


def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        for use in (read, migrate.status, migrate.upgrade, lambda url: open_writer(url).positions([])):
            with pytest.raises(LedgerError, match="is no regular file"):
                use(f"sqlite:///{path}")
