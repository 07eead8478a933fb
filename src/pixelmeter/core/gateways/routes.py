"""Which requests are image calls: the routes of the profiles, and what each says of request and answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec

from pixelmeter.core.apis import (
    chat_images,
    gemini,
    gemini_interactions,
    openai_images,
    openai_responses,
    predict,
    predictions,
)
from pixelmeter.core.apis.reader import Reader
from pixelmeter.core.attempts.record import Operation
from pixelmeter.core.gateways.amounts import CostReader, HeaderName
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import Condition, DocumentPath, RequestPlaces, ResponsePlaces
from pixelmeter.core.gateways.profile import Api, Profile, RouteData, Routing
from pixelmeter.core.text import bounded

__all__ = [
    "READERS",
    "Found",
    "Route",
    "condition_texts",
    "deciding",
    "laid_over",
    "matching",
    "problems_of",
    "routes_of",
]

READERS: Mapping[Api, Reader] = {
    "openai_images": openai_images,
    "openai_responses": openai_responses,
    "chat_images": chat_images,
    "gemini": gemini,
    "gemini_interactions": gemini_interactions,
    "predict": predict,
    "prediction_jobs": predictions,
    "plain_images": predictions,
}
"""Who reads each API."""

_OPENAI_IMAGES: tuple[tuple[str, Operation], ...] = (
    ("images/generations", "generate"),
    ("images/edits", "edit"),
    ("images/variations", "variation"),
)
_LONGEST_PATH = 2048
_PART = re.compile(r"\{([a-z_]+)(\+?)\}|(?<![^/])\*\*/")


class Deciding(NamedTuple):
    """The headers and body fields of a response that decide its cost, model, provider and what is said of routing."""

    headers: tuple[HeaderName, ...]
    paths: tuple[DocumentPath, ...]


def deciding(profile: Profile, cost: Sequence[CostReader]) -> Deciding:
    """Return what decides, with these readers of a cost."""
    routing = profile.routing or Routing()
    readers = (*cost, *routing.readers)
    headers = [reader.header for reader in readers if reader.header is not None]
    headers += routing.baseline_model
    headers += [profile.cached.header] if profile.cached is not None else []
    paths = [reader.path for reader in readers if reader.path is not None]
    paths += [path for reader in readers for path, _ in reader.conditions]
    return Deciding((*profile.identity.model, *profile.identity.provider, *headers), tuple(dict.fromkeys(paths)))


class Route(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One kind of image call of a gateway."""

    profile: Profile
    path: str
    method: str
    operation: Operation
    api: Api
    reader: Reader
    request: RequestPlaces
    response: ResponsePlaces
    job: Job | None
    vendors: tuple[str, ...]
    """Whose prices hold, in order."""
    asks: tuple[Condition, ...]
    """What must all be true of an image call; none where every request is one."""
    exclusions: Condition
    """With one of these it is no image call, or only asks for a price."""
    pattern: re.Pattern[str]
    cost: tuple[CostReader, ...]
    """Where the gateway, and the one behind it, report a cost."""
    deciding: Deciding
    """What of an answer decides its cost, model and provider."""


class Found(NamedTuple):
    """A route that a request's method and path fit."""

    route: Route
    parts: tuple[tuple[str, str], ...]
    """What the path has in the places of the pattern, percent-decoded."""


def matching(routes: Sequence[Route], method: str, path: bytes) -> Iterator[Found]:
    """Yield the routes that a request may be of, in order, by its method and raw path."""
    if len(path) > _LONGEST_PATH:
        return
    text = path.decode("latin-1").rstrip("/")
    for route in routes:
        if route.method == method and (match := route.pattern.fullmatch(text)):
            parts = {name: bounded(unquote(part)) for name, part in match.groupdict().items()}
            yield Found(route, tuple((name, part) for name, part in parts.items() if part is not None))


