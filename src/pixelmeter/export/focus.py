"""FOCUS, the FinOps Open Cost and Usage Specification: one row for each meter of an attempt whose cost is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from pixelmeter.core.pricing.parts import Part
from pixelmeter.core.pricing.tariff import IMAGE_UNITS, TOKEN_UNITS, ImageUnit, TokenUnit
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.text import exact_usd, half_even
from pixelmeter.export.formats import csv_line, quoted, quoted_name
from pixelmeter.export.tables import Table

__all__ = ["METERS", "VERSIONS", "FocusColumn", "FocusRows", "FocusVersion", "columns_of"]

FocusVersion = Literal["1.4", "1.2"]
VERSIONS: tuple[FocusVersion, ...] = ("1.4", "1.2")

_HOUR = timedelta(hours=1)
_MILLION = 1_000_000
_PRECISE = Context(prec=60)
# Of which there may be as many as attempts.
_UNIQUE = ("Tags", "x_AttemptId", "x_CallId")
_PRICE_DIGITS = Decimal("1e-18")


class FocusColumn(NamedTuple):
    """A column of the export."""

    name: str
    holds: str
    versions: tuple[FocusVersion, ...] = VERSIONS
    is_bare: bool = False
    """A number, which has no quotes."""


COLUMNS: tuple[FocusColumn, ...] = (
    FocusColumn("BilledCost", "the cost of the meter; those of an attempt add up to its cost", is_bare=True),
    FocusColumn("BillingAccountId", "who bills: the gateway, or the vendor where the caller brought its key"),
    FocusColumn("BillingAccountName", "the same"),
    FocusColumn("BillingCurrency", "USD"),
    FocusColumn("BillingPeriodEnd", "the end of the UTC month"),
    FocusColumn("BillingPeriodStart", "the UTC month in which the attempt started"),
    FocusColumn("ChargeCategory", "Usage"),
    FocusColumn("ChargeClass", "empty: a row says what the attempt costs as known now, corrections included"),
    FocusColumn("ChargeDescription", "operation, model and meter"),
    FocusColumn("ChargeFrequency", "Usage-Based"),
    FocusColumn("ChargePeriodEnd", "the end of that hour"),
    FocusColumn("ChargePeriodStart", "the UTC hour in which the attempt started"),
    FocusColumn("ConsumedQuantity", "as PricingQuantity", is_bare=True),
    FocusColumn("ConsumedUnit", "as PricingUnit"),
    FocusColumn("ContractedCost", "as ListCost", is_bare=True),
    FocusColumn("ContractedUnitPrice", "as ListUnitPrice", is_bare=True),
    FocusColumn("EffectiveCost", "as BilledCost", is_bare=True),
    FocusColumn("HostProviderName", "the vendor behind the gateway, where it is known", ("1.4",)),
    FocusColumn("InvoiceIssuerName", "as BillingAccountId"),
    FocusColumn("ListCost", "unit price x quantity, not rounded; BilledCost without a unit price", is_bare=True),
    FocusColumn("ListUnitPrice", "USD for one unit by the price book, with a region's surcharge", is_bare=True),
    FocusColumn("PricingCategory", "Standard where there is a unit price"),
    FocusColumn("PricingQuantity", "how many units", is_bare=True),
    FocusColumn("PricingUnit", "Images, Tokens, Megapixels, Steps, Tiles or Requests"),
    FocusColumn("ProviderName", "the gateway", ("1.2",)),
    FocusColumn("PublisherName", "the vendor behind the gateway, else the gateway", ("1.2",)),
    FocusColumn("ServiceCategory", "AI and Machine Learning"),
    FocusColumn("ServiceName", "Image generation"),
    FocusColumn("ServiceProviderName", "the gateway", ("1.4",)),
    FocusColumn("ServiceSubcategory", "Generative AI"),
    FocusColumn("SkuId", "the model"),
    FocusColumn("SkuMeter", "what is counted, such as output image tokens"),
    FocusColumn("SkuPriceDetails", "size and quality, where there is a unit price"),
    FocusColumn("SkuPriceId", "the entry of the price book and its key"),
    FocusColumn("Tags", "the tags of the attempt"),
    FocusColumn("x_AttemptId", "the id of the attempt"),
    FocusColumn("x_CallId", "the id of its call"),
    FocusColumn("x_CostSource", "priced, reported or reconciled"),
    FocusColumn("x_Images", "images delivered, on the first row of an attempt", is_bare=True),
    FocusColumn("x_Outcome", "how the attempt ended"),
)


class Meter(NamedTuple):
    """What a key of a price counts."""

    unit: str
    name: str
    per: int = 1
    """How many of what is counted make one of the unit."""


METERS: Mapping[ImageUnit | TokenUnit, Meter] = {
    "usd_per_request": Meter("Requests", "requests"),
    "usd_per_image": Meter("Images", "output images"),
    "usd_per_megapixel": Meter("Megapixels", "output megapixels", _MILLION),
    "usd_per_started_megapixel": Meter("Megapixels", "started output megapixels"),
    "usd_per_first_megapixel": Meter("Megapixels", "first output megapixels"),
    "usd_per_extra_megapixel": Meter("Megapixels", "further output megapixels"),
    "usd_per_step": Meter("Steps", "steps"),
    "usd_per_tile_512": Meter("Tiles", "output tiles"),
    "usd_per_tile_512_step": Meter("Steps", "steps of output tiles"),
    "usd_per_input_image": Meter("Images", "input images"),
    "usd_per_further_input_image": Meter("Images", "further input images"),
    "usd_per_input_megapixel": Meter("Megapixels", "input megapixels"),
    "usd_per_input_tile_512": Meter("Tiles", "input tiles"),
    "usd_per_input_tile_512_step": Meter("Steps", "steps of input tiles"),
    "usd_per_1m_output_image_tokens": Meter("Tokens", "output image tokens"),
    "usd_per_1m_output_text_tokens": Meter("Tokens", "output text tokens"),
    "usd_per_1m_input_text_tokens": Meter("Tokens", "input text tokens"),
    "usd_per_1m_cached_input_text_tokens": Meter("Tokens", "cached input text tokens"),
    "usd_per_1m_input_image_tokens": Meter("Tokens", "input image tokens"),
    "usd_per_1m_cached_input_image_tokens": Meter("Tokens", "cached input image tokens"),
}
_METERS: Mapping[str, Meter] = {unit: METERS[unit] for unit in (*IMAGE_UNITS, *TOKEN_UNITS)}

_parts_of = msgspec.json.Decoder(list[Part]).decode


class _Share(NamedTuple):
    """The part of an attempt's cost that one meter has."""

    part: Part
    meter: Meter
    nano: int


