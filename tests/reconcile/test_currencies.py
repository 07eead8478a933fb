"""Amounts in another currency than USD, in files and in reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pixelmeter.core.reconciling.statement import month
from pixelmeter.reconcile.sources import SOURCES
from pixelmeter.reconcile.sources.rows import RowReader
from tests.reconcile.conftest import all_of
from tests.reconcile.test_files import pages, written


@pytest.mark.parametrize(("header", "mapped"), [("Currency", {}), ("CURRENCY", {}), ("ISO", {"currency": "ISO"})])
def test_an_amount_in_another_currency_is_unknown_and_named_with_its_line(
    header: str, mapped: dict[str, str], tmp_path: Path
) -> None:
    lines = [f"{at},2026-11-05,0.04,{said}" for at, said in enumerate(["USD", "EUR", "usd", "", " Usd ", "jpy"], 2)]
    path = written(tmp_path, "\n".join([f"r,t,c,{header}", *lines]))
    [page] = pages(path, {"id": "r", "time": "t", "amount": "c", **mapped})
    assert [40_000_000, None, 40_000_000, 40_000_000, 40_000_000, None] == [each.amount for each in page.statements]
    assert (
        "line 3: its amount is in 'EUR', not in USD; it is kept as unknown",
        "line 7: its amount is in 'jpy', not in USD; it is kept as unknown",
    ) == page.problems
    assert f'"{header}":"EUR"' in page.statements[1].raw


def test_a_currency_that_is_named_is_the_only_one_that_counts(tmp_path: Path) -> None:
    path = written(tmp_path, "t,usd,of_usd,currency\n2026-11-05,0.04,USD,EUR\n")
    assert [None] == [each.amount for each in all_of(pages(path, {"time": "t", "amount": "usd"}))]
    [page] = pages(path, {"time": "t", "amount": "usd", "currency": "of_usd"})
    assert ([40_000_000], ()) == ([each.amount for each in page.statements], page.problems)


@pytest.mark.parametrize(
    ("row", "columns", "amount"),
    [
        ({"a": 0.04, "currency": "eur"}, {"amount": "a"}, None),
        ({"a": 0.04, "Currency": "USD"}, {"amount": "a"}, 40_000_000),
        ({"a": 0.04, "currency": None}, {"amount": "a"}, 40_000_000),
        ({"a": 4, "currency": "eur"}, {"amount": "a", "unit": "cents"}, None),
        ({"a": {"value": 0.04, "currency": "eur"}}, {"amount": "a.value"}, None),
        ({"a": {"value": 0.04}, "currency": "eur"}, {"amount": "a.value"}, None),
        ({"a": {"value": 0.04, "currency": "usd"}, "currency": "eur"}, {"amount": "a.value"}, 40_000_000),
        ({"a.value": 0.04, "a.currency": "eur"}, {"amount": "a.value"}, None),
        ({"a": 0.04, "b": {"currency": "eur"}}, {"amount": "a"}, 40_000_000),
        ({"a": 0.04, "b": {"money": "eur"}}, {"amount": "a", "currency": "b.money"}, None),
    ],
)
def test_the_currency_of_a_line_of_json_stands_beside_its_amount(
    row: dict[str, Any], columns: dict[str, str], amount: int | None, tmp_path: Path
) -> None:
    path = written(tmp_path, json.dumps({"t": "2026-11-05", **row}), "u.jsonl")
    [page] = pages(path, {"time": "t", **columns})
    assert ([amount], amount is None) == ([each.amount for each in page.statements], bool(page.problems))


def test_the_currency_of_a_flattened_amount_is_found_in_a_csv_file(tmp_path: Path) -> None:
    path = written(tmp_path, "t,amount.value,amount.currency\n2026-11-05,0.04,eur\n")
    assert [None] == [each.amount for each in all_of(pages(path, {"time": "t", "amount": "amount.value"}))]


def test_sums_of_one_day_in_two_currencies_are_two(tmp_path: Path) -> None:
    path = written(tmp_path, "day,model,cost,currency\n2026-11-05,a,1,USD\n2026-11-05,a,2,EUR\n")
    columns = {"time": "day", "model": "model", "amount": "cost", "id": "model"}
    found = all_of(pages(path, columns, grain="day"))
    assert ([1_000_000_000, None], 2) == ([one.amount for one in found], len({one.external_id for one in found}))


@pytest.mark.parametrize("currency", ["EUR", "Usd"])
@pytest.mark.parametrize("source", [pytest.param(each, id=each.id) for each in SOURCES if each.has_amounts])
def test_an_amount_of_any_report_in_another_currency_is_unknown_and_said(source: Any, currency: str) -> None:
    november = month("2026-11")
    reader = RowReader(
        gateway=source.gateway, source=source.id, grain=source.grain, shape=source.shape, period=november, read_at=0
    )
    amount = source.shape.amount[0]
    inside = amount.split(".")[-1]
    beside = {inside: 1, "currency": currency}
    row = {"id": "r", **dict.fromkeys(source.shape.time, "2026-11-05")}
    row |= {amount.split(".")[0]: beside} if inside != amount else beside

    [found] = reader.statements([("row 1", msgspec.json.encode(row))], first=november.start)
    assert (found.amount is None, currency in found.raw) == (currency == "EUR", True)
    said = ("row 1: its amount is in 'EUR', not in USD; it is kept as unknown",)
    assert (said if currency == "EUR" else ()) == reader.problems()
