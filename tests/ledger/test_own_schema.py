"""A ledger in a schema of its own, in a database that has other things, another ledger among them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import in_schema, read_address, spool_folder
from pixelmeter.ledger.migrate import losses
from pixelmeter.ledger.partitions import DEFAULT, partitions
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.version import VERSION_TABLE
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.system import SystemClock
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.ledger.test_writer_postgres import documented_grants
from tests.postgres import PASSWORD

OURS = {*METADATA.tables, VERSION_TABLE}


@pytest.fixture(params=["meter", "user"])
def schema(request: pytest.FixtureRequest) -> str:
    """A name, also one that SQL has a meaning for."""
    name: str = request.param
    return name


@pytest.fixture
def url(postgres_url: str, schema: str) -> str:
    """The URL of a ledger in that schema."""
    return in_schema(postgres_url, schema)


def tables(url: str) -> set[tuple[str, str]]:
    """Return every table of the database with its schema, without the partitions of one."""
    with psycopg.connect(url) as connection:
        return set(
            connection.execute(
                "SELECT n.nspname::text, c.relname::text FROM pg_class AS c JOIN pg_namespace AS n "
                "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition "
                "AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
        )


@pytest.mark.parametrize("made_by", ["upgrade", "write"])
def test_the_tables_are_made_in_the_schema_and_nowhere_else(
    postgres_url: str, url: str, schema: str, made_by: str
) -> None:
    if made_by == "upgrade":
        assert "current" == migrate.upgrade(url).state
    with closing(open_writer(url)) as writer:
        assert {} == writer.positions(["a"])

    assert {(schema, name) for name in OURS} == tables(postgres_url)


@pytest.mark.slow
def test_two_ledgers_of_one_database_do_not_see_each_other(postgres_url: str, url: str) -> None:
    batch = [make_attempt() for _ in range(5)]
    for each, position in ((postgres_url, 1), (url, 2)):
        with closing(open_writer(each)) as writer:
            assert 5 == writer.write(batch, {"a": position}, [])
            assert 1 == writer.write([*batch, make_attempt()], {"a": position}, ["b"])
            assert {"a": position} == writer.positions(["a"])

    assert set(stored(postgres_url)) != set(stored(url))
    for each in (postgres_url, url):
        assert 6 == len(stored(each))
        assert recomputed(each) == rollup(each)
        assert recomputed_totals(each) == totals(each)


@pytest.mark.slow
def test_a_ledger_in_a_schema_goes_down_and_up_again_beside_one_without(postgres_url: str, url: str) -> None:
    for each in (postgres_url, url):
        with closing(open_writer(each)) as writer:
            writer.write([make_attempt(first_image=7)], {}, [])

    lost = [str(loss) for loss in losses(url, "0001")]
    down = migrate.downgrade(url, "0001")
    beside = migrate.status(postgres_url)
    up = migrate.upgrade(url)
    gone = migrate.downgrade(url, "base")

    assert "the column first_image of pixelmeter_attempts with its 1 value" in lost
    assert ["outdated", "current", "current", "absent"] == [each.state for each in (down, beside, up, gone)]
    assert 1 == len(stored(postgres_url))
    assert recomputed_totals(postgres_url) == totals(postgres_url)
    assert OURS == {name for where, name in tables(postgres_url) if where == "public"}


@pytest.mark.slow
def test_every_command_and_the_meter_take_the_schema_from_the_environment(
    postgres_url: str, url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [{"url": "https://images.example/1.png"}]})

    monkeypatch.setenv("PIXELMETER_SCHEMA", schema)
    monkeypatch.setenv("PIXELMETER_SPOOL_DIR", str(tmp_path))
    with (
        pixelmeter.Meter(postgres_url) as meter,
        pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter) as client,
    ):
        client.post("https://api.openai.com/v1/images/generations", json={"model": "gpt-image-1"})
        assert meter.flush(60)
        assert schema in meter.status()["spool_dir"]
        assert f"schema={schema}" in meter.status()["database_url"]

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, [*arguments, "--database-url", postgres_url])
        assert 0 == done.exit_code, done.output
        return done.output

    [row] = json.loads(run("calls", "--format", "json"))
    [status] = json.loads(run("db", "status", "--format", "json"))
    findings = {each["check"]: each for each in json.loads(run("doctor", "--format", "json"))}
    assert "gpt-image-1" == row["model"]
    assert "gpt-image-1" in run("report", "--by", "model,day")
    assert "current" == status["state"]
    assert f"schema={schema}" in findings["database"]["found"]
    assert ("ok", "to all tables") == (findings["write access"]["state"], findings["write access"]["found"])
    assert {schema} == {where for where, _ in tables(postgres_url)}
    assert 1 == len(stored(url))


@pytest.mark.slow
def test_the_exporter_reads_the_ledger_of_the_schema(postgres_url: str, url: str) -> None:
    for each, count in ((postgres_url, 1), (url, 3)):
        with closing(open_writer(each)) as writer:
            writer.write([make_attempt() for _ in range(count)], {}, [])

    families = {family.name: family for family in LedgerCollector(url, clock=SystemClock()).collect()}

    assert [1.0] == [sample.value for sample in families["pixelmeter_ledger_up"].samples]
    assert 3.0 == sum(sample.value for sample in families["pixelmeter_requests"].samples)


@pytest.mark.slow
def test_what_a_killed_process_left_is_taken_in_by_who_has_the_same_schema(
    postgres_url: str, url: str, schema: str, tmp_path: Path
) -> None:
    program = """
