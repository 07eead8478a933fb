"""What `pixelmeter prices` prints."""

from __future__ import annotations

import csv
import datetime
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main


def run(*arguments: str, prices: str | None = None) -> Result:
    return CliRunner(env={"PIXELMETER_PRICES": prices}).invoke(main, ["prices", *arguments])


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.toml"
    file.write_text('gateway = "corp"\n[[price]]\nmodel = "house/flux"\nusd_per_image = "0.0000000004"\n')
    return str(file)


def test_list_prints_the_prices_of_a_gateway_and_a_pattern() -> None:
    result = run("list", "--gateway", "openai", "--model", "dall-e-*", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(result.output)))
    assert 0 == result.exit_code
    assert {"dall-e-2", "dall-e-3"} == {row["model"] for row in rows}
    assert ["0.12"] == [row["usd"] for row in rows if (row["size"], row["quality"]) == ("1792x1024", "hd")]


def test_list_shows_ranges_as_the_file_has_them() -> None:
    rows = json.loads(run("list", "--gateway", "bedrock", "--model", "*diffusion-xl-v1", "--format", "json").output)

    assert {("<=50", "0.04"), (">50", "0.08")} == {(row["steps"], row["usd"]) for row in rows}


def test_list_finds_a_model_by_its_alias() -> None:
    rows = json.loads(run("list", "--model", "nano-banana-pro", "--format", "json").output)

    assert {"gemini-3-pro-image"} == {row["model"] for row in rows}


def test_an_alias_leads_to_every_entry_of_its_model() -> None:
    by_alias = json.loads(
        run("list", "--gateway", "openai", "--model", "gpt-image-2-2026-04-21", "--format", "json").output
    )
    by_name = json.loads(run("list", "--gateway", "openai", "--model", "gpt-image-2", "--format", "json").output)

    assert by_name == by_alias
    assert {None, "2026-04-21", "2026-10-14"} >= {row["from"] for row in by_alias} > {"2026-04-21"}


def test_list_without_a_hit_says_so() -> None:
    result = run("list", "--model", "no-such-*", "--format", "json")

    assert (0, "[]\n") == (result.exit_code, result.stdout)
    assert "No such price" in result.stderr


def test_own_prices_come_first_by_option_and_by_environment(own: str) -> None:
    by_option = json.loads(run("list", "--prices", own, "--format", "json").output)
    by_environment = json.loads(run("list", "--format", "json", prices=own).output)

    assert by_option == by_environment
    assert ("corp", "house/flux", "own") == tuple(by_option[0][key] for key in ("gateway", "model", "file"))


def test_show_spells_out_the_arithmetic_and_the_source() -> None:
    result = run("show", "meta/sam-3-1-image", "-n", "3", "--at", "2026-11-22")

    assert 0 == result.exit_code
    assert "meta/sam-3-1-image at aigateway: 0.03 USD" in result.output
    assert "3 x 0.01 usd_per_image = 0.03 USD" in result.output
    assert "source: aigateway.sh model page /models/meta/sam-3-1-image" in result.output
    assert "checked on 2026-11-22" in result.output


def test_show_says_why_a_price_is_unknown_and_what_it_may_be() -> None:
    result = run("show", "gpt-image-2", "--gateway", "openai", "--size", "1024x1024", "--at", "2026-11-22")

    assert "gpt-image-2 at openai: unknown" in result.output
    assert "missing_usage: it is billed by tokens" in result.output
    assert "0.211 USD" in result.output


def test_show_keeps_amounts_below_a_nano_dollar_exact(own: str) -> None:
    shown = json.loads(run("show", "house/flux", "-n", "2", "--prices", own, "--format", "json").output)

    assert [("0.000000001", "0.0000000008")] == [
        (answer["cost_usd"], line["amount_usd"]) for answer in shown for line in answer["lines"]
    ]


def test_show_goes_by_the_day() -> None:
    def costs(day: str) -> list[str | None]:
        options = ["--gateway", "xai", "--size", "1k", "--at", day, "--format", "json"]
        return [answer["cost_usd"] for answer in json.loads(run("show", "grok-imagine-image-quality", *options).output)]

    assert (["0.05"], ["0.04"]) == (costs("2026-11-01"), costs("2026-11-02"))


def test_show_goes_by_today_where_no_day_is_given(tmp_path: Path) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    # Not from tomorrow: it may be midnight before the command looks.
    days = {"0.3": -30, "0.2": -1, "0.5": 2}
    file = tmp_path / "dated.toml"
    file.write_text(
        'gateway = "corp"\n'
        + "".join(
            f'[[price]]\nmodel = "house/flux"\nusd_per_image = "{usd}"\n'
            f"effective_from = {today + datetime.timedelta(days=day)}\n"
            for usd, day in days.items()
        )
    )

    shown = json.loads(run("show", "house/flux", "--prices", str(file), "--format", "json").output)

    assert ["0.2"] == [answer["cost_usd"] for answer in shown]


