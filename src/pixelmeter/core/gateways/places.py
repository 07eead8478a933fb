"""Where something stands in a request or an answer: paths into documents, as profiles write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Self, cast

import msgspec

__all__ = [
    "Condition",
    "DocumentPath",
    "RequestPlace",
    "RequestPlaces",
    "ResponsePlaces",
    "is_one_of",
    "values_at",
]

_STEP = re.compile(r"[^.\[\]]+|\[\d{0,4}\]")
_PATH = re.compile(r"(?:[^.\[\]]+|\[\d{0,4}\])(?:\.[^.\[\]]+|\[\d{0,4}\])*")
_EACH_LIMIT = 10_000
_SOURCES = ("body", "path", "query", "header")


class DocumentPath(str):
    """A path into a JSON document: keys with dots between them, `[0]` for an element, `[]` for each of a list.

    `data[].url`, `usage.cost`, `output.choices[0].message`. Raises ValueError for what is no path.
    """

    __slots__ = ("steps",)

    steps: tuple[str | int | None, ...]
    """Keys, indexes, and None for each element."""

    def __new__(cls, text: str) -> Self:
        if len(text) > 200 or not _PATH.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is no path: write keys with dots, [0] for an element, [] for each")
        path = super().__new__(cls, text)
        path.steps = tuple(map(_step, _STEP.findall(text)))
        return path


def _step(text: str) -> str | int | None:
    if not text.startswith("["):
        return text
    return int(text[1:-1]) if text != "[]" else None


class RequestPlace(str):
    """A place in a request: `body.input.prompt`, `path.model`, `query.dry_run`, `header.ai-model-id` or `=constant`.

    `path.x` is what the route's pattern has as `{x}`. The fields of a form are `body.x` too. Raises ValueError for
    what is no place.
    """

    __slots__ = ("name", "path", "source")

    source: str
    """`body`, `path`, `query`, `header`, or `=` for a constant."""
    name: str
    """The name of the part, the parameter or the header, or the constant; of the body, its first key."""
    path: DocumentPath | None
    """Of the body only."""

    def __new__(cls, text: str) -> Self:
        place = super().__new__(cls, text)
        if text.startswith("="):
            place.source, place.name, place.path = "=", text[1:], None
            return place
        source, dot, rest = text.partition(".")
        if source.startswith("body[") and text[4:]:
            source, dot, rest = "body", ".", text[4:]
        if source not in _SOURCES or not dot or not rest:
            raise ValueError(
                f"{text[:80]!r} is no place in a request: "
                "write body., path., query. or header. and a name, or =constant"
            )
        place.source = source
        place.path = DocumentPath(rest) if source == "body" else None
        first = place.path.steps[0] if place.path is not None else rest
        place.name = first if isinstance(first, str) else ""
        if source == "header":
            place.name = rest.lower()
        return place


Condition = tuple[tuple[RequestPlace, tuple[str | bool | int, ...]], ...]
"""True where one of the places has one of its values."""


def is_one_of(value: object, wanted: Sequence[str | bool | int]) -> bool:
    """Return whether a value is one of those that are wanted; texts are globs, small and capital letters alike."""
    if isinstance(value, str):
        word = value[:200].casefold()
        return any(isinstance(each, str) and fnmatchcase(word, each.casefold()) for each in wanted)
    return any(type(value) is type(each) and value == each for each in wanted)


def values_at(document: object, path: DocumentPath) -> Iterator[Any]:
    """Yield what stands at a path, leaving out nulls; of a list that `[]` stands for, at most 10,000 elements."""
    steps = path.steps
    if isinstance(document, dict):
        # What stands on the way of each call is not left to the generator below.
        value = cast("dict[object, Any]", document).get(steps[0])
        if value is None:
            return iter(())
        if len(steps) == 1:
            return iter((value,))
        if len(steps) == 2 and steps[1] is None and isinstance(value, list):
            # `data[]`, and below `data[].url`: most of the others.
            return iter([each for each in cast("list[object]", value)[:_EACH_LIMIT] if each is not None])
        if len(steps) == 3 and steps[1] is None and isinstance(steps[2], str) and isinstance(value, list):
            return iter(_fields_of(cast("list[object]", value), steps[2]))
    return _values(document, steps, 0)


def _fields_of(elements: list[object], name: str) -> list[Any]:
    objects: list[Any] = [each for each in elements[:_EACH_LIMIT] if isinstance(each, dict)]
    return [found for each in objects if (found := each.get(name)) is not None]


def _values(value: Any, steps: tuple[str | int | None, ...], at: int) -> Iterator[Any]:
    while at < len(steps):
        step = steps[at]
        at += 1
        if step is None:
            if isinstance(value, list):
                for element in cast("list[object]", value)[:_EACH_LIMIT]:
                    yield from _values(element, steps, at)
            return
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(cast("list[object]", value)):
                return
            value = cast("list[object]", value)[step]
        elif isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(step)
        else:
            return
    if value is not None:
        yield value


class RequestPlaces(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a request says what decides its price: of each list of places the first that has a value counts."""

    model: tuple[RequestPlace, ...] = ()
    images: tuple[RequestPlace, ...] = ()
    """How many are asked for; several numbers of one place are added up, and without any it is one."""
    size: tuple[RequestPlace, ...] = ()
    """Text such as `1024x1024` or `2K`, or an object with `width` and `height`."""
    width: tuple[RequestPlace, ...] = ()
    height: tuple[RequestPlace, ...] = ()
    quality: tuple[RequestPlace, ...] = ()
    steps: tuple[RequestPlace, ...] = ()
    output_format: tuple[RequestPlace, ...] = ()
    partial_images: tuple[RequestPlace, ...] = ()
    service_tier: tuple[RequestPlace, ...] = ()
    input_images: tuple[RequestPlace, ...] = ()
    """What goes in: the values of all these places are counted; of a form, the files of these names."""


