"""Finds the profile of a host, its routes, and the profile that an answer shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.routes import Found, Route, Table, deciding, routes_of
from pixelmeter.core.memo import Memo
from pixelmeter.core.wire.headers import Headers, without_root

__all__ = ["Profiles"]

_REMEMBERED_HOSTS = 1000


def _looking_for_keys(generic: Profile, profiles: Sequence[Profile]) -> Profile:
    """Return the generic profile with the sign of a caller's own key: only the response shows which gateway it is."""
    shown = [profile.byok for profile in profiles if profile.match.response_header_prefixes and profile.byok]
    return msgspec.structs.replace(generic, byok=shown[0]) if shown and generic.byok is None else generic


class Profiles:
    """Finds the profile of a host, and of an answer."""

    def __init__(self, profiles: Sequence[Profile], hosts: Mapping[str, str]) -> None:
        generic = next((profile for profile in profiles if profile.generic), Profile(id="generic", generic=True))
        self._generic = _looking_for_keys(generic, profiles)
        profiles = [self._generic if profile is generic else profile for profile in profiles]
        by_id = {profile.id: profile for profile in profiles}
        self.ids = tuple(by_id)
        self.profiles = tuple(by_id.values())
        self._patterns = [(pattern.lower(), by_id[name]) for pattern, name in hosts.items()]
        self._patterns += [(pattern, profile) for profile in profiles for pattern in profile.match.hosts]
        self._prefixes = [
            (prefix, profile) for profile in profiles for prefix in profile.match.response_header_prefixes
        ]
        self._hosts: Memo[str, Profile] = Memo(_REMEMBERED_HOSTS)
        self._by_id = by_id
        self._tables: dict[str, Table] = {}
        self.deciding = {profile.id: deciding(profile, profile.cost) for profile in (*profiles, self._generic)}
        """By id of a profile: what of an answer decides its cost, model and provider, where an answer shows it."""

    def of_host(self, host: str) -> Profile:
        """Return the profile of `host` or `host:port` (lower case)."""
        profile = self._hosts.get(host)
        if profile is None:
            plain = without_root(host)
            profile = next((p for pattern, p in self._patterns if fnmatchcase(plain, pattern)), self._generic)
            self._hosts.keep(host, profile)
        return profile

    def routes(self, method: str, host: str, target: bytes) -> tuple[Found, ...]:
        """Return the routes that a request to a host may be of, by its method and raw target; none for most."""
        return self._table(self.of_host(host)).find(method, target)

    def routes_of(self, profile: Profile) -> tuple[Route, ...]:
        """Return the routes of a profile, in the order in which they are tried."""
        return self._table(profile).routes

    def _table(self, profile: Profile) -> Table:
        table = self._tables.get(profile.id)
        if table is None:
            table = self._tables[profile.id] = Table([*routes_of(profile, self._by_id)])
        return table

    def of_response(self, profile: Profile, headers: Headers) -> Profile:
        """Return the profile that the response headers (lower-case names) show, where the host alone told nothing."""
        if not profile.generic:
            return profile
        for prefix, shown in self._prefixes:
            if any(name.startswith(prefix) for name in headers):
                return shown
        return profile
