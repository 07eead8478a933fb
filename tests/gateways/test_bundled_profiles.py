"""The bundled profiles as a whole: every price file is reached, and no host has two of them."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import combinations, product
from pathlib import Path

from pixelmeter import gateways, prices
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.toml import parse
from pixelmeter.gateways import load_profiles

_PASS_THROUGH_ONLY: dict[str, str] = {
    "azure-ai": "models of Foundry, whose hosts are those of Azure OpenAI",
    "azure-openai": "the profile is named azure, as it stands for more than OpenAI's models",
}
"""Price files that no profile is named after, and why."""

_PROFILES = load_profiles({})
_NAMED = [profile for profile in _PROFILES.profiles if not profile.generic]


def _price_files() -> set[str]:
    return {file.stem for file in Path(prices.__file__).parent.glob("*.toml")}


def _vendors() -> Iterator[str]:
    """Yield whose prices hold somewhere, as far as requests of some host come to them."""
    for profile in _NAMED:
        if profile.match.hosts or profile.match.response_header_prefixes:
            yield profile.id
            for route in _PROFILES.routes_of(profile):
                yield from route.vendors


def test_every_price_file_is_reached_by_a_host() -> None:
    assert _price_files() <= set(_vendors())


def test_a_price_file_has_a_profile_of_its_name_or_a_reason() -> None:
    assert _PASS_THROUGH_ONLY.keys() == _price_files() - {profile.id for profile in _NAMED}


def test_vendors_that_a_profile_names_are_in_the_book() -> None:
    named = {vendor for profile in _NAMED for vendor in (*profile.pass_through, *_of_routes(profile))}
    assert named <= _price_files()


def _of_routes(profile: Profile) -> Iterator[str]:
    for route in profile.route:
        yield from route.pass_through


def test_a_profile_is_in_the_file_of_its_name_and_says_where_it_is_from() -> None:
    folder = Path(gateways.__file__).parent
    for file in folder.glob("*.toml"):
        profile = parse(file.read_text())
        assert file.stem == profile["id"]
        assert "read 2026" in profile["evidence"]
        assert file.read_text().startswith("# ")


def test_every_host_and_header_of_a_profile_leads_to_it_before_the_rest_of_it_is_read() -> None:
    generic = load_profiles({}).of_host("images.example")
    for profile in _NAMED:
        for pattern in profile.match.hosts:
            assert profile == load_profiles({}).of_host(pattern.replace("*", "x"))
        for prefix in profile.match.response_header_prefixes:
            assert profile == load_profiles({}).of_response(generic, {prefix + b"id": b"1"})


def test_no_bundled_profile_has_a_problem() -> None:
    for file in Path(gateways.__file__).parent.glob("*.toml"):
        assert [] == gateways.check(str(file)), file.name


def test_no_host_has_two_profiles() -> None:
    for one, other in combinations(_NAMED, 2):
        for pattern, another in product(one.match.hosts, other.match.hosts):
            assert not _may_be_the_same(pattern, another), (one.id, other.id)


def _may_be_the_same(pattern: str, another: str) -> bool:
    """Return whether a host could fit both patterns: each with a plain word for its wildcards, tried on the other."""
    return fnmatchcase(pattern.replace("*", "x"), another) or fnmatchcase(another.replace("*", "x"), pattern)


def test_every_route_of_a_bundled_profile_has_a_pattern_of_its_own_or_a_condition() -> None:
    """A route that another one always comes before would never be taken."""
    for profile in _PROFILES.profiles:
        taken: set[tuple[str, str]] = set()
        for route in _PROFILES.routes_of(profile):
            assert (route.method, route.path) not in taken, (profile.id, route.path)
            if not route.asks:
                taken.add((route.method, route.path))


def test_what_is_read_of_a_profile_first_is_what_all_of_it_says() -> None:
    """The hosts of the bundled files are found without reading the rest."""
    for each in gateways._bundled():
        profile = each.load()
        assert (profile.id, profile.match, profile.generic) == (each.id, each.match, each.generic)
