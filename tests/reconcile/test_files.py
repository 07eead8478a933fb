"""Statements from files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.reconciling.statement import month
from pixelmeter.errors import ConfigError, SourceError
from pixelmeter.reconcile.sources import FileSource, Page
from tests.reconcile.conftest import all_of

NOVEMBER = month("2026-11")
COLUMNS = {"id": "Request", "time": "When", "model": "Model", "amount": "Cost"}
HEADER = "Request,When,Model,Cost,Prompt\n"
ROWS = 'r1,2026-11-05T10:00:00Z,m,0.04,a fox\nr2,2026-11-06T10:00:00Z,m,0.05,"two,\nlines"\n'


def pages(path: Path, columns: dict[str, str] | None = None, cursor: str | None = None, **more: Any) -> list[Page]:
    source = FileSource(str(path), "somewhere", columns or COLUMNS, **more)
    return list(source.pages(None, NOVEMBER, cursor=cursor))


def written(folder: Path, data: str | bytes, name: str = "usage.csv") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((HEADER + ROWS).encode(), id="plain"),
        pytest.param((HEADER + ROWS).encode("utf-8-sig"), id="mark"),
        pytest.param((HEADER + ROWS).encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress((HEADER + ROWS).encode()), id="gzip"),
        pytest.param((HEADER + ROWS).replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(b"\n" + (HEADER + "\n" + ROWS + "\n\n").encode(), id="empty lines"),
        pytest.param((HEADER + ROWS).replace("two,", "two ").replace(",", ";").encode(), id="semicolons"),
        pytest.param((HEADER + ROWS).replace("two,", "two ").replace(",", "\t").encode(), id="tabs"),
    ],
)
def test_a_csv_file_in_every_usual_form(data: bytes, tmp_path: Path) -> None:
    [page] = pages(written(tmp_path, data))
    assert () == page.problems == page.notes
    assert [("r1", "m", 40_000_000), ("r2", "m", 50_000_000)] == [
        (each.external_id, each.model, each.amount) for each in page.statements
    ]
    assert {"csv"} == {each.source for each in page.statements}
    assert '{"Request":"r1","When":"2026-11-05T10:00:00Z","Model":"m","Cost":"0.04"}' == page.statements[0].raw


@pytest.mark.parametrize(("name", "pack"), [("u.jsonl", bytes), ("u.ndjson.gz", gzip.compress)])
def test_json_lines_have_paths(name: str, pack: Any, tmp_path: Path) -> None:
    rows = [{"meta": {"id": "r1"}, "at": "2026-11-05T10:00:00Z", "cost": {"cents": 4.2}, "prompt": "a fox"}]
    path = written(tmp_path, pack("\n".join(map(json.dumps, rows)).encode()), name)
    columns = {"id": "meta.id", "time": "at", "amount": "cost.cents", "unit": "cents"}

    [page] = pages(path, columns)
    [found] = page.statements
    assert ("jsonl", "r1", 42_000_000) == (found.source, found.external_id, found.amount)
    assert "fox" not in found.raw


def test_a_row_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    bad = (
        'r3,yesterday,m,1,\nr4,2026-11-07,m\nr5,2026-11-08,m,"open,x\nr6,2026-11-08,m,free,x\nr7,2026-11-09,m,0.07,x\n'
    )
    [page] = pages(written(tmp_path, HEADER + ROWS + bad))

    assert ["r1", "r2", "r6", "r7"] == [each.external_id for each in page.statements]
    assert [None, 70_000_000] == [each.amount for each in page.statements[2:]]
    assert [5, 6, 7, 8] == sorted(int(problem.split()[1].rstrip(":")) for problem in page.problems)


def test_a_line_of_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = '{"id":"%s","t":"2026-11-05","c":1}'
    text = "\n".join([good % "a", "{", "[1]", '{"id":"b"}', "", good % "c"])
    [page] = pages(written(tmp_path, text, "u.jsonl"), {"id": "id", "time": "t", "amount": "c"})
    assert ["a", "c"] == [each.external_id for each in page.statements]
    assert ("line 2 is no JSON object", "line 3 is no JSON object", "line 4: it has no time") == page.problems


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path) -> None:
    text = f'{{"id":"a","t":"2026-11-05"}}\n"{"x" * 5_000_000}"\n{{"id":"b","t":"2026-11-05"}}\n'
    [page] = pages(written(tmp_path, text, "u.jsonl"), {"id": "id", "time": "t"})
    assert ["a", "b"] == [each.external_id for each in page.statements]
    assert ("line 2 is longer than 1048576 characters",) == page.problems


def test_an_old_encoding_is_read_and_noted(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}r1,2026-11-05,Überm,1,x\n".encode("cp1252"))
    [page] = pages(path)
    assert "Überm" == page.statements[0].model
    assert (f"{path} is not UTF-8: it was read as Windows-1252",) == page.notes


def test_pages_go_on_where_they_were_left(tmp_path: Path) -> None:
    lines = "".join(f",2026-11-05,m,0.0{at % 3},x\n" for at in range(2500))
    path = written(tmp_path, HEADER + lines)

    found = pages(path)
    assert [1000, 1000, 500] == [len(page.statements) for page in found]
    assert 2500 == len({each.external_id for each in all_of(found)})
    rest = all_of(pages(path, cursor=found[0].cursor))
    assert [each.external_id for each in all_of(found[1:])] == [each.external_id for each in rest]
    assert found[-1].cursor is None


def test_sums_of_days_are_told_apart_by_their_id(tmp_path: Path) -> None:
    text = "day,model,cost\n2026-11-05,a,1\n2026-11-05,b,2\n2026-11-06,a,3\n"
    columns = {"time": "day", "model": "model", "amount": "cost", "id": "model"}
    [page] = pages(written(tmp_path, text), columns, grain="day")
    assert 3 == len({each.external_id for each in page.statements})
    assert [(), (), ()] == [each.ids for each in page.statements]
    changed = written(tmp_path, text.replace(",3", ",4"), "changed.csv")
    [again] = pages(changed, columns, grain="day")
    assert [each.external_id for each in page.statements] == [each.external_id for each in again.statements]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"time": "t", "price": "p"}, "no 'price' to name a column for"),
        ({"amount": "a"}, "time=COLUMN"),
        ({"time": "t", "unit": "euros"}, "'euros' is no unit"),
        ({"time": "t", "unit": "price"}, "usd, cents"),
        ({"time": "["}, "is no path"),
    ],
)
def test_columns_that_make_no_sense_are_refused(columns: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        FileSource("usage.csv", "somewhere", columns)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "has no column 'Request'; it has a, b"),
        (gzip.compress(b"x" * 1000, mtime=0)[:20], "EOFError"),
        (b"\x1f\x8bnonsense", "BadGzipFile|Not a gzipped|method"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(data: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=what):
        pages(written(tmp_path, data))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        pages(tmp_path / "none.csv")


@given(data=st.binary(max_size=300), is_json=st.booleans())
def test_whatever_is_in_a_file_ends(tmp_path_factory: pytest.TempPathFactory, data: bytes, is_json: bool) -> None:
    folder = tmp_path_factory.mktemp("files")
    text = data if is_json else HEADER.encode() + data
    try:
        found = pages(written(folder, text, "u.jsonl" if is_json else "u.csv"))
    except SourceError:
        return
    assert found[-1].cursor is None