def columns_of(version: FocusVersion) -> tuple[FocusColumn, ...]:
    """Return the columns of a version of the specification, in order."""
    return tuple(column for column in COLUMNS if version in column.versions)


class FocusRows:
    """FOCUS as CSV. An attempt of unknown cost has no place in it, nor one that was not billed: both are counted."""

    def __init__(self, table: Table, file: BinaryIO, version: FocusVersion) -> None:
        self.unknown = 0
        """How many attempts are left out because their cost is not known."""
        self.not_billed = 0
        """How many are left out because they were not billed and cost nothing."""
        self._file = file
        self._names = table.source.columns
        self._columns = columns_of(version)
        file.write(csv_line([quoted(column.name) for column in self._columns]).encode())

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        lines: list[str] = []
        for row in rows:
            attempt = dict(zip(self._names, row, strict=True))
            if attempt["cost"] is None:
                self.unknown += 1
            elif attempt["cost"] == 0 and attempt["billing"] == "not_billed":
                self.not_billed += 1
            else:
                lines += map(self._line, _charges(attempt))
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass

    def _line(self, charge: Mapping[str, str]) -> str:
        cells: list[str] = []
        for column in self._columns:
            value = charge.get(column.name, "")
            if value and not column.is_bare:
                value = quoted(value) if column.name in _UNIQUE else quoted_name(value)
            cells.append(value)
        return csv_line(cells)


