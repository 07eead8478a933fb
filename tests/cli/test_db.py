from __future__ import annotations

import json

from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.ledger import migrate
from pixelmeter.ledger.version import revisions
from tests.postgres import PASSWORD


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["db", *arguments], input=answer)


def test_upgrade_makes_a_ledger_and_status_says_that_it_is_current(ledger_url: str) -> None:
    before = json.loads(run("status", "--format", "json", "--database-url", ledger_url).output)
    upgraded = run("upgrade", "--database-url", ledger_url)
    after = json.loads(run("status", "--format", "json", "--database-url", ledger_url).output)

    assert ("absent", None) == (before[0]["state"], before[0]["revision"])
    assert 0 == upgraded.exit_code
    assert ("current", migrate.head()) == (after[0]["state"], after[0]["revision"])


def test_downgrade_to_base_asks_first(sqlite_url: str) -> None:
    run("upgrade", "--database-url", sqlite_url)

    refused = run("downgrade", "base", "--database-url", sqlite_url, answer="n\n")
    kept = migrate.status(sqlite_url).state
    done = run("downgrade", "base", "--yes", "--database-url", sqlite_url)

    assert (1, "current") == (refused.exit_code, kept)
    assert (0, "absent") == (done.exit_code, migrate.status(sqlite_url).state)


def test_an_unknown_revision_is_one_line_that_names_the_known_ones(sqlite_url: str) -> None:
    result = run("upgrade", "9999", "--database-url", sqlite_url)

    assert 1 == result.exit_code
    assert f"base, {', '.join(revisions())}, head" in result.output
    assert 1 == len(result.output.splitlines())


def test_the_table_of_status_hides_the_password(postgres_url: str) -> None:
    run("upgrade", "--database-url", postgres_url)

    result = run("status", "--database-url", postgres_url)

    assert 0 == result.exit_code
    assert PASSWORD not in result.output
    assert "127.0.0.1" in result.output
