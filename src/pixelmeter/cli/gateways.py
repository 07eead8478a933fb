"""`pixelmeter gateways`: the profiles, to read, to explain and to check."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, urlsplit, urlunsplit

import click

from pixelmeter.cli.options import format_option, own_file_option
from pixelmeter.cli.output import emit, emit_json, plain, say
from pixelmeter.core.apis.requests import may_ask_by_url
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import RequestPlaces, ResponsePlaces
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.routes import FollowRoute, Route, condition_texts
from pixelmeter.core.wire.headers import ascii_host
from pixelmeter.gateways import check, load_profiles

__all__ = ["command"]

_COLUMNS = ("gateway", "hosts", "routes", "apis", "cost", "prices", "evidence")
_ROUTES = ("gateway", "method", "path", "api", "operation", "prices", "if")
_LONGEST_URL = 4096
_SHOWN_HOSTS = 3

_profiles_option = own_file_option("profiles", "Your own profile, or a folder of them; they win over the bundled ones.")


def _loaded(path: str | None) -> Profiles:
    from pixelmeter.settings import from_environment

    return load_profiles(from_environment().gateways, path)


@click.group()
def command() -> None:
    """List, explain and check gateway profiles."""


@command.command("list")
@_profiles_option
@format_option
def list_(path: str | None, format: str) -> None:
    """List the known gateways: their hosts, their APIs, and where the cost of a call comes from."""
    profiles = _loaded(path)
    rows = [_row(profiles, profile) for profile in sorted(profiles.profiles, key=lambda profile: profile.id)]
    emit(rows, _COLUMNS, format, names=("gateway", "hosts"), drop=("evidence", "prices", "apis", "routes"))


@command.command()
@click.argument("gateway")
@_profiles_option
@format_option
def show(gateway: str, path: str | None, format: str) -> None:
    """Show the profile of GATEWAY: its routes, and where requests and answers have model, images and cost."""
    profiles = _loaded(path)
    profile = profiles.named(gateway)
    if profile is None:
        raise click.ClickException(f"no profile is called {plain(gateway)}: there are {', '.join(profiles.ids)}")
    routes: list[Route | FollowRoute] = [*profiles.routes_of(profile), *profiles.follow_routes_of(profile)]
    if format == "table":
        say(f"{profile.id}: {', '.join(profile.match.hosts) or 'any host that no other profile has'}")
        if profile.evidence:
            say(f"  evidence: {profile.evidence}")
        for line in _costs(profile):
            say(f"  {line}")
        click.echo()
    emit([_route_row(route) for route in routes], _ROUTES[1:], format, drop=("if", "prices"))


@command.command("check")
@click.argument("file")
def check_(file: str) -> None:
    """Check your own profile FILE: print every problem as FILE:LINE: message, and exit with 1 if there is one."""
    problems = check(file)
    for line, message in sorted(problems):
        click.echo(f"{plain(file)}:{line}: {plain(message)}")
    if problems:
        sys.exit(1)
    click.echo(f"{plain(file)}: nothing is wrong")


@command.command()
@click.argument("url")
@click.option("--method", default="POST", show_default=True, help="The method of the request.")
@_profiles_option
@format_option
def match(url: str, method: str, path: str | None, format: str) -> None:
    """Show the profile and the route of a request to URL, and what is read from it; exit with 1 if there is none."""
    host, target = _host_and_target(url)
    profiles = _loaded(path)
    query = target.partition(b"?")[2]
    requests = profiles.requests(method.upper(), host.encode(), target)
    found = [(each.route, each.parts) for each in requests if may_ask_by_url(each.route, each.parts, query)]
    if format == "json":
        emit_json([_explained(route, dict(named)) for route, named in found])
    elif format == "csv":
        emit([_route_row(route) for route, _ in found], _ROUTES, format)
    else:
        say(f"{plain(host)} has the profile {profiles.of_host(host).id}")
        for route, named in found:
            click.echo()
            for line in _lines(route, dict(named)):
                say(line)
    if not found:
        click.echo(
            f"No route fits {method.upper()} {plain(urlsplit(url).path)}: such a request is not metered.", err=True
        )
        sys.exit(1)


def _host_and_target(url: str) -> tuple[str, bytes]:
    """Return the host, with its port if it is not the scheme's own, and path and query as they are sent."""
    try:
        parts = urlsplit(url[:_LONGEST_URL])
        port = "" if parts.port in (None, 443, 80) else f":{parts.port}"
        host = ascii_host(f"{parts.hostname or ''}{port}")
        target = urlunsplit(("", "", quote(parts.path, safe="/%:@"), parts.query, "")).encode("ascii")
    except ValueError:
        host, target = "", b""
    if not host:
        raise click.ClickException(f"{plain(url[:80])} is no URL: write https://host/path")
    return host, target