def routes_of(profile: Profile, named: Callable[[str], Profile | None]) -> Iterator[Route]:
    """Yield the routes of a profile, then those of the profiles that it stands in front of."""
    for data in _data_of(profile):
        yield _route(profile, profile, data)
    for inner in profile.inner:
        behind = named(inner.profile)
        if behind is None:
            continue
        for data in _data_of(behind):
            path = inner.prefix + _shortened(data.path, inner.strip)
            yield _route(profile, behind, msgspec.structs.replace(data, path=path))


def condition_texts(route: Route) -> Iterator[str]:
    """Yield what must be true of a request on a route, in words."""
    for condition in route.asks:
        yield " or ".join(f"{place} is one of {', '.join(map(str, wanted))}" for place, wanted in condition)
    for place, wanted in route.exclusions:
        yield f"{place} is none of {', '.join(map(str, wanted))}"


def problems_of(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the routes of a profile beyond the types of its fields: where, and what."""
    for at, data in enumerate(profile.route):
        where = f"$.route[{at}]"
        if re.search(r"[{}]", _PART.sub("", data.path)):
            yield f"{where}.path", f"{data.path!r}: write {{name}} for a part, {{name+}} for several segments"
            continue
        names = [part[1] for part in _PART.finditer(data.path) if part[1] is not None]
        if len(set(names)) < len(names):
            yield f"{where}.path", f"{data.path!r} names a part twice"
        for field in data.request.__struct_fields__:
            for place in getattr(data.request, field):
                if place.source == "path" and place.name not in names:
                    yield f"{where}.request.{field}", f"{place!r}: the path has no {{{place.name}}}"
        for key, conditions in (("asks", data.conditions), ("quote", (data.exclusions,))):
            for place in (place for condition in conditions for place, _ in condition):
                if place.source == "path" and place.name not in names:
                    yield f"{where}.{key}", f"{place!r}: the path has no {{{place.name}}}"
    for at, inner in enumerate(profile.inner):
        if not inner.prefix.startswith("/"):
            yield f"$.inner[{at}].prefix", f"{inner.prefix!r} is no beginning of a path: it starts with /"


def _shortened(path: str, strip: str) -> str:
    return f"/{path}" if path.startswith("**/") else path.removeprefix(strip)


def _data_of(profile: Profile) -> Iterator[RouteData]:
    yield from profile.route
    if profile.route:
        return
    segment = profile.identity.model_in_path
    for end, operation in _OPENAI_IMAGES:
        if segment is not None:
            yield RouteData(path=f"**/{segment}/{{deployment}}/{end}", api="openai_images", operation=operation)
        yield RouteData(path=f"**/{end}", api="openai_images", operation=operation)


def _route(profile: Profile, described: Profile, data: RouteData) -> Route:
    reader = READERS[data.api]
    cost = profile.cost if described is profile else (*profile.cost, *described.cost)
    vendors = data.pass_through or described.pass_through
    if described is not profile:
        vendors = tuple(dict.fromkeys((described.id, *vendors, *profile.pass_through)))
    return Route(
        profile=profile,
        path=data.path,
        method=data.method,
        operation=data.operation,
        api=data.api,
        reader=reader,
        request=laid_over(reader.REQUEST, described.request, data.request),
        response=laid_over(reader.RESPONSE, described.response, data.response),
        job=data.job or described.job or reader.JOB,
        vendors=vendors,
        asks=data.conditions,
        exclusions=data.exclusions,
        pattern=_pattern(data.path),
        cost=cost,
        deciding=deciding(profile, cost),
    )


_Places = TypeVar("_Places", RequestPlaces, ResponsePlaces)


def laid_over(places: _Places, *layers: _Places) -> _Places:
    """Return places with those of later layers instead, field by field, where they have any."""
    for layer in layers:
        given: Any = {name: value for name in layer.__struct_fields__ if (value := getattr(layer, name))}
        places = msgspec.structs.replace(places, **given)
    return places


def _pattern(path: str) -> re.Pattern[str]:
    text, at = "", 0
    for part in _PART.finditer(path):
        some = "(?:.*/)?" if part[1] is None else f"(?P<{part[1]}>{'.+?' if part[2] else '[^/]+?'})"
        text += re.escape(path[at : part.start()]) + some
        at = part.end()
    return re.compile(text + re.escape(path[at:]))
