"""Reads what an image request asks for, where its route says that it stands. Total: bad input is a missing field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import parse_qsl

import msgspec

from pixelmeter.core.apis.reader import MIXED, ImageRequest, json_of, loose_json_of, one_of
from pixelmeter.core.gateways.places import Condition, RequestPlace, RequestPlaces, is_one_of, values_at
from pixelmeter.core.text import bounded, count
from pixelmeter.core.wire.forms import Fields
from pixelmeter.core.wire.headers import Headers

__all__ = ["Asked", "job_id_of", "may_ask", "may_ask_by_url", "request_of"]

_REMEMBERED_LIMIT = 4096
_IMAGES_LIMIT = 10_000
_NUMBER_LIMIT = 40
_WORD_LIMIT = 40
_QUERY_LIMIT = 4096
_MODELS_LIMIT = 8
_SEARCHED = 32_768
_SHORTEST_SIGN = 3
_WILD = re.compile(r"[*?\[\]/\"\\]")


class Asked(NamedTuple):
    """A request as it is about to leave."""

    parts: tuple[tuple[str, str], ...]
    """What the path has in the places of the route's pattern."""
    query: bytes
    headers: Headers
    document: bytes | None
    """The JSON document, its long strings cut; None where there is none."""
    fields: Fields
    """Those of a form: pairs of a name and its text, None for a file, whose content is never touched."""


class AskingLike(Protocol):
    """What a route says of when a request is its own."""

    def __hash__(self) -> int: ...
    @property
    def asks(self) -> tuple[Condition, ...]: ...
    @property
    def exclusions(self) -> Condition: ...


class RouteLike(AskingLike, Protocol):
    """What a route says of its requests."""

    @property
    def request(self) -> RequestPlaces: ...
    @property
    def size_names(self) -> Mapping[str, str]: ...


class FollowLike(AskingLike, Protocol):
    """What a route about jobs says of its requests."""

    @property
    def job_id(self) -> tuple[RequestPlace, ...]: ...


def job_id_of(route: FollowLike, asked: Asked) -> str | None:
    """Return which job a request is about; None for a request of another kind, or about several jobs."""
    kind = _asking_of(route, route.job_id)
    body = _Form(asked.fields) if asked.document is None else _Json(kind, kind.decode(asked.document))
    values = _Values(asked, body)
    if not values.ask(route):
        return None
    named = {word for value in values.first(route.job_id) if (word := bounded(value))}
    return named.pop() if len(named) == 1 else None


def request_of(route: RouteLike, asked: Asked, named: tuple[str, ...] = ()) -> ImageRequest | None:
    """Read a request, and which of the fields `named` its body has; None where it asks for no image."""
    if asked.document is None:
        return _request(route, asked, _Form(asked.fields), named)
    if route.asks:
        # First what tells it from other requests: a chat that asks for no image is not looked through.
        asking = _asking_of(route)
        if not _Values(asked, _Json(asking, asking.decode(asked.document))).ask(route):
            return None
    kind = _kind_of(route, named)
    body = kind.decode(asked.document)
    if len(asked.document) > _REMEMBERED_LIMIT or kind.looks_outside or kind.is_array or body is kind.nothing:
        return _request(route, asked, _Json(kind, body), named)
    try:
        return _remembered_request(route, asked.parts, body, named)
    except TypeError:  # a list or an object in it
        return _request(route, asked, _Json(kind, body), named)


def may_ask(route: AskingLike, parts: tuple[tuple[str, str], ...], content: bytes) -> bool:
    """Return whether a large body may meet the route's conditions, by a search of its first and last 32 kB.

    Chats have megabytes of text and pictures in them, and what asks for an image stands before or behind those. A
    smaller body is not searched: it is read.
    """
    if len(content) <= 2 * _SEARCHED:
        return True
    named = dict(parts)
    text = b""
    for condition, signs in zip(route.asks, _signs_of(route), strict=True):
        if signs is None or any(
            place.source == "path" and is_one_of(named.get(place.name), wanted) for place, wanted in condition
        ):
            continue
        text = text or (content[:_SEARCHED] + b"\n" + content[-_SEARCHED:]).lower()
        if not any(sign in text for sign in signs):
            return False
    return True


def may_ask_by_url(route: AskingLike, parts: tuple[tuple[str, str], ...], query: bytes) -> bool:
    """Return whether a request may meet the route's conditions, as far as path and query tell."""
    values = _Values(Asked(parts, query, {}, None, ()), _Form(()))
    told = (asked for asked in route.asks if all(place.source in ("path", "query") for place, _ in asked))
    return all(map(values.fits, told)) and not values.fits(route.exclusions)


@lru_cache(maxsize=1024)
def _signs_of(route: AskingLike) -> tuple[tuple[bytes, ...] | None, ...]:
    """Return for each condition the words of which a body must have one to meet it; None where that is not known."""
    return tuple(_signs(condition) for condition in route.asks)