def _charges(attempt: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    shared = _shared(attempt)
    images = "" if attempt["images"] is None else str(attempt["images"])
    for number, own in enumerate(_meters(*(attempt[name] for name in _DECIDES))):
        yield shared | own | {"x_Images": "" if number else images}


_DECIDES = ("priced_parts", "cost", "token_cost", "image_cost", "operation", "model", "size", "quality")


@lru_cache(maxsize=512)
def _meters(
    parts: str | None,
    cost: int,
    token_cost: int | None,
    image_cost: int | None,
    operation: str,
    model: str,
    size: str | None,
    quality: str | None,
) -> tuple[dict[str, str], ...]:
    """Return what each row of an attempt has of its own."""
    shares = _shares(parts, cost, token_cost, image_cost)
    if not shares:
        amount = exact_usd(cost)
        whole = dict.fromkeys(("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"), amount)
        return (whole | {"ChargeDescription": f"{operation} {model}".rstrip(), "SkuId": model},)
    details = {name: value for name, value in (("x_Size", size), ("x_Quality", quality)) if value}
    told = json.dumps(details, ensure_ascii=False) if details else ""
    return tuple(_row(share, operation, told) for share in shares)


def _row(share: _Share, operation: str, details: str) -> dict[str, str]:
    part, meter, nano = share
    exact = Decimal(int(part.atto) * (_MILLION + part.surcharge)).scaleb(-24, _PRECISE)
    quantity = Decimal(part.quantity) / meter.per
    cost, product, price = exact_usd(nano), _number(exact), _number(_PRECISE.divide(exact, quantity))
    return {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ContractedCost": product,
        "ListCost": product,
        "ChargeDescription": f"{operation} {part.model}, {meter.name}",
        "ConsumedQuantity": _number(quantity),
        "ConsumedUnit": meter.unit,
        "ContractedUnitPrice": price,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingQuantity": _number(quantity),
        "PricingUnit": meter.unit,
        "SkuId": part.model,
        "SkuMeter": meter.name,
        "SkuPriceDetails": details,
        "SkuPriceId": f"{part.price_id}/{part.unit}",
    }


def _shared(attempt: Mapping[str, Any]) -> dict[str, str]:
    gateway, vendor = attempt["gateway"], attempt["provider"]
    biller = vendor or gateway if attempt["byok"] else gateway
    return _periods(attempt["started_at"] // _HOUR_IN_MICROSECONDS) | {
        "BillingAccountId": biller,
        "BillingAccountName": biller,
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "HostProviderName": vendor or "",
        "InvoiceIssuerName": biller,
        "ProviderName": gateway,
        "PublisherName": vendor or gateway,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Image generation",
        "ServiceProviderName": gateway,
        "ServiceSubcategory": "Generative AI",
        "Tags": attempt["tags"],
        "x_AttemptId": attempt["id"],
        "x_CallId": attempt["call_id"],
        "x_CostSource": attempt["cost_source"],
        "x_Outcome": attempt["outcome"],
    }


_HOUR_IN_MICROSECONDS = 3_600_000_000


@lru_cache(maxsize=1024)
def _periods(hour: int) -> dict[str, str]:
    start = moment_of(hour * _HOUR_IN_MICROSECONDS)
    month = start.replace(day=1, hour=0)
    return {
        "ChargePeriodStart": _utc(start),
        "ChargePeriodEnd": _utc(start + _HOUR),
        "BillingPeriodStart": _utc(month),
        "BillingPeriodEnd": _utc((month + timedelta(days=31)).replace(day=1)),
    }


def _shares(text: str | None, cost: int, token_cost: int | None, image_cost: int | None) -> list[_Share]:
    """Return what the meters of an attempt have of its cost; nothing where they do not come to just that cost."""
    if text is None or cost not in (token_cost, image_cost):
        return []
    of = "token_cost" if cost == token_cost else "image_cost"
    parts = [part for part in _parts(text) if part.of in (of, "both") and part.quantity]
    exact = [int(part.atto) * (_MILLION + part.surcharge) for part in parts]
    if not parts or half_even(sum(exact), _YOCTO_PER_NANO) != cost or any(part.unit not in _METERS for part in parts):
        return []
    nano = [half_even(amount, _YOCTO_PER_NANO) for amount in exact]
    # What rounding one by one has gained or lost.
    nano[exact.index(max(exact))] += cost - sum(nano)
    return [_Share(part, _METERS[part.unit], amount) for part, amount in zip(parts, nano, strict=True)]


# 1e-24 USD, in which a part with its surcharge is a whole number.
_YOCTO_PER_NANO = 10**15


def _parts(text: str) -> list[Part]:
    try:
        return _parts_of(text)
    except msgspec.MsgspecError:
        # A later version may have other parts: the attempt is one row then.
        return []


def _number(value: Decimal) -> str:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -18:
        value = value.quantize(_PRICE_DIGITS, context=_PRECISE)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _utc(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
