"""Write docs/conformance.md: what the tests have tried of each gateway, from its profile and its exchanges.

python -m scripts.make_conformance
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from pixelmeter.core.gateways.places import values_at
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.routes import FollowRoute, Route
from pixelmeter.gateways import load_profiles

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "conformance.md"
PRICES = ROOT / "src" / "pixelmeter" / "prices"
EXCHANGES = ROOT / "tests" / "exchanges"

_ABOUT = """\
# Conformance

What pixelmeter reads from each gateway, and how that is known. `make conformance` writes this page from the bundled
profiles (`src/pixelmeter/gateways/`) and from *exchanges* (`tests/exchanges/`): requests and responses in the shapes
that SDKs and API pages document, with invented content, and what must be in the ledger afterwards. The tests send them
through an instrumented client.

**No real gateway was asked.** If a gateway does not do what its documents say, this page does not show it. To add an
exchange or a gateway: [write one in ten minutes](gateways.md#write-one-in-ten-minutes).

Not metered for any gateway: video, audio, 3D, embeddings, training, uploads, lists of models. The second table shows
which requests are metered. A job is recorded where it is submitted, as `pending`. A request about it is not an attempt;
its response is read for how the job has ended (`tests/exchanges/jobs/`).

- **reads**: what a response in an exchange had. *images*: how many were delivered. *tokens*: a usage. *cost*: the
  gateway's own amount.
- **cost from**: where the cost is looked for, in this order. *price book*: pixelmeter's prices for that gateway, by
  token or by image. *none*: the gateway reports no cost and has no prices here, so the cost is unknown until your price
  file has it.
- **jobs**: *yes* if an exchange ends as `pending`, and which later requests told the job's end: a *poll* that asks for
  its state, the fetch of its *result*, its *cancel*lation. If none is listed, no source says how to ask.
- **exchanges**: how many there are, and **failures**: how many of them end in a failure.
- **evidence**: what the profile was written from, and when that was read.
"""
_ROUTES = """\

## Routes

Every `POST` that matches a route and its condition is an image call; another method is named. A route without an API is
a request about a job. `**/` is any prefix, `{x}` is one segment and `{x+}` several; in a condition `*` is anything.
`pixelmeter gateways show NAME` has the complete conditions.
"""
_SHOWN = 4
_READ = re.compile(r"read (\d{4}-\d{2}-\d{2})")


class Exchange(NamedTuple):
    """A documented request and its answer, with the profile that an attempt of it has."""

    profile: str
    response: dict[str, Any]
    expect: dict[str, Any]
    routes: Sequence[Route]
    """Those that its method, host and path fit; its body decides which of them counts."""


def exchanges(profiles: Profiles) -> Iterator[Exchange]:
    """Yield all exchanges of the tests."""
    for file in sorted(EXCHANGES.glob("*.json")):
        for each in json.loads(file.read_text()):
            url: str = each["request"]["url"]
            parts = urlsplit(url)
            headers = {name.lower().encode(): b"" for name in each["response"].get("headers", {})}
            profile = profiles.of_response(profiles.of_host(parts.netloc), headers)
            found = profiles.routes("POST", parts.netloc.encode(), f"{parts.path}?{parts.query}".encode())
            yield Exchange(profile.id, each["response"], each["expect"], [one.route for one in found])


def page() -> str:
    """Return the page."""
    profiles = load_profiles({})
    known = sorted(profiles.profiles, key=lambda profile: (profile.generic, profile.id))
    tried = [*exchanges(profiles)]
    lines = [_ABOUT, *_table(_VENDORS, [_vendor(profile, profiles, tried) for profile in known]), _ROUTES]
    lines += _table(_COLUMNS, [row for profile in known for row in _routes(profile, profiles)])
    return "\n".join(lines) + "\n"


_VENDORS = (
    "gateway",
    "hosts",
    "APIs",
    "operations",
    "reads",
    "cost from",
    "jobs",
    "exchanges",
    "failures",
    "evidence",
    "read on",
)
_COLUMNS = ("gateway", "route", "API", "operation", "only if")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def _vendor(profile: Profile, profiles: Profiles, tried: Sequence[Exchange]) -> list[str]:
    routes = profiles.routes_of(profile)
    own = [each for each in tried if each.profile == profile.id]
    failures = sum(each.expect["outcome"] not in ("success", "pending") for each in own)
    day = _READ.search(profile.evidence)
    return [
        f"`{profile.id}`",
        _listed(profile.match.hosts) or _known_by(profile),
        ", ".join(dict.fromkeys(f"`{route.api}`" for route in routes)),
        ", ".join(dict.fromkeys(route.operation for route in routes)),
        ", ".join(_reads(profile, own)),
        "your price file" if profile.generic else ", ".join(_costs(routes)),
        _jobs(profile, profiles, own),
        str(len(own)),
        str(failures or ""),
        _READ.sub("", profile.evidence).strip("; "),
        day[1] if day else "",
    ]


def _jobs(profile: Profile, profiles: Profiles, own: Sequence[Exchange]) -> str:
    if not any(each.expect["outcome"] == "pending" for each in own):
        return ""
    kinds = dict.fromkeys(route.kind for route in profiles.follow_routes_of(profile))
    return f"yes: {', '.join(kinds)}" if kinds else "yes"


def _known_by(profile: Profile) -> str:
    if profile.generic:
        return "any other"
    return "answers with " + ", ".join(f"`{prefix.decode()}*`" for prefix in profile.match.response_header_prefixes)


def _reads(profile: Profile, own: Sequence[Exchange]) -> Iterator[str]:
    if any(each.expect["images"] for each in own):
        yield "images"
    if any(_has_usage(each) for each in own):
        yield "tokens"
    if any(_has_cost(profile, each) for each in own):
        yield "cost"


def _has_usage(exchange: Exchange) -> bool:
    paths = [path for route in exchange.routes for path in route.response.usage]
    return any(found for body in _documents(exchange.response) for path in paths for found in values_at(body, path))


def _has_cost(profile: Profile, exchange: Exchange) -> bool:
    headers = {name.lower() for name in exchange.response.get("headers", {})}
    for reader in (*profile.cost, *(reader for route in exchange.routes for reader in route.cost)):
        if reader.source == "header" and reader.name.lower() in headers:
            return True
        path = reader.path
        if path is not None and any(list(values_at(body, path)) for body in _documents(exchange.response)):
            return True
    return False


def _documents(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of an answer: the body, its parts, or the events of a stream and the answers in them."""
    found: list[Any] | dict[str, Any] = response.get("json", response.get("events", response.get("data", [])))
    for each in found if isinstance(found, list) else [found]:
        if isinstance(each, dict):
            document = cast("dict[str, Any]", each)
            yield document
            if isinstance(document.get("response"), dict):
                yield document["response"]


def _costs(routes: Sequence[Route]) -> Iterator[str]:
    yield from dict.fromkeys(f"{cost.source} `{cost.name}`" for route in routes for cost in route.cost)
    priced = {file.stem for file in PRICES.glob("*.toml")}
    if any(priced & {route.profile.id, *route.vendors} for route in routes):
        yield "price book"
    elif not any(route.cost for route in routes):
        yield "none"


def _routes(profile: Profile, profiles: Profiles) -> Iterator[list[str]]:
    for route in profiles.routes_of(profile):
        method = "" if route.method == "POST" else f"{route.method} "
        yield _route(route, f"{method}{route.path}", f"`{route.api}`", route.operation)
    for follow in profiles.follow_routes_of(profile):
        yield _route(follow, f"{follow.method} {follow.path}", "", f"{follow.kind} of a job")


def _route(route: Route | FollowRoute, path: str, api: str, operation: str) -> list[str]:
    return [f"`{route.profile.id}`", f"`{path}`", api, operation, "; ".join(_conditions(route))]


def _conditions(route: Route | FollowRoute) -> Iterator[str]:
    for condition in route.asks:
        yield " or ".join(f"`{place}` is {_listed([*map(str, wanted)])}" for place, wanted in condition)
    for place, wanted in route.exclusions:
        yield f"`{place}` is not {_listed([*map(str, wanted)])}"


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(f"`{word}`" for word in words[:_SHOWN])
    return f"{shown} and {len(words) - _SHOWN} more" if len(words) > _SHOWN else shown


def main() -> None:
    """Write the page."""
    OUTPUT.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
