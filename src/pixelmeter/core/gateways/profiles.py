"""Finds the profile of a host, its routes, and the profile that an answer shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from pixelmeter.core.gateways.profile import Match, Profile
from pixelmeter.core.gateways.routes import (
    Deciding,
    Followed,
    FollowRoute,
    Found,
    Route,
    deciding,
    follow_routes_of,
    matching,
    matching_follow,
    routes_of,
)
from pixelmeter.core.memo import Memo
from pixelmeter.core.wire.headers import Headers, without_root

__all__ = ["Listed", "Profiles", "listed"]

_REMEMBERED_HOSTS = 1000
_REMEMBERED_REQUESTS = 1000
_NOBODY = Profile(id="generic", generic=True)


class Listed(NamedTuple):
    """A profile that is read once a request needs it."""

    id: str
    match: Match
    generic: bool
    load: Callable[[], Profile]
    webhook: bool = False
    """Whether it has webhooks."""


def listed(profile: Profile) -> Listed:
    """Return a profile that has been read."""
    return Listed(profile.id, profile.match, profile.generic, lambda: profile, profile.webhook is not None)


class Profiles:
    """Finds the profile of a host, and of an answer."""

    def __init__(self, profiles: Sequence[Listed], hosts: Mapping[str, str]) -> None:
        self._listed = {each.id: each for each in profiles}
        self.ids = tuple(self._listed)
        self.webhook_ids = tuple(each.id for each in profiles if each.webhook)
        """Those whose gateways tell of the end of jobs by webhooks."""
        self._patterns = [(pattern.lower(), name) for pattern, name in hosts.items()]
        self._patterns += [(pattern, each.id) for each in profiles for pattern in each.match.hosts]
        self._prefixes = [(prefix, each.id) for each in profiles for prefix in each.match.response_header_prefixes]
        self._hosts: Memo[str, Profile] = Memo(_REMEMBERED_HOSTS)
        self._loaded: dict[str, Profile] = {}
        self._routes: dict[str, tuple[Route, ...]] = {}
        self._follow_routes: dict[str, tuple[FollowRoute, ...]] = {}
        self._found: Memo[tuple[str, bytes, bytes], tuple[Found | Followed, ...]] = Memo(_REMEMBERED_REQUESTS)
        self._deciding: dict[str, Deciding] = {}

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """All of them."""
        return tuple(found for name in self.ids if (found := self.named(name)) is not None)

    @property
    def with_webhooks(self) -> tuple[Profile, ...]:
        """The profiles of `webhook_ids`."""
        return tuple(found for name in self.webhook_ids if (found := self.named(name)) is not None)

    def named(self, name: str) -> Profile | None:
        """Return the profile with an id; None where there is none."""
        found = self._loaded.get(name)
        if found is None and name in self._listed:
            each = self._listed[name]
            profile = each.load()
            found = self._loaded.setdefault(name, self._looking_for_keys(profile) if each.generic else profile)
        return found

    def _looking_for_keys(self, generic: Profile) -> Profile:
        """Return the generic profile with the sign of a caller's own key: only a response shows which gateway it is."""
        others = (name for _, name in self._prefixes if not self._listed[name].generic)
        shown = (found.byok for name in others if (found := self.named(name)) is not None)
        byok = generic.byok or next((byok for byok in shown if byok is not None), None)
        return msgspec.structs.replace(generic, byok=byok)

    def of_host(self, host: str) -> Profile:
        """Return the profile of `host` or `host:port` (lower case)."""
        profile = self._hosts.get(host)
        if profile is None:
            plain = without_root(host)
            name = next((name for pattern, name in self._patterns if fnmatchcase(plain, pattern)), None)
            if name is None:
                name = next((each.id for each in self._listed.values() if each.generic), None)
            found = None if name is None else self.named(name)
            profile = self._hosts.keep(host, _NOBODY if found is None else found)
        return profile

    def of_gateway(self, gateway: str) -> Profile:
        """Return the profile of the gateway that a record names: its id, or a host that only the generic one fits."""
        return self.named(gateway) or self.of_host(gateway)

    def requests(self, method: str, host: bytes, target: bytes) -> tuple[Found | Followed, ...]:
        """Return the routes that a request may be of, by its method, host (with port) and raw target; none for most.

        Those of image calls, then those about jobs.
        """
        # Without the query, which may have a key in it.
        path = target if b"?" not in target else target.partition(b"?")[0]
        key = method, host, path
        found = self._found.get(key)
        if found is None:
            profile = self.of_host(host.decode("ascii"))
            found = tuple(matching(self.routes_of(profile), method, path))
            follow = self.follow_routes_of(profile)
            if follow:
                found = (*found, *matching_follow(follow, method, path))
            self._found.keep(key, found)
        return found

    def routes(self, method: str, host: bytes, target: bytes) -> tuple[Found, ...]:
        """Return those of image calls."""
        return tuple(each for each in self.requests(method, host, target) if isinstance(each, Found))

    def routes_of(self, profile: Profile) -> tuple[Route, ...]:
        """Return the routes of a profile's image calls, in the order in which they are tried."""
        routes = self._routes.get(profile.id)
        if routes is None:
            routes = self._routes[profile.id] = tuple(routes_of(profile, self.named))
        return routes

    def follow_routes_of(self, profile: Profile) -> tuple[FollowRoute, ...]:
        """Return the routes about its jobs, in the order in which they are tried."""
        routes = self._follow_routes.get(profile.id)
        if routes is None:
            routes = self._follow_routes[profile.id] = tuple(follow_routes_of(profile, self.named))
        return routes

    def of_response(self, profile: Profile, headers: Headers) -> Profile:
        """Return the profile that the response headers (lower-case names) show, where the host alone told nothing."""
        if not profile.generic:
            return profile
        for prefix, name in self._prefixes:
            if any(header.startswith(prefix) for header in headers):
                return self.named(name) or profile
        return profile

    def deciding(self, profile: Profile) -> Deciding:
        """Return what of an answer decides its cost, model and provider, where only the answer shows whose it is."""
        found = self._deciding.get(profile.id)
        return found or self._deciding.setdefault(profile.id, deciding(profile, profile.cost))