def _row(profiles: Profiles, profile: Profile) -> dict[str, object]:
    routes = profiles.routes_of(profile)
    return {
        "gateway": profile.id,
        "hosts": _some(profile.match.hosts) or ("any other" if profile.generic else "by response header"),
        "routes": len(routes),
        "apis": ", ".join(dict.fromkeys(route.api for route in routes)),
        "cost": ", ".join(dict.fromkeys(f"{cost.source} {cost.name}" for cost in profile.cost)) or "price book",
        "prices": ", ".join((profile.id, *profile.pass_through)),
        "evidence": profile.evidence,
    }


def _some(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _SHOWN_HOSTS} more" if len(hosts) > _SHOWN_HOSTS else ""
    return ", ".join(hosts[:_SHOWN_HOSTS]) + more


def _route_row(route: Route | FollowRoute) -> dict[str, object]:
    api: str | None
    operation: str
    prices: str | None
    if isinstance(route, Route):
        api, operation = route.api, route.operation
        prices = ", ".join(dict.fromkeys((route.profile.id, *route.vendors)))
    else:
        api, operation, prices = None, f"{route.kind} of a job", None
    return {
        "gateway": route.profile.id,
        "method": route.method,
        "path": route.path,
        "api": api,
        "operation": operation,
        "prices": prices,
        "if": " and ".join(condition_texts(route)) or None,
    }


def _costs(profile: Profile) -> Iterator[str]:
    for cost in profile.cost:
        added = ", added to the first" if cost.plus else ""
        zero = "" if cost.zero_is_real else "; 0 proves nothing"
        yield f"cost: {cost.source} {cost.name} in {cost.unit}{added}{zero}"


def _explained(route: Route | FollowRoute, parts: dict[str, str]) -> dict[str, object]:
    return {
        **_route_row(route),
        "parts": parts,
        "request": _asked(route),
        "response": _places(route.response),
        "job": None if route.job is None else _places(route.job),
        "cost": [{"from": cost.source, "name": cost.name, "unit": cost.unit, "plus": cost.plus} for cost in route.cost],
    }


def _asked(route: Route | FollowRoute) -> dict[str, str]:
    return _places(route.request) if isinstance(route, Route) else {"job_id": _listed(route.job_id)}


def _lines(route: Route | FollowRoute, parts: dict[str, str]) -> Iterator[str]:
    row = _route_row(route)
    api = "no attempt" if row["api"] is None else f"API {row['api']}"
    yield f"{route.method} {route.path}: {row['operation']}, {api}"
    for text in condition_texts(route):
        yield f"  only if {text}"
    for name, value in parts.items():
        yield f"  {{{name}}} is {plain(value)}"
    job = {} if route.job is None else _places(route.job)
    for title, places in (("request", _asked(route)), ("answer", _places(route.response)), ("job", job)):
        for name, where in places.items():
            yield f"  {title} {name.replace('_', ' ')}: {where}"
    if isinstance(route, FollowRoute) and route.failed_statuses:
        yield f"  failed with an error and one of: {_listed(route.failed_statuses)}"
    yield from (f"  {line}" for line in _costs(route.profile))
    if row["prices"] is not None:
        yield f"  prices of: {row['prices']}"


def _places(places: RequestPlaces | ResponsePlaces | Job) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in places.__struct_fields__:
        value: Any = getattr(places, name)
        if name == "follow":
            continue
        if isinstance(value, Mapping):
            several = cast("Mapping[str, Sequence[object]]", value)
            found[name] = ", ".join(f"{key} is one of {_listed(wanted)}" for key, wanted in several.items())
        else:
            found[name] = str(value).lower() if isinstance(value, int) else _listed(value)
    return {name: text for name, text in found.items() if text}


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