def test_show_prices_a_model_after_its_shutdown_and_says_when_that_was() -> None:
    arguments = ["show", "dall-e-3", "--gateway", "openai", "--size", "1024x1024", "--at", "2026-11-26"]

    output = run(*arguments).output

    assert "dall-e-3 at openai: 0.04 USD" in output
    assert "to be shut down on 2026-05-12: the price holds for calls that succeed after that day too" in output


def test_show_prints_csv_with_a_row_for_each_gateway() -> None:
    rows = list(csv.DictReader(io.StringIO(run("show", "flux-2-pro", "--format", "csv").output)))

    assert {("black-forest-labs", "unknown_size"), ("kyma", "")} == {(row["gateway"], row["reason"]) for row in rows}


def test_show_of_an_unknown_model_names_similar_ones() -> None:
    result = run("show", "sam-3-1")

    assert 1 == result.exit_code
    assert "no gateway or vendor of the price book has sam-3-1; there are meta/sam-3-1-image" in result.output


def test_check_prints_each_problem_with_file_and_line_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('gateway = "g"\n[[price]]\nmodel = "m"\nusd_per_image = 0.1\n[[price]]\nmodel = "n"\n')

    result = run("check", str(file))

    assert 1 == result.exit_code
    assert [f"{file}:4:", f"{file}:5:"] == [line.split()[0] for line in result.output.splitlines()]


def test_check_of_a_sound_file_says_so(own: str) -> None:
    result = run("check", own)

    assert (0, f"{own}: nothing is wrong\n") == (result.exit_code, result.output)


def test_check_of_a_missing_file_fails_with_its_name() -> None:
    result = run("check", "/nowhere/prices.toml")

    assert 1 == result.exit_code
    assert "price file /nowhere/prices.toml cannot be read" in result.output


YUAN = """
gateway = "corp"
[[price]]
model = "house/kolors"
cny_per_image = "0.2"
shutdown_on = 2026-12-31
[[exchange_rate]]
currency = "CNY"
usd_per_unit = "0.1402"
effective_from = 2026-06-01
"""


@pytest.fixture
def yuan(tmp_path: Path) -> str:
    file = tmp_path / "yuan.toml"
    file.write_text(YUAN)
    return str(file)


def test_list_has_a_price_in_another_currency_as_its_file_has_it(yuan: str) -> None:
    (row,) = json.loads(run("list", "--gateway", "corp", "--prices", yuan, "--format", "json").output)

    assert ("cny_per_image", None, "CNY", "0.2", "2026-12-31") == tuple(
        row[key] for key in ("unit", "usd", "currency", "price", "shutdown_on")
    )


def test_a_table_has_no_column_for_what_no_row_has(own: str, yuan: str) -> None:
    plain = run("list", "--gateway", "corp", "--prices", own).output
    foreign = run("list", "--gateway", "corp", "--prices", yuan).output

    assert [False, True] == ["currency" in text and "shutdown on" in text for text in (plain, foreign)]


def test_show_says_by_which_rate_a_price_became_dollars(yuan: str) -> None:
    output = run("show", "house/kolors", "-n", "3", "--prices", yuan, "--at", "2026-06-01").output

    assert "house/kolors at corp: 0.08412 USD" in output
    assert "3 x 0.02804 usd_per_image = 0.08412 USD" in output
    assert "a CNY is 0.1402 USD since 2026-06-01: line 7 of your own file" in output
    assert "to be shut down on 2026-12-31" in output


def test_show_says_what_a_price_in_another_currency_lacks(yuan: str) -> None:
    arguments = ("show", "house/kolors", "--prices", yuan, "--at", "2026-05-31")

    assert "foreign_currency: its price is in another currency: give an [[exchange_rate]]" in run(*arguments).output
    (record,) = json.loads(run(*arguments, "--format", "json").output)
    assert (None, "foreign_currency", None) == tuple(record[key] for key in ("cost_usd", "reason", "estimate_usd"))


def test_check_knows_a_shutdown_and_a_rate_of_exchange(yuan: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(YUAN.replace("2026-12-31", '"soon"').replace('"CNY"', '"CYN"'))

    assert "nothing is wrong" in run("check", yuan).output
    assert [
        f"{wrong}:6: shutdown_on: Expected `date`, got `str`",
        f"{wrong}:8: currency: 'CYN' is no other currency of ISO 4217: did you mean CNY?",
    ] == run("check", str(wrong)).output.splitlines()
