"""What a usage says: each token in its own class, or what keeps the bill from being read whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from pixelmeter.core.text import bounded, count, whole

__all__ = [
    "Block",
    "Doubt",
    "NumberText",
    "Usage",
    "UsageReader",
    "blocks_of",
    "chat_usage_of",
    "has_count",
    "has_usage",
    "usage_of",
    "worse",
]

Doubt = Literal["unparsed", "unpriced_tokens", "unpriced_usage"]
"""`unpriced_tokens`: it has tokens of a class that nothing is known of; `unpriced_usage`: it has something else that
may be billed; `unparsed`: it contradicts itself."""
_DOUBTS: tuple[Doubt, ...] = ("unpriced_tokens", "unpriced_usage", "unparsed")


class NumberText(str):
    """A JSON number with a fraction or exponent, as its text: nothing becomes a float on the way."""

    __slots__ = ()


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens by class; None is what the response does not say."""

    input_text: int | None = None
    input_image: int | None = None
    cached: int | None = None
    """Those of the input that came from a cache."""
    cached_text: int | None = None
    """Those of `input_text`, where the response tells them from images."""
    cached_image: int | None = None
    """Those of `input_image`, where the response tells them from text."""
    output_text: int | None = None
    """Reasoning included: it is billed as text."""
    output_image: int | None = None
    doubt: Doubt | None = None
    """Why the tokens above may be only a part of the bill."""

    @property
    def is_empty(self) -> bool:
        """Whether it has no token at all."""
        return not (self.input_text or self.input_image or self.output_text or self.output_image)


class Block(msgspec.Struct, frozen=True, gc=False):
    """A usage of another model that worked on the response, such as the author of an SVG."""

    model: str | None
    usage: Usage


