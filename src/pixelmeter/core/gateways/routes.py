"""Which requests are image calls or ask about a job: the routes of the profiles, and what each says of both ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec

from pixelmeter.core.apis import prediction_jobs
from pixelmeter.core.apis.reader import Reader
from pixelmeter.core.attempts.record import Operation
from pixelmeter.core.gateways.amounts import CostReader, HeaderName
from pixelmeter.core.gateways.jobs import Follow, FollowKind, Job
from pixelmeter.core.gateways.places import (
    Condition,
    DocumentPath,
    RequestPlace,
    RequestPlaces,
    ResponsePlaces,
    is_one_of,
)
from pixelmeter.core.gateways.profile import Api, Profile, RouteData, Routing
from pixelmeter.core.text import bounded

__all__ = [
    "FollowRoute",
    "Followed",
    "Found",
    "Route",
    "condition_texts",
    "deciding",
    "follow_routes_of",
    "laid_over",
    "matching",
    "matching_follow",
    "problems_of",
    "routes_of",
]

_OPENAI = Api("openai_images")
_OPENAI_IMAGES: tuple[tuple[str, Operation], ...] = (
    ("images/generations", "generate"),
    ("images/edits", "edit"),
    ("images/variations", "variation"),
)
_LONGEST_PATH = 2048
_PART = re.compile(r"\{([a-z_]+)(\+?)\}|(?<![^/])\*\*/")
# RFC 3986, 2.3: a letter, a digit or one of -._~ is the same with and without its percent-encoding.
_UNRESERVED = re.compile(r"%(?:[46][1-9A-Fa-f]|[57][0-9Aa]|3[0-9]|2[DEde]|5[Ff]|7[Ee])")


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
    size_names: Mapping[str, str]
    """The sides of sizes that requests name."""
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


class FollowRoute(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One kind of request about a job of a gateway."""

    profile: Profile
    path: str
    method: str
    kind: FollowKind
    reader: Reader
    job: Job
    """With the place of the status in this answer."""
    job_id: tuple[RequestPlace, ...]
    response: ResponsePlaces
    asks: tuple[Condition, ...]
    exclusions: Condition
    failed_statuses: tuple[int, ...]
    pattern: re.Pattern[str]
    cost: tuple[CostReader, ...]


class Followed(NamedTuple):
    """A route about a job that a request's method and path fit."""

    route: FollowRoute
    parts: tuple[tuple[str, str], ...]


def matching(routes: Sequence[Route], method: str, path: bytes) -> Iterator[Found]:
    """Yield the routes that a request may be of, in order, by its method and raw path."""
    text = _text_of(path)
    for route in routes:
        if route.method == method and (match := route.pattern.fullmatch(text)):
            yield Found(route, _parts_of(match))


def matching_follow(routes: Sequence[FollowRoute], method: str, path: bytes) -> Iterator[Followed]:
    """Yield the same of the routes about jobs."""
    text = _text_of(path)
    for route in routes:
        if route.method == method and (match := route.pattern.fullmatch(text)):
            yield Followed(route, _parts_of(match))


def _text_of(path: bytes) -> str:
    """Return a path as patterns are matched with it; one that is too long fits none."""
    if len(path) > _LONGEST_PATH:
        return ""
    text = path.decode("latin-1").rstrip("/")
    return _UNRESERVED.sub(lambda found: chr(int(found[0][1:], 16)), text) if "%" in text else text


def _parts_of(match: re.Match[str]) -> tuple[tuple[str, str], ...]:
    parts = {name: bounded(unquote(part)) for name, part in match.groupdict().items()}
    return tuple((name, part) for name, part in parts.items() if part is not None)


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


def follow_routes_of(profile: Profile, named: Callable[[str], Profile | None]) -> Iterator[FollowRoute]:
    """Yield the routes about the jobs of a profile, then those of the profiles that it stands in front of."""
    for job, reader, layers in _jobs_of(profile):
        for data in job.follow:
            yield _follow_route(profile, profile, job, reader, (*layers, data.response), data)
    for inner in profile.inner:
        behind = named(inner.profile)
        for job, reader, layers in _jobs_of(behind) if behind is not None else ():
            for data in job.follow:
                path = inner.prefix + _shortened(data.path, inner.strip)
                placed = msgspec.structs.replace(data, path=path)
                yield _follow_route(profile, behind or profile, job, reader, (*layers, data.response), placed)


def condition_texts(route: Route | FollowRoute) -> Iterator[str]:
    """Yield what must be true of a request on a route, in words."""
    for condition in route.asks:
        yield " or ".join(f"{place} is one of {', '.join(map(str, wanted))}" for place, wanted in condition)
    for place, wanted in route.exclusions:
        yield f"{place} is none of {', '.join(map(str, wanted))}"


