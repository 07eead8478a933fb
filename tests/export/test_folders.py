"""An export to a folder: a file for each UTC day, each there whole or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.listing import listed
from pixelmeter.export.service import Question, to_folder
from pixelmeter.export.stores import folder
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.export.ledgers import contents, day_of, export, filled, in_order, run
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.test_adjusted_queries import write

DAY = 86_400_000_000


def found_in(home: Path) -> Iterator[dict[str, object]]:
    """Yield the rows of all parts, in the order of their names."""
    for part in sorted(home.glob("month=*/part-*.jsonl")):
        yield from (json.loads(line) for line in part.read_text().split("\n")[:-1])


def of_days(number: int) -> list[Attempt]:
    return [make_attempt(started_at=STARTED_AT + n * DAY) for n in range(number)]


def test_each_day_has_a_file_in_the_folder_of_its_month_and_together_they_are_the_ledger(
    ledger_url: str, tmp_path: Path
) -> None:
    now = in_order(filled(ledger_url).values())

    export(ledger_url, "--format", "jsonl", f"{tmp_path}/out/")

    parts = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").glob("month=*/*")}
    assert {f"month={day[:7]}/part-{day}.jsonl" for day in map(day_of, now)} == parts
    assert [listed(one) for one in now] == [*found_in(tmp_path / "out")]


def test_exporting_again_replaces_and_never_doubles(ledger_url: str, tmp_path: Path) -> None:
    filled(ledger_url)
    export(ledger_url, "--format", "jsonl", tmp_path)
    before = contents(tmp_path)

    export(ledger_url, "--format", "jsonl", tmp_path)

    assert before == contents(tmp_path)


@pytest.mark.slow
def test_a_day_of_many_rows_is_split_and_what_is_left_of_a_longer_split_goes(ledger_url: str, tmp_path: Path) -> None:
    now = in_order(filled(ledger_url).values())

    def names_with(rows_per_file: int) -> list[str]:
        export(ledger_url, "--format", "jsonl", "--rows-per-file", str(rows_per_file), tmp_path)
        assert [listed(one) for one in now] == [*found_in(tmp_path)]
        return sorted(path.name for path in tmp_path.glob("month=*/*") if day_of(now[150]) in path.name)

    number = sum(day_of(one) == day_of(now[150]) for one in now)
    assert -(-number // 7) == len(names_with(7))
    assert [f"part-{day_of(now[150])}-{n:02}.jsonl" for n in range(-(-number // 20))] == names_with(20)
    assert [f"part-{day_of(now[150])}.jsonl"] == names_with(1000)


def test_a_range_is_widened_to_whole_days_so_that_no_day_is_cut(ledger_url: str, tmp_path: Path) -> None:
    now = in_order(filled(ledger_url).values())

    export(ledger_url, "--format", "jsonl", "--since", "2026-03-27T15:00", "--until", "2026-03-28T00:00:01", tmp_path)

    days = {"2026-03-27", "2026-03-28"}
    assert [one.id for one in now if day_of(one) in days] == [one["id"] for one in found_in(tmp_path)]


def test_resume_skips_the_days_that_are_over_and_as_they_were(ledger_url: str, tmp_path: Path) -> None:
    written = of_days(4)
    write(ledger_url, written, {})
    export(ledger_url, "--format", "jsonl", tmp_path)

    def done(now: datetime) -> tuple[Sequence[date], int]:
        with reading_ledger(ledger_url) as reader, folder(str(tmp_path)) as store:
            summary = to_folder(reader, Question(format="jsonl"), store, lambda _, __: None, now=now, resume=True)
        return summary.skipped, summary.rows

    days = [date.fromisoformat(day_of(one)) for one in written]
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert (days, 0) == done(later)
    # The last day is not over, a row comes late to the first, one of the second is adjusted, a file of the third goes.
    assert (days[:3], 1) == done(datetime(2026, 5, 31, 23, tzinfo=UTC))
    write(ledger_url, [make_attempt(started_at=STARTED_AT + 1)], {written[1].id: {"cost": 7}})
    next(tmp_path.glob(f"month=*/part-{days[2]}.jsonl")).unlink()
    assert (days[3:], 4) == done(later)
    assert (days, 0) == done(later)
    assert 5 == len([*found_in(tmp_path)])


@pytest.mark.slow
def test_what_is_killed_in_the_middle_goes_on_and_leaves_the_same_files(sqlite_url: str, tmp_path: Path) -> None:
    write(sqlite_url, [one for n in range(300) for one in of_days(10)][:3000], {})
    export(sqlite_url, "--format", "parquet", f"{tmp_path}/whole/")
    whole = contents(tmp_path / "whole")
    broken = tmp_path / "broken"
    # It stops itself in the middle of a file: rows of the fifth day are written, and it has not been put in its place.
    program = (
        "import os, signal, sys\n"
        "from pixelmeter.export.parquet import ParquetRows\n"
        "from pixelmeter.cli import main\n"
        "write, made = ParquetRows.write, []\n"
        "def write_and_die(self, rows):\n"
        "    write(self, rows); self._flush()\n"
        "    made.append(self)\n"
        "    if len(made) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ParquetRows.write = write_and_die\n"
        "main(sys.argv[1:])\n"
    )
    options = ["export", "--format", "parquet", "--database-url", sqlite_url, f"{broken}/"]
    killed = subprocess.run([sys.executable, "-c", program, *options])
    assert -signal.SIGKILL == killed.returncode
    assert 4 == len([*broken.glob("month=*/part-*.parquet")])
    assert 1 == len([*broken.glob("month=*/.part-*.partial")])

    told = export(sqlite_url, "--format", "parquet", "--resume", f"{broken}/").stderr

    assert "4 days" in told
    assert whole == contents(broken)


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files_and_nothing_else(sqlite_url: str, tmp_path: Path) -> None:
    write(sqlite_url, of_days(6), {})
    program = (
        "import os, signal, sys\n"
        "from pixelmeter.export.formats import CsvRows\n"
        "from pixelmeter.cli import main\n"
        "write, made = CsvRows.write, []\n"
        "def write_and_stop(self, rows):\n"
        "    write(self, rows); made.append(self)\n"
        "    if len(made) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "CsvRows.write = write_and_stop\n"
        "main(sys.argv[1:])\n"
    )
    options = ["export", "--format", "csv", "--database-url", sqlite_url, f"{tmp_path}/out/"]
    done = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True)

    assert 1 == done.returncode
    assert "Traceback" not in done.stderr
    names = [path.name for path in (tmp_path / "out").glob("month=*/*")] + [
        path.name for path in (tmp_path / "out").glob("month=*/.*")
    ]
    assert 2 == len(names)
    assert all(re.fullmatch(r"part-\d{4}-\d\d-\d\d\.csv", name) for name in names)


def test_a_folder_takes_no_export_of_another_question(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    export(sqlite_url, "--format", "jsonl", tmp_path)
    before = contents(tmp_path)

    for options in (["--format", "csv"], ["--format", "jsonl", "--model", "a/*"], ["--format", "focus"]):
        result = run(sqlite_url, *options, tmp_path)
        assert 1 == result.exit_code
        assert "has another export" in result.output
    assert before == contents(tmp_path)


def test_a_folder_that_does_not_know_its_question_any_more_says_so(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    export(sqlite_url, "--format", "jsonl", tmp_path)
    question, before = tmp_path / "_pixelmeter" / "export.json", [*found_in(tmp_path)]
    question.write_bytes(b"")

    result = run(sqlite_url, "--format", "csv", tmp_path)
    assert 1 == result.exit_code
    assert "_pixelmeter/export.json in" in result.output
    assert "cannot be read" in result.output
    question.unlink()
    export(sqlite_url, "--format", "jsonl", "--resume", tmp_path)
    assert before == [*found_in(tmp_path)]


def test_days_of_which_rows_have_gone_from_the_ledger_stay_as_they_were_exported(
    ledger_url: str, tmp_path: Path
) -> None:
    first, second = of_days(2)
    write(ledger_url, [first, second, make_attempt()], {})
    export(ledger_url, "--format", "jsonl", tmp_path)
    before = [*found_in(tmp_path)]

    from sqlalchemy import delete

    from pixelmeter.ledger.engine import open_engine
    from pixelmeter.ledger.schema import ATTEMPTS

    with open_engine(ledger_url).begin() as connection:
        connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.id == first.id))
    told = export(ledger_url, "--format", "jsonl", tmp_path).stderr

    assert f"Warning: 1 day kept as exported before ({day_of(first)})" in told
    assert before == [*found_in(tmp_path)]


def test_two_exports_do_not_write_to_one_folder_at_once(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    with folder(str(tmp_path)):
        result = run(sqlite_url, "--format", "csv", tmp_path)
    assert 1 == result.exit_code
    assert "another export is writing" in result.output


def test_an_export_is_of_one_moment_whatever_is_written_meanwhile(ledger_url: str, tmp_path: Path) -> None:
    written = of_days(3)
    write(ledger_url, written, {})

    def late(_: date, __: int) -> None:
        with closing(open_writer(ledger_url)) as writer:
            writer.write([make_attempt(started_at=STARTED_AT + 2 * DAY)], {}, [])

    with reading_ledger(ledger_url) as reader, folder(str(tmp_path)) as store:
        to_folder(reader, Question(format="jsonl"), store, late, now=datetime(2027, 1, 1, tzinfo=UTC))

    assert [one.id for one in written] == [one["id"] for one in found_in(tmp_path)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_nobody_may_write_to_is_told(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    home = tmp_path / "locked"
    home.mkdir(mode=0o500)
    result = run(sqlite_url, "--format", "csv", home)
    assert 1 == result.exit_code
    assert "give a target that you may write to" in result.output
