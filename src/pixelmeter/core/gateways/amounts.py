"""Where a gateway says an amount of money, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

import msgspec

from pixelmeter.core.apis.usage import NumberText
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.gateways.places import DocumentPath, is_one_of, values_at
from pixelmeter.core.text import summed
from pixelmeter.core.wire.headers import Headers

__all__ = ["AmountReader", "CostReader", "HeaderName", "Unit", "header_name", "words_at"]

_FRACTION = re.compile(r"([1-9]\d{0,17})/([1-9]\d{0,17})")
_UNITS = {"usd": (1, 1), "cents": (1, 100), "usd_ticks": (1, 10**10)}
"""Of a dollar; ticks are xAI's."""


class HeaderName(bytes):
    """The name of a header, in lower case; a profile's file has it as text."""

    __slots__ = ()


class Unit(str):
    """What an amount is counted in: `usd`, `cents`, `usd_ticks`, a fraction of a dollar such as `1/1000`, or `price`.

    `price` is the one unit that the book prices the model by. Raises ValueError for anything else.
    """

    __slots__ = ("of_usd",)

    of_usd: tuple[int, int] | None
    """Numerator and denominator; None for `price`."""

    def __new__(cls, text: str) -> Self:
        unit = super().__new__(cls, text)
        fraction = _FRACTION.fullmatch(text)
        if text == "price":
            unit.of_usd = None
        elif fraction is not None:
            unit.of_usd = int(fraction[1]), int(fraction[2])
        elif text in _UNITS:
            unit.of_usd = _UNITS[text]
        else:
            raise ValueError(f"{text[:40]!r} is no unit: write {', '.join(_UNITS)}, price, or a part such as 1/1000")
        return unit


class AmountReader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"source": "from"}):
    """One place where a gateway reports an amount of money."""

    source: Literal["header", "body"]
    name: str
    """A header, or a path in the JSON body; what several elements have (`data[].cost`) is added up."""
    unit: Unit
    zero_is_real: bool = False
    """Whether a reported 0 means free; else it proves nothing."""
    when: Mapping[str, tuple[str | bool | int, ...]] = {}
    """What the JSON body must have for this to count, one of each."""

    def __post_init__(self) -> None:
        _ = self.header, self.path, self.conditions

    @property
    def header(self) -> HeaderName | None:
        """The header; None where it is the body that tells."""
        return header_name(self.name) if self.source == "header" else None

    @property
    def path(self) -> DocumentPath | None:
        """The path in the body; None where a header tells."""
        return DocumentPath(self.name) if self.source == "body" else None

    @property
    def conditions(self) -> tuple[tuple[DocumentPath, tuple[str | bool | int, ...]], ...]:
        """Paths in the body, and the values of which each must have one."""
        return tuple((DocumentPath(path), wanted) for path, wanted in self.when.items())

    def holds(self, body: Mapping[str, Any]) -> bool:
        """Return whether the body has what this reader asks for."""
        return all(any(is_one_of(value, wanted) for value in values_at(body, path)) for path, wanted in self.conditions)

    def texts(self, headers: Headers, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the amounts that a response has in this place, as text; none where it has none."""
        if self.source == "body":
            return texts_at(body, DocumentPath(self.name))
        value = headers.get(header_name(self.name))
        return () if value is None else (value.decode("latin-1"),)

    def nano(self, texts: tuple[str, ...]) -> int | None:
        """Return the nano-dollars of the texts together; None if one is no sane amount, or the unit is not of money."""
        if self.unit.of_usd is None:
            return None
        numerator, denominator = self.unit.of_usd
        return summed(texts, NANO_PER_USD * numerator, denominator)


class CostReader(AmountReader, frozen=True):
    """One place where a gateway reports a cost."""

    plus: bool = False
    """Added to the first amount that is found; else it is one of several places, of which the first counts."""

    def texts_of(self, images: int | None, headers: Headers, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the amounts of a response with so many images; `?` stands for that of an element which has none.

        A sum over a list is the whole only where each image in it has an amount; what failed needs none.
        """
        texts = self.texts(headers, body)
        if not texts or images is None or self.source != "body" or "[]" not in self.name:
            return texts
        elements = sum(1 for _ in values_at(body, DocumentPath(self.name[: self.name.rindex("[]") + 2])))
        return texts + ("?",) * (min(elements, images) - len(texts))


def words_at(body: Mapping[str, Any], path: DocumentPath) -> tuple[str, ...]:
    """Return the texts, numbers and truths at a path of a document, as text."""
    return tuple(str(value) for value in values_at(body, path) if isinstance(value, NumberText | str | int))


def texts_at(body: Mapping[str, Any], path: DocumentPath) -> tuple[str, ...]:
    """Return the texts and numbers at a path of a document, as text."""
    return tuple(
        str(value)
        for value in values_at(body, path)
        if isinstance(value, NumberText | str | int) and not isinstance(value, bool)
    )


def header_name(text: object) -> HeaderName:
    """Return the name of a header as it is looked up; ValueError for what is none."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(f"{text!r} is not the name of a header")
    return HeaderName(text.lower().encode())
