"""One rate of exchange in a price file: what it says, or what is wrong with it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated

import msgspec

from pixelmeter.core.currency import CURRENCIES, EXCHANGE_DIGITS
from pixelmeter.core.pricetable import DATES, Wrong, unknown, wrong_fields
from pixelmeter.core.tariff import USD, ExchangeRate

__all__ = ["exchange_rate"]

_AMOUNT = re.compile(rf"\d{{1,6}}(\.\d{{1,{EXCHANGE_DIGITS}}})?", re.ASCII)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    currency: _Text
    usd_per_unit: str
    effective_from: datetime.date
    effective_to: datetime.date | None = None
    source: str = ""
    note: str = ""


# As in pricefile: the type is worked out while one thread imports this module.
msgspec.json.Decoder(_Table)

_KEYS = _Table.__struct_fields__
_FILLED = {"currency": "EUR", "usd_per_unit": "1", "effective_from": datetime.date(1970, 1, 1)}
_MISSING = {
    "currency": 'nothing says which currency this is: write currency = "CNY"',
    "usd_per_unit": 'nothing says what it is worth: write usd_per_unit = "0.1402", in USD for one unit of the currency',
    "effective_from": "nothing says since when: write effective_from = 2026-01-31, the first day of the rate",
}


def exchange_rate(table: Mapping[str, object], line: int, wrongs: list[Wrong]) -> ExchangeRate | None:
    """Return the rate of exchange that begins in a line of its file; what is wrong with it goes to `wrongs`."""
    found = [*_wrong(table)]
    wrongs += found
    if found:
        return None
    head = msgspec.convert(table, _Table, builtin_types=DATES)
    whole, _, decimals = head.usd_per_unit.partition(".")
    return ExchangeRate(
        currency=head.currency,
        amount=int(whole + decimals.ljust(EXCHANGE_DIGITS, "0")),
        text=head.usd_per_unit,
        effective_from=head.effective_from,
        effective_to=head.effective_to,
        source=head.source,
        note=head.note,
        line=line,
    )


def _wrong(table: Mapping[str, object]) -> Iterator[Wrong]:
    for key in table:
        if key not in _KEYS:
            yield Wrong(unknown(key, _KEYS), [key])
    for key, message in _MISSING.items():
        if key not in table:
            yield Wrong(message)
    yield from wrong_fields({key: value for key, value in table.items() if key in _KEYS}, _Table, _FILLED)
    currency, amount = table.get("currency"), table.get("usd_per_unit")
    if isinstance(currency, str) and currency and (currency not in CURRENCIES or currency == USD):
        close = get_close_matches(currency.upper(), CURRENCIES - {USD}, n=1)
        hint = f": did you mean {close[0]}?" if close else ', such as "CNY"'
        yield Wrong(f"currency: {currency[:80]!r} is no other currency of ISO 4217{hint}", ["currency"])
    if isinstance(amount, str) and not (_AMOUNT.fullmatch(amount) and amount.strip("0.")):
        message = f'usd_per_unit must be USD, more than 0, with at most {EXCHANGE_DIGITS} decimals, such as "0.1402"'
        yield Wrong(message, ["usd_per_unit"])
    since, until = table.get("effective_from"), table.get("effective_to")
    if type(since) is datetime.date and type(until) is datetime.date and until <= since:
        message = "effective_to must be later than effective_from: it is the first day without"
        yield Wrong(message, ["effective_to"])
