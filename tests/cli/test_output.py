from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.cli.output import emit, emit_json, plain, write_csv
from tests.cli.terminal import on_a_terminal

Capture = pytest.CaptureFixture[str]

HOSTILE = "\x1b[31mred\x1b]8;;http://x\x07 \x9b2J\u202eevil\u2028[bold]\r\n"


def table(capsys: Capture, rows: Sequence[Mapping[str, object]], columns: Sequence[str], **more: object) -> list[str]:
    emit(rows, columns, "table", **more)  # type: ignore[arg-type]
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_a_table_aligns_numbers_and_money_to_the_right(capsys: Capture) -> None:
    rows: list[dict[str, object]] = [
        {"name": "a", "number": 5, "cost_usd": "$0.0100"},
        {"name": "bcd", "number": None, "cost_usd": "$1,000.0000"},
    ]
    total = {"name": "total", "cost_usd": "$1,000.0100"}
    expected = [
        "name   number     cost usd",
        "─" * 26,
        "a           5      $0.0100",
        "bcd            $1,000.0000",
        "total          $1,000.0100",
    ]
    assert expected == table(capsys, rows, ["name", "number", "cost_usd"], right=["cost_usd"], total=total)


def test_the_key_of_a_tag_heads_its_column_as_it_is(capsys: Capture) -> None:
    assert "tag:aig_tag  at risk" == table(capsys, [], ["tag:aig_tag", "at_risk"])[0]


def test_a_table_in_a_file_is_never_cut(capsys: Capture) -> None:
    rows = [{"text": "x" * 500, "number": 10**30}]
    assert f"{'x' * 500}  {10**30}" == table(capsys, rows, ["text", "number"])[-1]


def test_a_table_shows_decimals_truth_and_mappings_as_people_write_them(capsys: Capture) -> None:
    row = {"price": Decimal("0.0000001"), "byok": True, "tags": {"team": "ü"}, "none": None}
    assert '0.0000001  true  {"team": "ü"}' == table(capsys, [row], list(row))[-1]


def test_a_table_has_nothing_that_steers_the_terminal(capsys: Capture) -> None:
    shown = table(capsys, [{"model": HOSTILE}], ["model"])[-1]
    assert "red]8;;http://x 2Jevil[bold]" == shown


def test_plain_text_keeps_every_letter() -> None:
    assert "Grüße 日本 🎨 a-b_c" == plain("Grüße 日本 🎨 a-b_c")


def test_csv_on_a_terminal_cannot_steer_it() -> None:
    screen = on_a_terminal(lambda: write_csv([{"model": HOSTILE}], ["model"]), columns=80)
    assert '"model"\n"red]8;;http://x 2Jevil[bold]"\n' == screen


def test_json_is_a_list_with_the_columns_asked_for(capsys: Capture) -> None:
    emit([{"a": Decimal("0.10"), "b": {"x": 1}, "c": 1}], ["b", "a", "missing"], "json")
    assert [{"b": {"x": 1}, "a": "0.10", "missing": None}] == json.loads(capsys.readouterr().out)


def test_json_cannot_steer_a_terminal(capsys: Capture) -> None:
    emit_json(HOSTILE)
    printed = capsys.readouterr().out
    assert printed.removesuffix("\n").isascii()
    assert printed.removesuffix("\n").isprintable()
    assert HOSTILE == json.loads(printed)


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0"])
def test_csv_text_that_could_be_a_formula_gets_an_apostrophe(capsys: Capture, text: str) -> None:
    assert f"'{text}" == csv_cell(capsys, text)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (5, "5"),
        (-5, "-5"),
        (8.123456, "8.123456"),
        ("0.010000001", "0.010000001"),
        ("-0.01", "-0.01"),
        (Decimal("1E-7"), "0.0000001"),
        (None, ""),
        ("007", '"007"'),
        ("1e5", '"1e5"'),
        (True, '"true"'),
        ("a;=1+1", '"a;=1+1"'),
        ("a,b", '"a,b"'),
    ],
)
def test_csv_numbers_are_bare_and_text_is_in_quotes(capsys: Capture, value: object, cell: str) -> None:
    write_csv([{"first": "x", "value": value}], ["first", "value"])
    assert f'"x",{cell}' == capsys.readouterr().out.splitlines()[1]


@given(st.lists(st.text(), min_size=2, max_size=4))
def test_no_csv_cell_starts_like_a_formula_and_text_survives(values: list[str]) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        write_csv([{str(index): value for index, value in enumerate(values)}], [str(i) for i in range(len(values))])
    found = list(csv.reader(io.StringIO(stream.getvalue(), newline="")))[1]
    assert values == [cell[1:] if cell != value else cell for cell, value in zip(found, values, strict=True)]
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r", "\n")) for cell in found)
    assert all(cell[1:].replace(".", "", 1).isdigit() for cell in found if cell.startswith("-"))


def csv_cell(capsys: Capture, value: object) -> str:
    write_csv([{"first": "x", "value": value}], ["first", "value"])
    return list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))[1][1]
