"""A price file of one's own that cannot be used is refused with its name, its line and a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.core.pricing.book import Consumption
from pixelmeter.errors import PriceBookError
from pixelmeter.prices import load_price_book
from tests.factories import STARTED_AT
from tests.textfiles import UNREADABLE, UNUSABLE

ENTRY = '[[price]]\nmodel = "m"\nusd_per_image = "0.5"\n'


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_is_no_toml_is_refused_with_the_line(tmp_path: Path, kind: str) -> None:
    text, told = UNUSABLE[kind]
    file = tmp_path / "prices.toml"
    file.write_text(text)

    with pytest.raises(PriceBookError, match=f"prices.toml{told}"):
        load_price_book(file)


@pytest.mark.parametrize(
    "text",
    [
        "default_steps = 0x" + "f" * 5000,
        "default_steps = " + "9" * 4000,
        "usd_per_image = 0x" + "f" * 5000,
        "output_image_tokens_per_image = 0x" + "f" * 5000,
        "model" + ".a" * 5000 + " = 1",
        "usd_per_image_by_size" + ".a" * 5000 + " = '1'",
    ],
)
def test_a_value_of_any_size_and_depth_is_refused_with_the_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(f'gateway = "g"\n[[price]]\n{text}\n')

    with pytest.raises(PriceBookError, match=r"prices\.toml:[23]: "):
        load_price_book(file)


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_text_file_is_refused_at_once_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    file = tmp_path / "prices.toml"
    told = f"price file {file} cannot be read: {UNREADABLE[kind](file)}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELMETER_PRICES", str(file))

    for make in (lambda: load_price_book(file), pixelmeter.Meter):
        with pytest.raises(PriceBookError) as refused:
            make()
        assert told in str(refused.value)
    for arguments in (["prices", "check", str(file)], ["prices", "list"], ["prices", "show", "m"], ["doctor"]):
        result = CliRunner().invoke(main, arguments)
        assert 1 == result.exit_code, result.output
        assert told in result.output


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path, ends: str, mark: bytes) -> None:
    file = tmp_path / "prices.toml"
    file.write_bytes(mark + f'gateway = "g"\n{ENTRY}'.replace("\n", ends).encode())

    quote = load_price_book(file).quote(Consumption(images=1), gateway="g", model="m", at=STARTED_AT)

    assert 500_000_000 == quote.image_cost


def test_an_empty_file_has_no_prices(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.touch()
    assert () == tuple(load_price_book(file).own_gateways)


def test_the_price_of_a_host_beyond_ascii_is_found_by_the_host_of_its_url(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(f'gateway = "bücher.example"\n{ENTRY}', encoding="utf-8")

    quote = load_price_book(file).quote(
        Consumption(images=1), gateway="xn--bcher-kva.example", model="m", at=STARTED_AT
    )

    assert 500_000_000 == quote.image_cost