def _signs(condition: Condition) -> tuple[bytes, ...] | None:
    signs: list[bytes] = []
    for place, wanted in condition:
        if place.source == "path":
            continue
        words = [max(_WILD.split(each.lower()), key=len) if isinstance(each, str) else "" for each in wanted]
        if place.source != "body" or not all(len(word) >= _SHORTEST_SIGN and word.isascii() for word in words):
            return None
        signs += [word.encode() for word in words]
    return tuple(dict.fromkeys(signs))


class _Kind:
    """The bodies of a route: which of their keys are looked at."""

    def __init__(self, places: Sequence[RequestPlace], named: tuple[str, ...] = ()) -> None:
        keys = dict.fromkeys((*[place.name for place in places if place.source == "body"], *named))
        self.looks_outside = any(place.source in ("query", "header") for place in places)
        self.is_array = any(place.source == "body" and place.name == "" for place in places)
        """Whether the body is a list: then all of it is looked at."""
        self.attributes = {key: f"field_{at}" for at, key in enumerate(keys) if key}
        struct = msgspec.defstruct(
            "_Asked",
            [(attribute, Any, None) for attribute in self.attributes.values()],
            rename={attribute: key for key, attribute in self.attributes.items()},
            frozen=True,
            gc=False,
        )
        self._type: Any = Any if self.is_array else struct
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._type).decode
        self.nothing: Any = None if self.is_array else struct()

    def decode(self, document: bytes) -> Any:
        try:
            return self._decode(document)
        except (msgspec.MsgspecError, ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
            return loose_json_of(document, float, self._type) or self.nothing


@lru_cache(maxsize=1024)
def _kind_of(route: RouteLike, named: tuple[str, ...]) -> _Kind:
    return _Kind([*_places_of(route.request), *_asking_places(route)], named)


@lru_cache(maxsize=1024)
def _asking_of(route: AskingLike, places: tuple[RequestPlace, ...] = ()) -> _Kind:
    return _Kind([*places, *_asking_places(route)])


def _asking_places(route: AskingLike) -> Iterator[RequestPlace]:
    return (place for place, _ in (*chain(*route.asks), *route.exclusions))


def _places_of(places: RequestPlaces) -> Iterator[RequestPlace]:
    for name in places.__struct_fields__:
        yield from getattr(places, name)


class _Json:
    """The values of a JSON body."""

    is_text = False

    def __init__(self, kind: _Kind, body: Any) -> None:
        self._kind, self._body, self.is_unread = kind, body, body is kind.nothing

    def values(self, place: RequestPlace) -> Iterator[Any]:
        assert place.path is not None
        if self._kind.is_array:
            return values_at(self._body, place.path)
        return values_at({place.name: getattr(self._body, self._kind.attributes[place.name])}, place.path)

    def has(self, field: str) -> bool:
        kind = self._kind
        return not kind.is_array and getattr(self._body, kind.attributes[field]) not in (None, "", False, "false")

    def has_file(self, place: RequestPlace) -> bool:
        return False

    def inputs(self, places: Sequence[RequestPlace]) -> int:
        return sum(1 for place in places for value in self.values(place) for _ in _each(value))


class _Form:
    """The fields of a form."""

    is_text, is_unread = True, False

    def __init__(self, fields: Fields) -> None:
        self._text: dict[str, str] = {}
        self._files: list[str] = []
        for name, value in fields:
            if value is None:
                self._files.append(name.partition("[")[0])
            else:
                self._text.setdefault(name, value)

    def values(self, place: RequestPlace) -> Iterator[Any]:
        text = self._text.get(place.name)
        if text is None or place.path is None:
            return
        if len(place.path.steps) == 1:
            yield text
        else:  # a field whose text is JSON
            found = json_of(text.encode())
            self.is_unread |= found is None  # long ones are cut
            yield from values_at({place.name: found}, place.path)

    def has(self, field: str) -> bool:
        return self._text.get(field) not in (None, "", "false")

    def has_file(self, place: RequestPlace) -> bool:
        return place.name in self._files

    def inputs(self, places: Sequence[RequestPlace]) -> int:
        names = {place.name for place in places}
        return sum(name in names for name in self._files)


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (element for element in cast("list[object]", value) if element)
    elif value:
        yield value


class _Values:
    """What a request has in the places of its route."""

    def __init__(self, asked: Asked, body: _Json | _Form) -> None:
        self._parts: Mapping[str, str] = dict(asked.parts)
        self._asked = asked
        self._body = body
        self.inputs = body.inputs
        self.has = body.has

    def at(self, place: RequestPlace) -> list[Any]:
        match place.source:
            case "body":
                return list(self._body.values(place))
            case "path":
                value = self._parts.get(place.name)
            case "query":
                value = self._query(place.name)
            case "header":
                raw = self._asked.headers.get(place.name.encode())
                value = None if raw is None else raw.decode("latin-1")
            case _:
                value = place.name
        return [] if value is None else [value]

    def _query(self, name: str) -> str | None:
        text = self._asked.query[:_QUERY_LIMIT].decode("latin-1")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            return None
        return next((value for key, value in pairs if key == name), None)

    def first(self, places: Sequence[RequestPlace]) -> list[Any]:
        """Return what stands in the first place that has anything."""
        nothing: list[Any] = []
        return next((values for place in places if (values := self.at(place))), nothing)

    def numbers(self, places: Sequence[RequestPlace]) -> list[int]:
        """Return the whole numbers over 0 of the first place that has any."""
        every = ([number for value in self.at(place) if (number := self._whole(value))] for place in places)
        return next(filter(None, every), list[int]())

    def word(self, places: Sequence[RequestPlace]) -> str | None:
        """Return the text of the first place that has anything; MIXED where elements of a list differ in it."""
        return one_of(word for value in self.first(places) if (word := bounded(value, _WORD_LIMIT)))

    def _whole(self, value: object) -> int | None:
        # In JSON a number in quotes is a mistake.
        return _digits(value) if isinstance(value, str) and self._body.is_text else _whole(value)

    def ask(self, route: AskingLike) -> bool:
        """Return whether the request asks for an image, and not only for its price."""
        return all(map(self.fits, route.asks)) and not self.fits(route.exclusions)

    def fits(self, condition: Condition) -> bool:
        """Return whether one of the places has one of its values; a file of a form is any text."""
        return any(
            any(is_one_of(value, wanted) for value in self.at(place))
            or (place.source == "body" and "*" in wanted and self._body.has_file(place))
            for place, wanted in condition
        )


def _request(route: RouteLike, asked: Asked, body: _Json | _Form, named: tuple[str, ...]) -> ImageRequest | None:
    values = _Values(asked, body)
    if not values.ask(route):
        return None
    places = route.request
    deployment = next((part for name, part in asked.parts if name == "deployment"), None)
    images = sum(values.numbers(places.images))
    return ImageRequest(
        model=_model(values.first(places.model)) or deployment,
        images=images if 0 < images <= _IMAGES_LIMIT else 1,
        size=_size(values, places, route.size_names),
        quality=values.word(places.quality),
        output_format=values.word(places.output_format),
        input_images=values.inputs(places.input_images),
        steps=next(iter(values.numbers(places.steps)), None),
        partial_images=next(iter(values.numbers(places.partial_images)), 0),
        service_tier=values.word(places.service_tier),
        named=tuple(field for field in named if values.has(field)),
        deployment=deployment,
        unread=body.is_unread,
    )


@lru_cache(maxsize=1024)
def _remembered_request(
    route: RouteLike, parts: tuple[tuple[str, str], ...], body: Any, named: tuple[str, ...]
) -> ImageRequest | None:
    # Programs ask for few kinds of images, again and again.
    asked = Asked(parts, b"", {}, None, ())
    return _request(route, asked, _Json(_kind_of(route, named), body), named)


def _whole(value: object) -> int | None:
    if isinstance(value, str):  # some gateways take "2" for 2
        return _digits(value)
    # 2, 2.0 and (as 1) true are equal to Python, so they must mean the same to whatever remembers them by equality.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return int(value) if isinstance(value, bool) else count(value)


def _digits(text: str) -> int | None:
    return count(int(text)) if len(text) <= _NUMBER_LIMIT and text.isascii() and text.isdigit() else None


def _model(values: Sequence[Any]) -> str | None:
    # A list of models is an ordered fallback (AIgateway): what ran is known from the response only.
    names: list[str] = []
    for value in values[:_MODELS_LIMIT]:
        several = cast("list[object]", value)[:_MODELS_LIMIT] if isinstance(value, list) else [value]
        names += [name for name in several if isinstance(name, str)]
    return bounded(",".join(dict.fromkeys(names)))


def _size(values: _Values, places: RequestPlaces, names: Mapping[str, str]) -> str | None:
    size = one_of(word for value in values.first(places.size) if (word := _size_of(value, names)))
    width, height = (one_of(map(str, values.numbers(sides))) for sides in (places.width, places.height))
    return size or (MIXED if MIXED in (width, height) else f"{width}x{height}" if width and height else None)


def _size_of(value: object, names: Mapping[str, str]) -> str | None:
    if isinstance(value, dict):
        sides = cast("dict[str, Any]", value)
        width, height = _whole(sides.get("width")), _whole(sides.get("height"))
        return f"{width}x{height}" if width and height else None
    word = bounded(value, _WORD_LIMIT)
    return word and (names.get(word) or size_word(word))


def size_word(word: str) -> str:
    """Return a size with an `x` between its sides, where it has another sign there: 1024*1024 is 1024x1024."""
    width, sign, height = word.replace("×", "*").partition("*")
    return f"{width}x{height}" if sign and width.isdigit() and height.isdigit() else word