def problems_of(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the routes of a profile beyond the types of its fields: where, and what."""
    for at, data in enumerate(profile.route):
        where = f"$.route[{at}]"
        places = {f"request.{field}": getattr(data.request, field) for field in data.request.__struct_fields__}
        conditions = {"asks": data.conditions, "quote": (data.exclusions,)}
        yield from _wrong_places(where, data.path, places, conditions)
        if data.job is not None:
            yield from _wrong_follows(f"{where}.job", data.job)
    if profile.job is not None:
        yield from _wrong_follows("$.job", profile.job)
    for at, inner in enumerate(profile.inner):
        if not inner.prefix.startswith("/"):
            yield f"$.inner[{at}].prefix", f"{inner.prefix!r} is no beginning of a path: it starts with /"


def _wrong_follows(where: str, job: Job) -> Iterator[tuple[str, str]]:
    for at, data in enumerate(job.follow):
        conditions = {"asks": data.conditions, "unless": (data.exclusions,)}
        yield from _wrong_places(f"{where}.follow[{at}]", data.path, {"job_id": data.job_id}, conditions)
        for place in data.job_id:
            if place.source == "=":
                yield f"{where}.follow[{at}].job_id", f"{place!r}: each job has an id of its own"
    endings = (*job.failed, *job.cancelled)
    for word in job.not_charged:
        if not any(is_one_of(word, (ending,)) or is_one_of(ending, (word,)) for ending in endings):
            yield f"{where}.not_charged", f"{word!r} is none of `failed` and `cancelled`"


def _wrong_places(
    where: str,
    path: str,
    places: Mapping[str, Sequence[RequestPlace]],
    conditions: Mapping[str, Sequence[Condition]],
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a path, and the places that look for a part which it does not have."""
    if re.search(r"[{}]", _PART.sub("", path)):
        yield f"{where}.path", f"{path!r}: write {{name}} for a part, {{name+}} for several segments"
        return
    names = [part[1] for part in _PART.finditer(path) if part[1] is not None]
    if len(set(names)) < len(names):
        yield f"{where}.path", f"{path!r} names a part twice"
    asked = {key: [place for each in several for place, _ in each] for key, several in conditions.items()}
    for key, several in (*places.items(), *asked.items()):
        for place in several:
            if place.source == "path" and place.name not in names:
                yield f"{where}.{key}", f"{place!r}: the path has no {{{place.name}}}"


def _shortened(path: str, strip: str) -> str:
    return f"/{path}" if path.startswith("**/") else path.removeprefix(strip)


def _data_of(profile: Profile) -> Iterator[RouteData]:
    yield from profile.route
    if profile.route:
        return
    segment = profile.identity.model_in_path
    for end, operation in _OPENAI_IMAGES:
        if segment is not None:
            yield RouteData(path=f"**/{segment}/{{deployment}}/{end}", api=_OPENAI, operation=operation)
        yield RouteData(path=f"**/{end}", api=_OPENAI, operation=operation)


def _route(profile: Profile, described: Profile, data: RouteData) -> Route:
    reader = data.api.reader
    cost = _cost_of(profile, described)
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
        size_names=described.size_names,
        response=laid_over(reader.RESPONSE, described.response, data.response),
        job=data.job or described.job or reader.JOB,
        vendors=vendors,
        asks=data.conditions,
        exclusions=data.exclusions,
        pattern=_pattern(data.path),
        cost=cost,
        deciding=deciding(profile, cost),
    )


def _jobs_of(profile: Profile) -> Iterator[tuple[Job, Reader, tuple[ResponsePlaces, ...]]]:
    """Yield the jobs of a profile with who reads their answers, and where those have what matters."""
    for data in profile.route:
        if data.job is not None:
            yield data.job, data.api.reader, (profile.response, data.response)
    if profile.job is not None:
        yield profile.job, prediction_jobs, (profile.response,)


def _follow_route(
    profile: Profile, described: Profile, job: Job, reader: Reader, layers: Sequence[ResponsePlaces], data: Follow
) -> FollowRoute:
    return FollowRoute(
        profile=profile,
        path=data.path,
        method=data.method,
        kind=data.kind,
        reader=reader,
        job=job if data.status is None else msgspec.structs.replace(job, status=data.status),
        job_id=data.job_id,
        response=laid_over(reader.RESPONSE, *layers),
        asks=data.conditions,
        exclusions=data.exclusions,
        failed_statuses=data.failed_statuses,
        pattern=_pattern(data.path),
        cost=_cost_of(profile, described),
    )


def _cost_of(profile: Profile, described: Profile) -> tuple[CostReader, ...]:
    return profile.cost if described is profile else (*profile.cost, *described.cost)


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