_TOTALS = (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"), ("total_tokens",))
_INPUT_DETAILS = ("input_tokens_details", "prompt_tokens_details")
_OUTPUT_DETAILS = ("output_tokens_details", "completion_tokens_details")
_CACHED_DETAILS = "cached_tokens_details"
_MICROSOFTS = ("num_output_tokens", "num_input_text_tokens", "num_input_image_tokens")
_KNOWN = frozenset(
    {
        *(name for names in _TOTALS for name in names),
        *_INPUT_DETAILS,
        *_OUTPUT_DETAILS,
        _CACHED_DETAILS,
        "cached_tokens",
        "reasoning_tokens",
        "model",
    }
)
_KNOWN_INPUT = frozenset({"text_tokens", "image_tokens", "cached_tokens", _CACHED_DETAILS})
_KNOWN_CACHED = frozenset({"text_tokens", "image_tokens", "cached_text_tokens", "cached_image_tokens"})
_KNOWN_OUTPUT = frozenset({"text_tokens", "image_tokens", "reasoning_tokens"})
# What is counted and never billed beside tokens or images: the images, their sizes, sums of money and times.
_FREE = re.compile(
    r"n|(.*_)?images?(_(count|num|number))?|(.*_)?(costs?|price|usd|credits?|currency)(_.*)?"
    r"|(.*_)?(time|duration|latency|seconds|ms|timestamp|created|speed|width|height|pixels|megapixels|size|resolution|steps)"
)
_LONGEST_NAME = 64
_NOTHING: Mapping[str, Any] = {}
_DEEPEST = 8


def usage_of(fields: Mapping[str, Any], *, input_images: int, makes: Literal["image", "text"] = "image") -> Usage:
    """Read a usage; `makes` is the kind of those output tokens that the response does not tell apart."""
    return UsageReader().usage(_usual(fields), input_images, makes)


def _usual(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a usage with OpenAI's names, where it has those of Microsoft's own image models."""
    if not any(name in fields for name in _MICROSOFTS) or any(name in fields for names in _TOTALS for name in names):
        return fields
    output, text, image = (fields.get(name) for name in _MICROSOFTS)
    rest = {name: value for name, value in fields.items() if name not in _MICROSOFTS}
    return rest | {"output_tokens": output, _INPUT_DETAILS[0]: {"text_tokens": text, "image_tokens": image}}


def chat_usage_of(fields: Mapping[str, Any], *, input_images: int, images: bool, text: bool) -> Usage:
    """Read the usage of a chat completion; `images` and `text` say what the answer has.

    Where the usage does not tell image tokens from text, those of an answer of one kind are of that kind, reasoning
    apart; those of an answer of both are of neither.
    """
    return UsageReader().chat(fields, input_images, images=images, text=text)


def blocks_of(body: Mapping[str, Any]) -> tuple[tuple[Block, ...], Doubt | None]:
    """Read what stands beside the usage in a response: `svg_usage`, and every other usage with a count in it."""
    blocks: list[Block] = []
    doubt: Doubt | None = None
    for name, value in body.items():
        if name == "usage" or "usage" not in name.lower() or not has_count(value):
            continue
        if name == "svg_usage" and isinstance(value, dict):
            fields = cast("Mapping[str, Any]", value)
            blocks.append(Block(bounded(fields.get("model")), usage_of(fields, input_images=0, makes="text")))
        else:
            doubt = "unpriced_usage"
    return tuple(blocks), doubt


def worse(one: Doubt | None, other: Doubt) -> Doubt:
    """Return the more serious of two doubts about a bill."""
    return other if one is None or _DOUBTS.index(one) < _DOUBTS.index(other) else one


def has_usage(item: object) -> bool:
    """Return whether an image of a response, or what stands beside them, has a usage of its own."""
    if isinstance(item, dict):
        for name, value in cast("Mapping[str, Any]", item).items():
            if "usage" in name.lower() and has_count(value):
                return True
    return False


class UsageReader:
    """One usage on its way into classes."""

    def __init__(self) -> None:
        self._doubt: Doubt | None = None

    def usage(self, fields: Mapping[str, Any], input_images: int, makes: Literal["image", "text"]) -> Usage:
        input_total, output_total, total = [self._count(fields, *names) for names in _TOTALS]
        inputs, outputs = self._details(fields, *_INPUT_DETAILS), self._details(fields, *_OUTPUT_DETAILS)
        split = self._details(inputs, _CACHED_DETAILS) or self._details(fields, _CACHED_DETAILS)
        self._unknown(fields, _KNOWN)
        for details, known in ((inputs, _KNOWN_INPUT), (split, _KNOWN_CACHED), (outputs, _KNOWN_OUTPUT)):
            self._unknown(details, known, of_tokens=True)
        text, image = self._input(inputs, input_total, input_images)
        cached = self._count(inputs, "cached_tokens")
        cached = self._count(fields, "cached_tokens") if cached is None else cached
        cached, cached_text, cached_image = self._cached(cached, split, text, image)
        reasoning = self._count(outputs, "reasoning_tokens") or self._count(fields, "reasoning_tokens") or 0
        # 0 is what gateways send that do not add up.
        rest = total - input_total if total and input_total is not None else None
        output_text, output_image = self._output(outputs, output_total, reasoning, rest, makes)
        return Usage(
            input_text=text,
            input_image=image,
            cached=cached,
            cached_text=cached_text,
            cached_image=cached_image,
            output_text=output_text,
            output_image=output_image,
            doubt=self._doubt,
        )

    def chat(self, fields: Mapping[str, Any], input_images: int, *, images: bool, text: bool) -> Usage:
        outputs = self._details(fields, *_OUTPUT_DETAILS)
        given, total, whole = [self._count(fields, *names) for names in _TOTALS]
        made = self._count(outputs, "image_tokens")
        if total is None or self._count(outputs, "text_tokens") is not None:
            return self.usage(fields, input_images, "image" if images else "text")
        reasoning = self._count(outputs, "reasoning_tokens") or self._count(fields, "reasoning_tokens") or 0
        if not made and images:
            # A 0 is what gateways send that do not tell.
            if text:
                self._say("unparsed")
            inside = reasoning if given is not None and whole == given + total else 0
            made = max(total - inside, 0)
        split = {"image_tokens": made or 0, "text_tokens": max(total - (made or 0), 0)}
        told = dict.fromkeys(_OUTPUT_DETAILS) | {_OUTPUT_DETAILS[0]: {**outputs, **split}}
        return self.usage({**fields, **told}, input_images, "image")

    def _input(self, details: Mapping[str, Any], total: int | None, images: int) -> tuple[int | None, int | None]:
        text, image = self._count(details, "text_tokens"), self._count(details, "image_tokens")
        if text is None and image is None:
            # Where images went in, nobody knows how many of the tokens are theirs.
            return (None if images else total), None
        self._compare((text or 0) + (image or 0), total)
        return text, image

    def _cached(
        self, cached: int | None, split: Mapping[str, Any], text: int | None, image: int | None
    ) -> tuple[int | None, int | None, int | None]:
        cached_text = self._count(split, "text_tokens", "cached_text_tokens")
        cached_image = self._count(split, "image_tokens", "cached_image_tokens")
        if cached_text is not None or cached_image is not None:
            together = (cached_text or 0) + (cached_image or 0)
            self._compare(together, cached)
            cached = together if cached is None else cached
        elif cached and not (text and image):
            # All of the input is of one class, so what came from the cache is of it too.
            cached_text, cached_image = (None, cached) if image else (cached if text else None, None)
        if (cached_text or 0) > (text or 0) or (cached_image or 0) > (image or 0):
            self._say("unparsed")
        return cached, cached_text, cached_image

    def _output(
        self,
        details: Mapping[str, Any],
        total: int | None,
        reasoning: int,
        rest: int | None,
        makes: Literal["image", "text"],
    ) -> tuple[int | None, int | None]:
        """Return text and images; `rest` is what the sum over all tokens leaves for them."""
        text, image = self._count(details, "text_tokens"), self._count(details, "image_tokens")
        if text is None and image is None:
            text, image = (total, None) if makes == "text" else (None, total)
        named = (text or 0) + (image or 0)
        if reasoning and total in (named, named + reasoning):
            # It is a part of the text, or stands apart from it, inside the total or outside.
            if total != named or rest == total + reasoning:
                total = named = named + reasoning
                text = (text or 0) + reasoning
            elif reasoning > (text or 0):
                self._say("unpriced_tokens")
        elif reasoning > (text or 0):
            self._say("unpriced_tokens")
        self._compare(named, total)
        if total is not None:
            self._compare(total, rest)
        return text, image

    def _compare(self, parts: int, total: int | None) -> None:
        if total is not None and parts != total:
            self._say("unpriced_tokens" if parts < total else "unparsed")

    def _say(self, doubt: Doubt) -> None:
        self._doubt = worse(self._doubt, doubt)

    def _count(self, fields: Mapping[str, Any], name: str, other: str | None = None) -> int | None:
        """Return the count under one of two names; several gateways send both, and a 0 where they have none."""
        found = self._one(fields.get(name))
        second = None if other is None else self._one(fields.get(other))
        if found and second and found != second:
            self._say("unparsed")
        return found if second is None else found or second

    def _one(self, value: object) -> int | None:
        if value is None:
            return None
        number = _number(value)
        if number is None:
            self._say("unparsed")
        return number

    def _details(self, fields: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
        found: dict[str, Any] | None = None
        for name in names:
            details = fields.get(name)
            if details is None:
                continue
            if isinstance(details, dict):
                each = cast("dict[str, Any]", details)
                found = each if found is None else self._merged(found, each)
            elif has_count(details):
                self._say("unpriced_tokens")
        return _NOTHING if found is None else found

    def _merged(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        for name in one.keys() & other.keys():
            if one[name] and other[name] and one[name] != other[name]:
                self._say("unparsed")
        return {**other, **{name: value for name, value in one.items() if value or not other.get(name)}}

    def _unknown(self, fields: Mapping[str, Any], known: frozenset[str], *, of_tokens: bool = False) -> None:
        for name in fields.keys() - known:
            if not has_count(fields[name]):
                continue
            word = name[:_LONGEST_NAME].lower()
            if "token" in word:
                self._say("unpriced_tokens")
            elif len(name) > _LONGEST_NAME or not _FREE.fullmatch(word):
                self._say("unpriced_tokens" if of_tokens else "unpriced_usage")


def _number(value: object) -> int | None:
    return whole(value) if isinstance(value, NumberText) else count(value)


def has_count(value: object) -> bool:
    """Return whether there is a number other than 0 in it, at any depth."""
    pending: list[tuple[object, int]] = [(value, 0)]
    while pending:
        each, depth = pending.pop()
        if depth > _DEEPEST:
            return True
        if isinstance(each, dict):
            pending += [(inner, depth + 1) for inner in cast("dict[str, object]", each).values()]
        elif isinstance(each, list):
            pending += [(inner, depth + 1) for inner in cast("list[object]", each)]
        elif not isinstance(each, bool) and isinstance(each, int | NumberText) and _number(each) != 0:
            return True
    return False
