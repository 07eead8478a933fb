from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.drain import Drain
from pixelmeter.drivers.patching import LIBRARIES
from pixelmeter.errors import LedgerError
from pixelmeter.gateways import load_profiles
from pixelmeter.ledger import migrate, version
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt
from tests.postgres import PASSWORD
from tests.textfiles import UNREADABLE, UNUSABLE

Findings = Mapping[str, dict[str, Any]]


def examine(*arguments: str, **environment: str) -> tuple[int, Findings]:
    """Return the exit code and the findings by check."""
    result = CliRunner().invoke(main, ["doctor", "--format", "json", *arguments], env=environment)
    return result.exit_code, {finding["check"]: finding for finding in json.loads(result.output)}


def states(findings: Findings) -> set[str]:
    return {finding["state"] for finding in findings.values()}


def test_nothing_is_wrong_before_the_first_call_and_nothing_is_made(new_url: str, tmp_path: Path) -> None:
    code, findings = examine("--database-url", new_url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (0, {"ok"}) == (code, states(findings))
    assert "the first image call makes it" in findings["database"]["advice"]
    assert [] == list(tmp_path.iterdir())


def test_a_ledger_that_works_is_told_with_its_schema_and_without_its_password(new_url: str, tmp_path: Path) -> None:
    head = migrate.upgrade(new_url).head

    code, findings = examine("--database-url", new_url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (0, {"ok"}) == (code, states(findings))
    assert findings["database"]["found"].endswith(f"has schema {head}")
    assert PASSWORD not in json.dumps(findings)


def test_versions_are_told(sqlite_url: str) -> None:
    _, findings = examine("--database-url", sqlite_url)

    named = ("Python", "pixelmeter", *LIBRARIES, "openai")
    assert [] == [name for name in named if f"{name} " not in findings["versions"]["found"]]
    assert f"SQLite {sqlite3.sqlite_version}" == findings["sqlite"]["found"]


def test_advice_on_sqlite_is_not_given_for_a_server(postgres_url: str, tmp_path: Path) -> None:
    for url in (postgres_url, "postgresql://me@127.0.0.1:1/img"):
        _, findings = examine("--database-url", url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))
        assert "sqlite" not in findings
        assert "SQLite" not in json.dumps(findings)


def test_a_variable_that_is_misspelt_is_a_warning_with_the_one_that_was_meant(
    sqlite_url: str, postgres_url: str, tmp_path: Path
) -> None:
    for url in (sqlite_url, postgres_url):
        spool = {"PIXELMETER_SPOOL_DIR": str(tmp_path / "spool")}
        code, findings = examine("--database-url", url, PIXELMETER_DATABSE_URL="postgresql://me:secret@h/d", **spool)
        assert (0, "warning") == (code, findings["variable"]["state"])
        assert "PIXELMETER_DATABSE_URL" in findings["variable"]["found"]
        assert findings["variable"]["found"].endswith(": did you mean PIXELMETER_DATABASE_URL?")
        assert "secret" not in json.dumps(findings)


def test_the_variables_of_the_exported_files_are_no_warning(sqlite_url: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "dashboards.md").read_text()
    names = set(re.findall(r"PIXELMETER_[A-Z_]+", page))
    assert len(names) > 6

    _, findings = examine("--database-url", sqlite_url, **dict.fromkeys(names - {"PIXELMETER_DATABASE_URL"}, "1"))

    assert "variable" not in findings


def test_profiles_are_counted_and_those_of_ones_own_are_named(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "corp.toml"
    file.write_text('id = "corp"\nevidence = "our own page"\n[match]\nhosts = ["images.corp.example"]\n')
    bundled = len(load_profiles({}).ids)

    _, alone = examine("--database-url", sqlite_url)
    _, findings = examine(
        "--database-url", sqlite_url, PIXELMETER_PROFILES=str(file), PIXELMETER_GATEWAYS="proxy.example=corp"
    )

    assert f"{bundled} bundled profiles" == alone["gateways"]["found"]
    told = f"{bundled} bundled profiles; corp from {file}; proxy.example is corp"
    assert told == findings["gateways"]["found"]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", UNUSABLE)
def test_files_of_ones_own_that_are_no_toml_are_problems(sqlite_url: str, tmp_path: Path, kind: str) -> None:
    text, told = UNUSABLE[kind]
    file = tmp_path / "own.toml"
    file.write_text(text)

    code, findings = examine("--database-url", sqlite_url, PIXELMETER_PRICES=str(file), PIXELMETER_PROFILES=str(file))

    assert (1, "problem", "problem") == (code, findings["own prices"]["state"], findings["gateways"]["state"])
    assert f"{file}{told}" in findings["own prices"]["found"]
    assert f"{file}{told}" in findings["gateways"]["found"]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_files_of_ones_own_that_cannot_be_read_are_problems(sqlite_url: str, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "own.toml"
    told = UNREADABLE[kind](file)

    code, findings = examine(
        "--database-url", sqlite_url, PIXELMETER_PRICES=str(file), PIXELMETER_PROFILES=str(tmp_path)
    )

    assert (1, "problem", "problem") == (code, findings["own prices"]["state"], findings["gateways"]["state"])
    assert f"{file} cannot be read: {told}" in findings["own prices"]["found"]
    assert f"{file} cannot be read: {told}" in findings["gateways"]["found"]


@pytest.mark.parametrize(
    ("library", "sound"),
    [("3.40.1", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False), ("3.50.7", True), ("3.51.3", True)],
)
def test_a_sqlite_that_can_damage_a_write_ahead_log_is_pointed_out(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, library: str, sound: bool
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", tuple(map(int, library.split("."))))
    _, findings = examine("--database-url", sqlite_url)

    assert sound == ("" == findings["sqlite"]["advice"])


@pytest.mark.parametrize(
    ("variable", "value", "check"),
    [
        ("PIXELMETER_GATEWAYS", "x", "settings"),
        ("PIXELMETER_GATEWAYS", "x=nobody", "gateways"),
        ("PIXELMETER_PROFILES", "/nowhere", "gateways"),
        ("PIXELMETER_DATABASE_URL", "mysql://me:secret@host/db", "database"),
        ("PIXELMETER_PRICES", "/nowhere", "own prices"),
        ("PIXELMETER_BUDGETS", "/nowhere", "own budgets"),
    ],
)
def test_a_variable_that_cannot_be_used_is_a_problem_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, check: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, findings = examine(**{variable: value})

    assert (1, "problem") == (code, findings[check]["state"])
    assert variable in findings[check]["found"] + findings[check]["advice"]
    assert "secret" not in json.dumps(findings)


def test_a_sink_that_shows_nothing_for_lack_of_a_library_is_pointed_out(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, with_sdk = examine("--database-url", sqlite_url, PIXELMETER_SINKS="otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    code, without = examine("--database-url", sqlite_url, PIXELMETER_SINKS="otel")

    assert {"ok"} == states(with_sdk)
    assert (0, "warning") == (code, without["opentelemetry"]["state"])
    assert "pixelmeter[otel]" in without["opentelemetry"]["advice"]


def test_an_own_file_of_budgets_is_checked(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text("[[budget]]\nusd = 5\n")
    right = examine("--database-url", sqlite_url, PIXELMETER_BUDGETS=str(file))
    file.write_text("[[budget]]\nusd = -5\n")

    wrong = examine("--database-url", sqlite_url, PIXELMETER_BUDGETS=str(file))

    assert (0, "ok", f"{file} has 1") == (right[0], *(right[1]["own budgets"][key] for key in ("state", "found")))
    assert (1, "problem") == (wrong[0], wrong[1]["own budgets"]["state"])
    assert f"{file}:2: usd of a budget is '-5'" in wrong[1]["own budgets"]["found"]


def test_an_own_price_file_is_checked(sqlite_url: str, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[[entry]]\n")

    code, findings = examine("--database-url", sqlite_url, PIXELMETER_PRICES=str(prices))

    assert (1, "problem") == (code, findings["own prices"]["state"])
    assert "pixelmeter prices check" in findings["own prices"]["advice"]


def test_an_outdated_ledger_is_a_problem_and_the_command_is_named(
    new_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = migrate.upgrade(new_url).head
    monkeypatch.setattr(version, "revisions", lambda: (head, "9999"))

    code, findings = examine("--database-url", new_url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (1, "problem") == (code, findings["database"]["state"])
    assert "pixelmeter db upgrade" in findings["database"]["found"]


def test_a_wrong_password_is_a_problem_and_not_shown(postgres_url: str, tmp_path: Path) -> None:
    wrong = postgres_url.replace(PASSWORD, "swordfish-4711")

    code, findings = examine("--database-url", wrong, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (1, "problem") == (code, findings["database"]["state"])
    assert "password authentication failed" in findings["database"]["found"]
    assert "swordfish" not in json.dumps(findings)


def test_a_postgres_role_without_rights_is_told_which_it_lacks(postgres_url: str, tmp_path: Path) -> None:
    migrate.upgrade(postgres_url)
    role = f"reader_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        admin.execute(f"GRANT SELECT ON pixelmeter_schema, pixelmeter_attempts TO {role}")
        try:
            reader = postgres_url.replace(f"postgres:{PASSWORD}", f"{role}:p")
            code, findings = examine("--database-url", reader, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")

    assert (1, "problem") == (code, findings["write access"]["state"])
    missing = findings["write access"]["found"]
    assert missing.startswith("missing: INSERT on pixelmeter_attempts; SELECT on pixelmeter_adjustments; ")
    assert "; UPDATE (is_latest) on pixelmeter_adjustments; SELECT on pixelmeter_jobs; " in missing


@pytest.mark.slow
def test_doctor_asks_for_the_rights_that_the_page_grants(postgres_url: str, tmp_path: Path) -> None:
    migrate.upgrade(postgres_url)
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text().partition("## Permissions")[2]
    grants = page.partition("```sql\n")[2].partition("```")[0].splitlines()
    role = f"writer_{os.getpid()}"
    writer = postgres_url.replace(f"postgres:{PASSWORD}", f"{role}:swordfish")
    told: dict[str, str] = {}
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'swordfish'")
        try:
            for grant in grants:
                admin.execute(grant.replace("role_name", role))
            for grant in grants:
                table = grant.split()[grant.split().index("ON") + 1]
                admin.execute(f"REVOKE ALL ON {table} FROM {role}")
                _, findings = examine("--database-url", writer, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))
                told[table] = json.dumps(findings)
                admin.execute(grant.replace("role_name", role))
            code, findings = examine("--database-url", writer, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")

    assert (0, {"ok"}) == (code, states(findings))
    assert 27 == len(told)
    assert [] == [name for name, found in told.items() if not re.search(rf"(on|table) {name}\b", found)]


@contextlib.contextmanager
def role_on(url: str) -> Iterator[tuple[str, str, psycopg.Connection]]:
    """Give a new role without rights, the URL with it, and a connection that may do everything."""
    role = f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'swordfish'")
        try:
            yield role, url.replace(f"postgres:{PASSWORD}", f"{role}:swordfish"), admin
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


@pytest.mark.slow
def test_a_role_that_may_not_make_the_ledger_is_told_what_to_run_and_that_helps(
    postgres_url: str, tmp_path: Path
) -> None:
    spool = str(tmp_path / "spool")
    with role_on(postgres_url) as (role, url, admin):
        admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        code, findings = examine("--database-url", url, PIXELMETER_SPOOL_DIR=spool)
        with pytest.raises(LedgerError, match="permission denied"):
            open_writer(url).positions([])
        told = findings["write access"]
        admin.execute(told["advice"].partition("or run: ")[2])
        code_then, findings_then = examine("--database-url", url, PIXELMETER_SPOOL_DIR=spool)
        with contextlib.closing(open_writer(url)) as writer:
            writer.positions([])

    assert (1, "problem") == (code, told["state"])
    assert f"{role} may not make the tables in schema public" == told["found"]
    assert "pixelmeter db upgrade" in told["advice"]
    assert (0, {"ok"}) == (code_then, states(findings_then))


def test_a_role_without_any_schema_is_told_so(postgres_url: str, tmp_path: Path) -> None:
    with role_on(postgres_url) as (role, url, admin):
        admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        code, findings = examine("--database-url", url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (1, f"{role} has no schema to make tables in") == (code, findings["write access"]["found"])


def test_a_database_of_another_program_is_fine_and_stays_as_it_is(new_url: str, tmp_path: Path) -> None:
    with open_engine(new_url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (a integer)")

    code, findings = examine("--database-url", new_url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (0, {"ok"}) == (code, states(findings))
    assert "has no ledger yet" in findings["database"]["found"]
    assert "absent" == migrate.status(new_url).state
    with contextlib.closing(open_writer(new_url)) as writer:
        writer.positions([])


def test_a_ledger_that_lost_its_version_is_a_problem_because_calls_cannot_be_written(
    new_url: str, tmp_path: Path
) -> None:
    with open_engine(new_url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE pixelmeter_attempts (a integer)")

    code, findings = examine("--database-url", new_url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    assert (1, "problem") == (code, findings["database"]["state"])
    assert "not pixelmeter_schema, which says its version" in findings["database"]["found"]


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql://me:secret@127.0.0.1:1/img", "start the server, or correct host and port"),
        ("postgresql://me:secret@127.0.0.1:1/img?nosuch=1", "correct --database-url or PIXELMETER_DATABASE_URL"),
        ("sqlite:////tmp", "name another file in the database URL"),
    ],
)
def test_what_to_do_about_a_database_that_cannot_be_reached_is_said(tmp_path: Path, url: str, advice: str) -> None:
    code, findings = examine("--database-url", url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))

    told = findings["database"]["advice"]
    assert (1, "problem") == (code, findings["database"]["state"])
    assert told.startswith(advice)
    assert told.endswith("; attempts wait in the spool meanwhile")
    assert "secret" not in json.dumps(findings)


def test_what_to_do_about_a_database_or_a_role_that_does_not_exist_is_said(postgres_url: str, tmp_path: Path) -> None:
    def advice(url: str) -> str:
        _, findings = examine("--database-url", url, PIXELMETER_SPOOL_DIR=str(tmp_path / "spool"))
        told: str = findings["database"]["advice"]
        return told

    assert advice(f"{postgres_url}_x").startswith("create it with `createdb`, or correct the name")
    assert advice(postgres_url.replace(PASSWORD, "x")).startswith("correct user and password in the database URL")


def test_where_the_spool_cannot_be_written_either_attempts_are_said_to_be_in_memory_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    _, findings = examine(
        "--database-url", "postgresql://me@127.0.0.1:1/img", PIXELMETER_SPOOL_DIR=str(tmp_path / "file")
    )

    assert "problem" == findings["spool"]["state"]
    assert "attempts are in memory only meanwhile" in findings["database"]["advice"]
    assert "wait in the spool" not in json.dumps(findings)


def test_what_dead_processes_left_for_an_outdated_ledger_needs_the_upgrade_first(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = migrate.upgrade(sqlite_url).head
    monkeypatch.setattr(version, "revisions", lambda: (head, "9999"))
    files = SystemFiles()
    dead = Spool(str(tmp_path / "ledger.db.spool"), files, SystemIds())
    dead.outcome(make_attempt())
    files.close(dead.segments()[0].descriptor)

    _, findings = examine("--database-url", sqlite_url)

    assert findings["spool of dead processes"]["advice"].startswith(
        "run `pixelmeter db upgrade` first, then run `pixelmeter report`"
    )


# Root may write everything; the first run loads what an ordinary user may not be able to read.
_AS_NOBODY = """
import os, sys
from click.testing import CliRunner
from pixelmeter.cli import main
arguments = ["doctor", "--format", "json", "--database-url", sys.argv[1]]
CliRunner().invoke(main, arguments)
if os.geteuid() == 0:
    os.setuid(65534)
main(arguments)
"""


@pytest.mark.slow
def test_a_read_only_ledger_and_spool_are_problems(sqlite_url: str, tmp_path: Path) -> None:
    migrate.upgrade(sqlite_url)
    spool = tmp_path / "ledger.db.spool"
    spool.mkdir(0o500)
    for folder in tmp_path.parents:
        if folder.stat().st_mode & 0o001:
            break
        folder.chmod(0o711)
    tmp_path.chmod(0o555)
    for file in (path for path in tmp_path.iterdir() if path.is_file()):
        file.chmod(0o444)

    ended = subprocess.run([sys.executable, "-c", _AS_NOBODY, sqlite_url], capture_output=True, text=True)
    tmp_path.chmod(0o755)

    findings = {finding["check"]: finding for finding in json.loads(ended.stdout)}
    assert (1, "") == (ended.returncode, ended.stderr)
    assert ("ok", "problem", "problem") == tuple(
        findings[check]["state"] for check in ("database", "write access", "spool")
    )


def test_spool_files_are_told_by_what_becomes_of_them_and_left_where_they_are(sqlite_url: str, tmp_path: Path) -> None:
    files, folder = SystemFiles(), tmp_path / "ledger.db.spool"
    living, dead, foreign = (Spool(str(folder), files, SystemIds()) for _ in range(3))
    for spool in (living, dead, foreign):
        spool.outcome(make_attempt())
    dead.intent(make_attempt())
    files.close(dead.segments()[0].descriptor)
    files.close(foreign.segments()[0].descriptor)
    (folder / foreign.segments()[0].name).write_bytes(b"\0" * 100)
    names = sorted(folder.iterdir())

    code, findings = examine("--database-url", sqlite_url)

    assert 1 == code
    assert "1 file" == findings["spool of living processes"]["found"]
    assert ("warning", "2 files, at most 2 attempts in them") == (
        findings["spool of dead processes"]["state"],
        findings["spool of dead processes"]["found"],
    )
    assert foreign.segments()[0].name == findings["unreadable spool files"]["found"]
    assert names == sorted(folder.iterdir())
    living.forget()


@pytest.mark.parametrize(
    ("size", "state", "told"),
    [
        (1000, "ok", "1,000 bytes are not in the ledger, of 1,048,576 that there may be"),
        (600_000, "warning", "600,000 bytes are not in the ledger, of 1,048,576 that there may be"),
        (1 << 20, "problem", "1,048,576 bytes are not in the ledger, of 1,048,576 that there may be: new attempts are"),
    ],
)
def test_how_much_a_spool_holds_of_its_limit_is_told(
    sqlite_url: str, tmp_path: Path, size: int, state: str, told: str
) -> None:
    folder = tmp_path / "ledger.db.spool"
    folder.mkdir(mode=0o700)
    (folder / f"{SystemIds().new()}-000001.spool").write_bytes(bytes(size))

    _, findings = examine("--database-url", sqlite_url, PIXELMETER_SPOOL_LIMIT="1M")

    found = findings["spool limit"]
    assert (state, True) == (found["state"], found["found"].startswith(told))


def test_what_the_ledger_has_of_a_spool_is_not_held_by_it(sqlite_url: str, tmp_path: Path) -> None:
    files, folder = SystemFiles(), str(tmp_path / "ledger.db.spool")
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, open_writer(sqlite_url))
    spool.outcome(make_attempt())
    drain.step()

    _, findings = examine("--database-url", sqlite_url)

    assert findings["spool limit"]["found"].startswith("0 bytes are not in the ledger")
    drain.close()


def test_a_spool_folder_that_others_may_read_is_a_warning_with_the_command(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "ledger.db.spool"
    folder.mkdir()
    folder.chmod(0o755)

    code, findings = examine("--database-url", sqlite_url)

    assert (0, "warning", f"run: chmod 700 {folder}") == (code, findings["spool"]["state"], findings["spool"]["advice"])


def test_a_spool_folder_that_strangers_can_write_to_is_a_problem(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "ledger.db.spool"
    folder.mkdir()
    folder.chmod(0o777)

    code, findings = examine("--database-url", sqlite_url)

    assert (1, "problem") == (code, findings["spool"]["state"])
    assert f"{folder}: everybody can write to the spool folder" == findings["spool"]["found"]
    assert "chmod 700" in findings["spool"]["advice"]


def test_a_table_and_csv_are_printed_too(sqlite_url: str) -> None:
    for wanted in ("table", "csv"):
        result = CliRunner().invoke(main, ["doctor", "--format", wanted, "--database-url", sqlite_url])
        assert 0 == result.exit_code
        assert "is not there yet" in result.output


def test_a_file_that_is_no_database_is_a_problem_and_stays_as_it_is(sqlite_url: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(b"not a database" * 100)

    code, findings = examine("--database-url", sqlite_url)

    assert (1, "problem") == (code, findings["database"]["state"])
    assert b"not a database" * 100 == ledger.read_bytes()
    with contextlib.suppress(FileNotFoundError):
        assert [] == os.listdir(tmp_path / "ledger.db.spool")


@pytest.mark.parametrize(
    ("keys", "state", "found"),
    [
        ("aigateway=topsecret,openai=topsecret", "ok", "keys for aigateway, openai"),
        ("topsecret=x", "problem", "a key is for no gateway that is known"),
        ("topsecret", "problem", "PIXELMETER_USAGE_KEYS: entry 1 is no PROFILE=SECRET"),
    ],
)
def test_keys_to_ask_for_usage_are_looked_at_and_not_shown(
    keys: str, state: str, found: str, sqlite_url: str, tmp_path: Path
) -> None:
    spool = str(tmp_path / "spool")
    _, findings = examine("--database-url", sqlite_url, PIXELMETER_SPOOL_DIR=spool, PIXELMETER_USAGE_KEYS=keys)

    assert state == findings["usage keys"]["state"]
    assert findings["usage keys"]["found"].startswith(found)
    assert "topsecret" not in json.dumps(findings)
