"""Tables on terminals: they fit, and what there is no room for is left out, cut or wrapped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.cli.output import emit
from pixelmeter.cli.table import Column, cell_len, laid_out
from pixelmeter.ledger.writer import open_writer
from tests.cli.terminal import command_on_a_terminal, on_a_terminal
from tests.factories import make_attempt

WIDTHS = [80, 100, 120]


def lines(columns: Sequence[Column], width: int | None) -> list[str]:
    return list(laid_out(columns, width))


def name(*cells: str, heading: str = "model", drop: int | None = None) -> Column:
    return Column(heading=heading, cells=cells, is_name=True, drop=drop)


def number(*cells: str, heading: str, drop: int | None = None) -> Column:
    return Column(heading=heading, cells=cells, is_right=True, drop=drop)


def test_a_table_in_a_pipe_has_every_column_and_cuts_nothing() -> None:
    columns = [name("m" * 300), *(number("1", heading=f"n{index}", drop=index) for index in range(50))]
    heading, _, row = lines(columns, None)
    assert [f"n{index}" for index in range(50)] == heading.split()[1:]
    assert "m" * 300 == row.split()[0]


def test_columns_are_left_out_in_their_order_until_the_rest_fits() -> None:
    columns = [name("x" * 30), *(number("1" * 8, heading=heading, drop=drop) for heading, drop in
                                 (("a", 2), ("b", 0), ("c", None), ("d", 1)))]  # fmt: skip
    by_width = {width: lines(columns, width)[0].split()[1:] for width in (70, 69, 60, 59, 50, 49, 40)}
    assert {
        70: ["a", "b", "c", "d"],
        69: ["a", "c", "d"],
        60: ["a", "c", "d"],
        59: ["a", "c"],
        50: ["a", "c"],
        49: ["c"],
        40: ["c"],
    } == by_width


def test_what_was_left_out_is_said() -> None:
    columns = [name("x" * 30), number("1", heading="images", drop=1), number("1", heading="p50", drop=0)]
    said = "Hidden, as the window is narrow: {}; a file or a pipe has every column"
    found = [" ".join(lines(columns, width)[3:]) for width in (50, 40, 30)]
    assert ["", said.format("p50"), said.format("images, p50")] == found


def test_a_name_that_is_too_long_loses_its_middle() -> None:
    assert ["black-forest…x-2-klein-9b"] == lines([name("black-forest-labs/flux-2-klein-9b")], 25)[2:]
    assert ["日本日本…本日本語"] == lines([name("日本日本日本日本日本日本日本語")], 18)[2:]


def test_a_wide_character_is_not_cut_in_half() -> None:
    for width in range(8, 28):
        row = lines([name("日本日本日本日本日本日本日本")], width)[2]
        assert width - 2 <= cell_len(row) <= width


def test_other_text_is_wrapped_at_its_words() -> None:
    column = Column(heading="advice", cells=["run pixelmeter db upgrade, then look again"])
    assert ["run pixelmeter db", "upgrade, then look", "again"] == lines([column], 18)[2:]


def test_a_word_that_is_longer_than_a_line_goes_on_in_the_next() -> None:
    column = Column(heading="found", cells=["at /a/very/long/path/to/nowhere ok"])
    assert ["at", "/a/very/lo", "ng/path/to", "/nowhere", "ok"] == lines([column], 10)[2:]


def test_a_number_is_never_cut_however_narrow_the_terminal() -> None:
    columns = [name("m" * 40), number("$1,234,567.0000", heading="cost"), number("no_price", heading="why")]
    row = lines(columns, 12)[2]
    assert "$1,234,567.0000" in row
    assert "mmmm…mmm" in row


CELLS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=60)


@given(st.data(), st.integers(40, 200))
def test_no_line_is_wider_than_the_terminal(data: st.DataObject, width: int) -> None:
    rows = data.draw(st.integers(1, 4))
    texts = st.lists(CELLS, min_size=rows, max_size=rows)
    columns = [
        name(*data.draw(texts)),
        Column(heading="found", cells=data.draw(texts)),
        number(*(["1" * 9] * rows), heading="cost"),
        *(number(*(["1" * 20] * rows), heading=str(index), drop=index) for index in range(5)),
    ]
    assert not [line for line in lines(columns, width) if cell_len(line) > width]


def test_a_terminal_is_as_wide_as_it_says() -> None:
    rows = [{"model": "m" * 200, "n": 1}]
    for width in WIDTHS:
        screen = on_a_terminal(lambda: emit(rows, ["model", "n"], "table", names=["model"]), columns=width)
        assert width == max(map(cell_len, screen.splitlines()))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a ledger whose names are long and wide."""
    url = f"sqlite:///{tmp_path_factory.mktemp('wide')}/ledger.db"
    writer = open_writer(url)
    models = ["black-forest-labs/flux-2-klein-9b-with-a-very-long-name-of-a-variant", "模型/图像生成器-专业版" * 3, "m"]
    writer.write(
        [
            make_attempt(
                model=model,
                gateway="images.internal.corp.example:8443",
                cost=1_234_567_890_000_000,
                at_risk=99_000_000_000,
                tags='{"customer":"株式会社","team":"growth-and-marketing-emea"}',
            )
            for model in models
        ]
        + [make_attempt(model=model, cost=None, cost_reason="reported_zero_unverified") for model in models],
        {},
        [],
    )
    writer.close()
    return url


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "--since", "2026"],
        ["report", "--since", "2026", "--by", "model,tag:team,gateway", "--with-fees"],
        ["report", "--since", "2026", "--tags"],
        ["calls"],
        ["doctor"],
        ["db", "status"],
    ],
    ids=" ".join,
)
def test_what_a_command_prints_of_a_ledger_fits_the_terminal(ledger: str, arguments: list[str], width: int) -> None:
    screen = command_on_a_terminal(*arguments, "--database-url", ledger, columns=width)
    assert width >= max(map(cell_len, screen.splitlines()))
    assert "─" * 20 in screen


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("arguments", [["list", "--model", "*flux*"], ["show", "gpt-image-1"]], ids=" ".join)
def test_prices_fit_the_terminal(arguments: list[str], width: int) -> None:
    screen = command_on_a_terminal("prices", *arguments, columns=width)
    assert width >= max(map(cell_len, screen.splitlines()))
    assert "usd" in screen


@pytest.mark.slow
def test_chosen_columns_are_all_there_on_a_narrow_terminal(ledger: str) -> None:
    chosen = ["--columns", "cost_per_image,retry_cost,failure_cost,share,p50,p95"]
    screen = command_on_a_terminal("report", "--since", "2026", *chosen, "--database-url", ledger, columns=80)
    heading = screen.splitlines()[1]
    assert heading.split("  ")[0] == "model"
    assert "cost per image  retry cost  failure cost    share    p50    p95" in heading