import os, httpx, pixelmeter
answer = lambda request: httpx.Response(200, json={"data": [{"url": "u"}]})
meter = pixelmeter.Meter()
client = pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter)
client.post("https://api.openai.com/v1/images/generations", json={"model": "gpt-image-1"})
os.kill(os.getpid(), 9)
"""
    environment = {
        **os.environ,
        "PIXELMETER_DATABASE_URL": postgres_url,
        "PIXELMETER_SPOOL_DIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", program], env={**environment, "PIXELMETER_SCHEMA": schema})
    for own in ("", schema):
        runner = CliRunner(env={**environment, "PIXELMETER_SCHEMA": own})
        assert 0 == runner.invoke(main, ["db", "upgrade"]).exit_code
        assert 0 == runner.invoke(main, ["report"]).exit_code

    assert (0, 1) == (len(stored(postgres_url)), len(stored(url)))


@pytest.mark.slow
def test_a_ledger_that_is_there_can_be_moved_as_the_page_says(postgres_url: str, url: str, schema: str) -> None:
    attempts = [make_attempt() for _ in range(3)]
    with closing(open_writer(postgres_url)) as writer:
        writer.write(attempts[:1], {"a": 1}, [])
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE SCHEMA "{schema}"'.encode())
        with reading_ledger(postgres_url) as reader:
            parts = [DEFAULT, *(one.name for one in partitions(reader))]
        for name in (*OURS, *parts):
            admin.execute(f'ALTER TABLE {name} SET SCHEMA "{schema}"'.encode())
    with closing(open_writer(url)) as writer:
        assert {"a": 1} == writer.positions(["a"])
        writer.write(attempts, {"a": 2}, [])

    assert {attempt.id for attempt in attempts} == set(stored(url))
    assert recomputed_totals(url) == totals(url)
    assert migrate.head() == migrate.upgrade(url).revision


@contextlib.contextmanager
def role_on(url: str) -> Iterator[tuple[str, str, psycopg.Connection]]:
    """Give a new role without rights, the URL with it, and a connection that may do everything."""
    role = f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url.partition("?")[0], autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'only-this'".encode())
        try:
            yield role, url.replace(f"postgres:{PASSWORD}", f"{role}:only-this"), admin
        finally:
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"DROP ROLE {role}".encode())


@pytest.mark.slow
def test_a_role_with_the_documented_rights_can_write_and_doctor_agrees(url: str, schema: str) -> None:
    migrate.upgrade(url)
    with role_on(url) as (role, limited, admin):
        admin.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO {role}'.encode())
        for grant in documented_grants():
            admin.execute(grant.replace("role_name", role).replace(" ON ", f' ON "{schema}".').encode())
        with closing(open_writer(limited)) as writer:
            known = [make_attempt()]
            assert 1 == writer.write(known, {"a": 1}, [])
            assert 1 == writer.write([*known, make_attempt()], {"a": 2}, [])
            assert 0 == writer.write([], {}, ["a"])
        doctor = CliRunner().invoke(main, ["doctor", "--format", "csv", "--database-url", limited])

    assert '"write access","ok","to all tables"' in doctor.output


@pytest.mark.slow
def test_a_role_that_may_not_make_the_schema_is_told_what_to_do_and_that_helps(url: str) -> None:
    with role_on(url) as (role, limited, admin):
        with pytest.raises(LedgerError, match="permission denied .*pixelmeter db upgrade"):
            open_writer(limited).positions([])
        told = json.loads(CliRunner().invoke(main, ["doctor", "--format", "json", "--database-url", limited]).output)
        [access] = [each for each in told if each["check"] == "write access"]
        admin.execute(access["advice"].partition("or run: ")[2].encode())
        with closing(open_writer(limited)) as writer:
            assert {} == writer.positions([])

    assert f"{role} may not make the schema" in access["found"]


@pytest.mark.parametrize("name", ["Meter", "a b", 'a"b', "1a", "pg_mine", "ä", "a" * 64])
def test_a_name_that_is_none_is_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(ConfigError, match="lower-case letters"):
        read_address(in_schema("postgresql://h/d", name))


def test_the_schema_is_part_of_the_spool_folder_and_of_nothing_that_libpq_sees() -> None:
    plain, meter, other = (
        spool_folder(in_schema("postgresql://h/d", name), None, "/state") for name in ("", "meter", "other")
    )

    assert 3 == len({plain, meter, other})
    assert meter.startswith("/state/pixelmeter/h-d-meter-")
    assert spool_folder("postgresql://u:p@h/d?schema=meter&sslmode=require", None, "/state") == meter
    assert () == read_address("postgresql://h/d?schema=meter").options
    assert "postgresql://h/d?schema=meter" == read_address("postgresql://h/d?schema=meter").safe()


def test_a_url_that_names_a_schema_wins_over_the_environment_and_sqlite_has_none() -> None:
    assert "postgresql://h/d?schema=a" == in_schema("postgresql://h/d?schema=a", "b")
    assert "postgresql://h/d?sslmode=require&schema=b" == in_schema("postgresql://h/d?sslmode=require", "b")
    assert "sqlite:///a.db" == in_schema("sqlite:///a.db", "b")
