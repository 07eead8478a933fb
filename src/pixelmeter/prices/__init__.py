"""The bundled price book (one TOML file for each gateway or vendor), and the user's own file above it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from functools import cache
from os import PathLike
from pathlib import Path
from typing import cast

from pixelmeter.core.pricing.book import Entry, PriceBook
from pixelmeter.core.pricing.file import PriceFile, Problem, read
from pixelmeter.data_files import UnreadableFile, read_text
from pixelmeter.errors import ConfigError, PriceBookError

__all__ = ["CHECKED_ON", "book_of", "bundled", "bundled_names", "check", "checked_days", "load_price_book"]

CHECKED_ON = date(2026, 11, 27)
"""The newest `checked_on` of the bundled files, here so that a gauge of it reads none of them; `make_price_book` writes
it."""

_FOLDER = Path(__file__).parent
_CHECKED = re.compile(r"^checked_on = ([0-9-]{10})$", re.MULTILINE)


@cache
def bundled() -> PriceBook:
    """Return the book that comes with pixelmeter; its files are read when a call first needs them."""
    return PriceBook(_load)


def book_of(given: object) -> PriceBook:
    """Return a book as it is, that of a path as `load_price_book` reads it, for None the bundled one.

    Raises ConfigError for anything else.
    """
    if given is None:
        return bundled()
    if isinstance(given, PriceBook):
        return given
    if not isinstance(given, str | PathLike):
        raise ConfigError(f"price_book is a {type(given).__name__}: give a PriceBook, or the path of a price file")
    return load_price_book(cast("str | PathLike[str]", given))


def load_price_book(path: str | PathLike[str]) -> PriceBook:
    """Return the prices that come with pixelmeter, with the entries and rates of exchange of a price file above them.

    Use it where several meters share a file; one meter may have its path. Raises PriceBookError, with the line and what
    to write instead, for a file that cannot be used.
    """
    file = _read(Path(path), own=True)
    return PriceBook(_load, own=file.entries, exchange_rates=file.exchange_rates)


def check(path: str | Path) -> Sequence[Problem]:
    """Return everything that is wrong with a price file; PriceBookError where it cannot be read at all."""
    return read(_text(Path(path)), own=True).problems


@cache
def bundled_names(mentioning: str = "") -> frozenset[str]:
    """Return the gateways and vendors that the bundled book has, those only whose files have a text in them.

    All files are read much faster than one of them is understood.
    """
    files = _FOLDER.glob("*.toml")
    return frozenset(file.stem for file in files if not mentioning or mentioning in file.read_text(encoding="utf-8"))


def checked_days() -> tuple[date, date]:
    """Return on which days the bundled entries were checked against their sources, the first and the last.

    Found in the text of the files, which takes a fiftieth of the time of reading all prices.
    """
    texts = (file.read_text(encoding="utf-8") for file in _FOLDER.glob("*.toml"))
    days = [date.fromisoformat(day) for text in texts for day in _CHECKED.findall(text)]
    return min(days), max(days)


def _load(name: str) -> Sequence[Entry]:
    # Names come from the outside, such as the host of a request: only a known one becomes a path.
    return _read(_FOLDER / f"{name}.toml", own=False).entries if name in bundled_names() else ()


def _read(path: Path, *, own: bool) -> PriceFile:
    file = read(_text(path), own=own)
    if problems := file.problems:
        line, message = min(problems)
        more = f" (and {len(problems) - 1} more: pixelmeter prices check {path})" if len(problems) > 1 else ""
        raise PriceBookError(f"{path}:{line}: {message}{more}")
    return file


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except UnreadableFile as error:
        raise PriceBookError(f"price file {path} cannot be read: {error}") from None
