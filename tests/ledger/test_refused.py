"""What a database does not take whatever the number of tries is told apart from a database that is away."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import LedgerError, RowRefused
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.postgres import PostgresWriter
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.postgres import PASSWORD, Server

OTHER = ["LATIN1", "EUC_JP", "WIN1252"]
BEYOND = {"LATIN1": "模型", "EUC_JP": "é€", "WIN1252": "模型"}
"""Text that each of them lacks."""
WITHIN = {"LATIN1": "modèle", "EUC_JP": "模型", "WIN1252": "modèle €"}


@pytest.fixture(params=OTHER)
def other(request: pytest.FixtureRequest, postgres_server: Server) -> Iterator[tuple[str, str]]:
    """An encoding that lacks characters, and the URL of a database that has it."""
    with postgres_server.database(f"test_{uuid.uuid4().hex}", request.param) as url:
        yield request.param, url


@pytest.fixture
def ascii_url(postgres_server: Server) -> Iterator[str]:
    """The URL of a database without an encoding."""
    with postgres_server.database(f"test_{uuid.uuid4().hex}", "SQL_ASCII") as url:
        yield url


BAD = {
    "a number of more than 64 bits": {"cost": 2**70},
    "a number of more than 63 bits": {"response_bytes": 2**63},
    "half of a surrogate pair": {"model": "\udcff"},
    "a date that no calendar has": {"started_at": 2**62},
}
BAD_FOR_POSTGRES = {
    "a NUL character": {"model": "a\0b"},
    "a NUL character in another column": {"request_id": "a\0b"},
    "tags that are no JSON": {"tags": '{"canary": canary}'},
    "a key that no index has room for": {"model": "".join(chr(0x4E00 + n * 7 % 20_000) for n in range(9_000))},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD.keys())
def test_an_attempt_that_no_ledger_can_hold_is_refused_and_the_next_one_is_written(
    ledger_url: str, fields: dict[str, object]
) -> None:
    refuse(ledger_url, make_attempt(**fields))


@pytest.mark.parametrize("fields", BAD_FOR_POSTGRES.values(), ids=BAD_FOR_POSTGRES.keys())
def test_an_attempt_that_postgres_cannot_hold_is_refused_and_the_next_one_is_written(
    postgres_url: str, fields: dict[str, object]
) -> None:
    refuse(postgres_url, make_attempt(**fields))


def refuse(url: str, bad: Attempt) -> None:
    """Check that a ledger refuses an attempt, alone, among others and again, and that nothing else comes of it."""
    good, known = make_attempt(), make_attempt()
    with closing(open_writer(url)) as writer:
        writer.write([known], {"a": 1}, [])
        for batch in ([bad], [good, bad], [known, bad]):
            with pytest.raises(RowRefused) as raised:
                writer.write(batch, {"a": 2}, [])
            assert "canary" not in str(raised.value)
        position = writer.positions(["a"])
        assert 1 == writer.write([good, known], {"a": 3}, [])

    assert {"a": 1} == position
    assert {good.id, known.id} == set(stored(url))
    assert recomputed(url) == rollup(url)
    assert recomputed_totals(url) == totals(url)


def test_sums_of_one_write_that_outgrow_their_columns_are_its_refusal(postgres_url: str) -> None:
    first, second = (make_attempt(cost=2**62) for _ in range(2))
    with closing(open_writer(postgres_url)) as writer:
        with pytest.raises(RowRefused):
            writer.write([first, second], {}, [])
        assert 1 == writer.write([first], {}, [])


@pytest.mark.parametrize(
    "url",
    ["postgresql://postgres:wrong@127.0.0.1:{port}/postgres", "postgresql://postgres@127.0.0.1:1/postgres",
     "postgresql://postgres:{password}@127.0.0.1:{port}/nowhere",
     "postgresql://postgres:{password}@127.0.0.1:{port}/postgres?options=-c%20lock_timeout%3Dnever"],
)  # fmt: skip
def test_a_database_that_cannot_be_used_refuses_no_attempt(postgres_server: Server, url: str) -> None:
    writer = PostgresWriter(read_address(url.format(port=postgres_server.port, password=PASSWORD)))
    with pytest.raises(LedgerError) as raised:
        writer.write([make_attempt()], {}, [])

    assert not isinstance(raised.value, RowRefused)


def test_a_character_that_the_database_lacks_is_refused_and_the_message_says_what_to_do(
    other: tuple[str, str],
) -> None:
    encoding, url = other
    taken, refused = make_attempt(model=WITHIN[encoding]), make_attempt(model=BEYOND[encoding])
    with closing(open_writer(url)) as writer:
        writer.write([taken], {}, [])
        with pytest.raises(RowRefused, match=f"{encoding}, the encoding of the database.*createdb -E UTF8"):
            writer.write([refused], {}, [])
        with pytest.raises(RowRefused, match="createdb -E UTF8"):
            writer.write([taken, refused], {}, [])
        tagged = make_attempt(tags=f'{{"team":"{BEYOND[encoding]}"}}')
        with pytest.raises(RowRefused, match="createdb -E UTF8"):
            writer.write([tagged], {}, [])

    assert {taken.id: taken} == stored(url)


def test_such_a_database_is_told_of_in_the_log_once_and_by_doctor(
    other: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    encoding, url = other
    with closing(open_writer(url)) as writer:
        for _ in range(2):
            writer.write([make_attempt()], {}, [])
            writer.close()
    doctor = CliRunner().invoke(main, ["doctor", "--format", "csv", "--database-url", url])

    told = [record for record in caplog.records if record.name == "pixelmeter" and record.levelno == logging.WARNING]
    assert 1 == len(told)
    assert f"encoding {encoding}" in told[0].getMessage()
    assert f'"encoding","warning","it is {encoding}' in doctor.output
    assert "createdb -E UTF8" in doctor.output
    assert 0 == doctor.exit_code


def test_a_database_without_an_encoding_takes_all_and_gives_it_back(
    ascii_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = {
        attempt.id: attempt
        for attempt in (
            make_attempt(model="模型", provider="Ünïted", tags='{"team":"成長"}', requested_model="模型"),
            make_attempt(model="modèle", requested_model="modèle"),
        )
    }
    with closing(open_writer(ascii_url)) as writer:
        assert {} == writer.positions(["a"])
        assert 2 == writer.write(list(attempts.values()), {"a": 1}, [])
        assert 0 == writer.write(list(attempts.values()), {"a": 2}, [])
        assert {"a": 2} == writer.positions(["a"])
        with pytest.raises(RowRefused):
            writer.write([make_attempt(model="a\0b")], {}, [])

    assert attempts == stored(ascii_url)
    assert recomputed(ascii_url) == rollup(ascii_url)
    assert recomputed_totals(ascii_url) == totals(ascii_url)
    assert [] == [record for record in caplog.records if record.name == "pixelmeter"]


@pytest.mark.parametrize(
    "command",
    ["report --since 2020-01-01", "report --by model,tag:team --since 2020-01-01", "calls --since 2020-01-01",
     "calls --since 2020-01-01 --tag team=成長", "doctor", "db status", "db upgrade"],
)  # fmt: skip
def test_every_command_reads_a_database_without_an_encoding(ascii_url: str, command: str) -> None:
    with closing(open_writer(ascii_url)) as writer:
        writer.write([make_attempt(model="模型", tags='{"team":"成長"}')], {}, [])

    done = CliRunner().invoke(main, [*command.split(), "--database-url", ascii_url])

    assert 0 == done.exit_code, done.output
    if command.startswith(("report", "calls")):
        assert "模型" in done.output
    else:
        assert "Traceback" not in done.output
