"""An export to one file or to standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.listing import COLUMNS, listed
from tests.cli.test_calls import calls
from tests.export.ledgers import HOSTILE, export, filled, in_order, run
from tests.factories import make_attempt
from tests.ledger.reading import adjustments, stored
from tests.ledger.test_adjusted_queries import write


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def usd(attempts: list[Attempt]) -> Decimal:
    return Decimal(sum(one.cost or 0 for one in attempts)) / 10**9


def test_json_lines_have_every_attempt_as_calls_lists_it_oldest_first(ledger_url: str) -> None:
    now = filled(ledger_url)

    found = lines(export(ledger_url, "--format", "jsonl", "-").stdout)

    assert [listed(one) for one in in_order(now.values())] == found
    by_id = {one["id"]: one for one in calls(ledger_url, "--limit", "1000")}
    assert by_id == {one["id"]: one for one in found}


def test_csv_has_every_column_and_its_sum_is_the_ledgers(ledger_url: str) -> None:
    now = in_order(filled(ledger_url).values())

    found = [*csv.DictReader(io.StringIO(export(ledger_url, "--format", "csv", "-").stdout))]

    assert [list(COLUMNS)] * 300 == [list(one) for one in found]
    assert [one.id for one in now] == [one["id"] for one in found]
    assert usd(now) == sum(Decimal(one["cost_usd"] or 0) for one in found)
    assert [one.cost is None for one in now] == [one["cost_usd"] == "" for one in found]


def test_the_summary_tells_what_was_exported_and_what_is_unknown(ledger_url: str, tmp_path: Path) -> None:
    now = [*filled(ledger_url).values()]

    told = export(ledger_url, "--format", "csv", tmp_path / "x.csv").stderr

    unknown = sum(one.cost is None for one in now)
    assert f"300 attempts to {tmp_path}/x.csv; known cost {usd(now).normalize():f} USD, {unknown} attempts" in told


def test_adjustments_are_a_table_of_their_own_and_lead_from_what_was_to_what_is(ledger_url: str) -> None:
    now = filled(ledger_url)

    found = lines(export(ledger_url, "--format", "jsonl", "--table", "adjustments", "-").stdout)

    assert {(row["attempt_id"], row["number"]) for row in adjustments(ledger_url)} == {
        (one["attempt_id"], one["number"]) for one in found
    }
    costs = {key: None if one.cost is None else Decimal(one.cost) / 10**9 for key, one in stored(ledger_url).items()}
    for one in sorted(found, key=lambda row: int(str(row["number"]))):
        before, after = (
            None if one[name] is None else Decimal(str(one[name])) for name in ("cost_before_usd", "cost_usd")
        )
        assert costs[str(one["attempt_id"])] == before
        costs[str(one["attempt_id"])] = after
    assert costs == {key: None if one.cost is None else Decimal(one.cost) / 10**9 for key, one in now.items()}


@pytest.mark.parametrize("table", ["attempts", "adjustments"])
def test_filters_look_at_attempts_as_they_are_now(ledger_url: str, table: str) -> None:
    now = filled(ledger_url)
    wanted = {key for key, one in now.items() if one.model == "a/new" and '"team":"growth"' in one.tags}

    options = ["--format", "jsonl", "--model", "a/new", "--tag", "team=growth", "--table", table]
    found = lines(export(ledger_url, *options, "-").stdout)

    key = "id" if table == "attempts" else "attempt_id"
    assert wanted == {one[key] for one in found}
    assert len(wanted) > 5


def test_a_range_or_a_month_leaves_out_what_is_outside_to_the_microsecond(ledger_url: str) -> None:
    now = in_order(filled(ledger_url).values())

    def ids(*options: str) -> list[object]:
        return [one["id"] for one in lines(export(ledger_url, "--format", "jsonl", *options, "-").stdout)]

    edge = str(listed(now[100])["started_at"])
    assert [one.id for one in now[100:]] == ids("--since", edge)
    assert [one.id for one in now[:100]] == ids("--until", edge)
    assert [one.id for one in now] == ids("--month", "2026-03") + ids("--month", "2026-04")
    assert [] == ids("--month", "2026-05")


def test_names_from_outside_come_back_as_they_were_and_start_no_formula(ledger_url: str) -> None:
    written = [make_attempt(model=name, tags=json.dumps({name: name}, ensure_ascii=False)) for name in HOSTILE]
    write(ledger_url, written, {})

    for one in lines(export(ledger_url, "--format", "jsonl", "-").stdout):
        assert {one["model"]: one["model"]} == one["tags"]
    found = [*csv.DictReader(io.StringIO(export(ledger_url, "--format", "csv", "-").stdout, newline=""))]
    assert sorted(HOSTILE) == sorted(
        one["model"][one["model"][:2] in ("'=", "'+", "'-", "'@", "'\t") :] for one in found
    )
    assert not [one for one in found if one["model"].startswith(("=", "+", "-", "@", "\t"))]
    assert [{name} for name in sorted(HOSTILE)] == sorted(({*json.loads(one["tags"])} for one in found), key=sorted)


def test_a_file_is_replaced_when_the_new_one_is_whole(ledger_url: str, tmp_path: Path) -> None:
    filled(ledger_url)
    target = tmp_path / "x.csv"
    target.write_text("old")
    (tmp_path / "link.csv").symlink_to(target)

    export(ledger_url, "--format", "csv", tmp_path / "link.csv")

    assert 301 == len([*csv.reader(io.StringIO(target.read_text()))])
    assert ["link.csv", "x.csv"] == sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".csv")
    assert (tmp_path / "link.csv").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "target"), [("csv", "x"), ("parquet", "x"), ("jsonl", "folder/"), ("parquet", "folder/")]
)
def test_what_does_not_fit_on_the_disk_leaves_nothing_and_says_so(
    sqlite_url: str, tmp_path: Path, format: str, target: str
) -> None:
    write(sqlite_url, [make_attempt() for _ in range(2000)], {})
    home = tmp_path / "out"
    home.mkdir()
    command = ["export", "--format", format, "--database-url", sqlite_url, f"{home}/{target}"]

    # A file may have so many bytes and no more, which is enough for what SQLite keeps beside a ledger.
    done = subprocess.run(
        [sys.executable, "-m", "pixelmeter", *command],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
        capture_output=True,
        text=True,
    )

    assert 1 == done.returncode
    assert done.stderr.startswith("Error: cannot write "), done.stderr
    assert 1 == done.stderr.count("\n"), done.stderr
    assert {"lock", "export.json"} >= {path.name for path in home.rglob("*") if path.is_file()}


def test_a_full_device_is_told(sqlite_url: str) -> None:
    filled(sqlite_url)
    result = run(sqlite_url, "--format", "csv", "/dev/full")
    assert 1 == result.exit_code
    assert "cannot write /dev/full: No space left on device; make room, or give another target" in result.output


def test_a_folder_that_is_not_there_is_told(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    result = run(sqlite_url, "--format", "csv", tmp_path / "no" / "x.csv")
    assert 1 == result.exit_code
    assert "make its folder first" in result.output


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_export_without_a_word(sqlite_url: str) -> None:
    filled(sqlite_url)
    command = f"{sys.executable} -m pixelmeter export --format jsonl --database-url {sqlite_url} - | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=os.environ)
    assert 1 == done.stdout.count("\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--format", "parquet", "-"], "Parquet needs a file or a folder"),
        (["--format", "csv", "--resume", "x.csv"], "only an export to a folder can go on"),
        (["--format", "focus", "--table", "adjustments", "-"], "FOCUS is of attempts"),
        (["--format", "csv", "--month", "2026-03", "--since", "7d", "-"], "leave out --since"),
        (["--format", "csv", "--month", "soon", "-"], "is not a time"),
        (["--format", "csv", "--since", "2026-03-02", "--until", "2026-03-01", "-"], "must be before"),
        (["--format", "csv", "--month", "9999-12", "-"], "so far away"),
        (["--format", "csv", "s3://bucket/x.csv"], "write s3://BUCKET/PREFIX/"),
        (["--format", "csv", "gs://bucket/x/"], "of stores only s3:// is known"),
        (["--format", "csv", "S3://bucket/x/"], "of stores only s3:// is known"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_written(sqlite_url: str, options: list[str], told: str) -> None:
    filled(sqlite_url)
    result = run(sqlite_url, *options)
    assert result.exit_code
    assert told in " ".join(result.output.split())
