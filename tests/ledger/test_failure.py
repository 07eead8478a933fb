"""What a database says of a failure is told whole, without the secrets of the URL."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.reader import reading_ledger

LONG = "correct-horse-battery"


def told(text: str, url: str) -> str:
    return str(without_secrets(psycopg.OperationalError(text), read_address(url))).partition("cannot be used: ")[2]


@pytest.mark.parametrize("password", ["p", "e", "on", "to", "at", "127", "server", "failed", "1", "."])
def test_a_short_password_does_not_mangle_what_is_said(password: str) -> None:
    with pytest.raises(LedgerError) as refused, reading_ledger(f"postgresql://me:{password}@127.0.0.1:1/spend"):
        pass

    assert "***" not in str(refused.value)
    assert 'connection to server at "127.0.0.1", port 1 failed: Connection refused' in str(refused.value)


def test_a_password_that_is_the_name_of_the_user_or_database_changes_nothing() -> None:
    text = 'password authentication failed for user "postgres"'
    assert text == told(text, "postgresql://postgres:postgres@host/db")
    assert text == told(text, "postgresql://me:postgres@host/postgres")


@pytest.mark.parametrize("password", ["p", "on", "hunter2", LONG, "p%40ss%2Fword-", "%20 two  spaces "])
@pytest.mark.parametrize(
    "text",
    [
        'invalid password "{}"',
        "invalid password '{}' in connection string",
        "password={} host=db",
        "could not parse postgresql://me:{}@db/spend",
    ],
)
def test_a_password_that_is_quoted_is_masked_whatever_its_length(password: str, text: str) -> None:
    url = f"postgresql://me:{password}@db/spend"
    secret = read_address(url).password
    assert secret

    assert text.format("***").split() == told(text.format(secret), url).split()


@pytest.mark.parametrize("option", ["password", "sslpassword", "oauth_client_secret"])
def test_a_secret_among_the_options_is_masked(option: str) -> None:
    assert "what *** is" == told(f"what {LONG} is", f"postgresql://db/spend?{option}={LONG}")


def test_a_long_password_is_masked_as_a_word_also_percent_encoded() -> None:
    url = "postgresql://me:correct%40horse@db/spend"
    assert "a *** b *** c" == told("a correct@horse b correct%40horse c", url)
    assert "incorrect@horses" == told("incorrect@horses", url)


def test_a_failing_disk_says_which_step_failed() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    assert "disk I/O error (SQLITE_IOERR_FSYNC)" in str(without_secrets(error, read_address("sqlite:////a.db")))