class ResponsePlaces(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """Where an answer has its images, and what decides their price."""

    items: tuple[DocumentPath, ...] = ()
    """The images; the first path that leads anywhere counts. An item is a text that is not empty, or an object."""
    image: tuple[DocumentPath, ...] = ()
    """Paths in an object of `items`, of which one must have a text for it to be an image."""
    required: Mapping[str, tuple[str | bool | int, ...]] = {}
    """What an item, or the document where the item is silent, must have where it has it at all."""
    model: tuple[DocumentPath, ...] = ()
    size: tuple[DocumentPath, ...] = ()
    width: tuple[DocumentPath, ...] = ()
    height: tuple[DocumentPath, ...] = ()
    quality: tuple[DocumentPath, ...] = ()
    output_format: tuple[DocumentPath, ...] = ()
    service_tier: tuple[DocumentPath, ...] = ()
    usage: tuple[DocumentPath, ...] = ()
    error_type: tuple[DocumentPath, ...] = ()
    error_code: tuple[DocumentPath, ...] = ()

    @cached_property
    def _begins(self) -> Mapping[str | int | None, frozenset[str]]:
        found: dict[str | int | None, set[str]] = {}
        for field in self.__struct_fields__:
            paths: object = getattr(self, field)
            for path in cast("tuple[DocumentPath, ...]", paths) if isinstance(paths, tuple) else ():
                found.setdefault(path.steps[0], set()).add(field)
        return {key: frozenset(fields) for key, fields in found.items()}

    def there(self, body: Mapping[str, Any]) -> set[str]:
        """Return the fields of these places that a document may have something for, by the keys that it has.

        Most answers have few keys and most places are about others: on the way of a call that is one look for all.
        """
        begins = self._begins
        found: set[str] = set()
        for key in body:
            if key in begins:
                found |= begins[key]
        return found
