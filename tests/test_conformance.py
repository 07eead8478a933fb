"""docs/conformance.md says what the tests try of each gateway."""

from __future__ import annotations

import datetime
import re

import pytest

from pixelmeter.core.apis.reader import readers
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.gateways import load_profiles
from scripts.make_conformance import OUTPUT, exchanges, page

_PROFILES = load_profiles({})


def test_the_page_is_what_the_profiles_and_the_exchanges_make() -> None:
    assert page() == OUTPUT.read_text(encoding="utf-8"), "run `make conformance`"


def test_every_gateway_has_an_exchange_and_every_exchange_is_of_a_route() -> None:
    tried = [*exchanges(_PROFILES)]
    assert set(_PROFILES.ids) == {each.profile for each in tried}
    assert [] == [each.expect for each in tried if not each.routes]


def test_every_api_has_an_exchange() -> None:
    assert set(readers()) == {route.api for each in exchanges(_PROFILES) for route in each.routes}


def test_every_api_is_in_the_table_of_what_a_profile_may_name() -> None:
    page = (OUTPUT.parent / "gateways.md").read_text(encoding="utf-8")
    table = page.partition("| `api` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", table, re.MULTILINE)
    assert sorted(readers()) == sorted(re.findall("[a-z_]+", " ".join(rows)))


@pytest.mark.parametrize("profile", _PROFILES.profiles, ids=lambda profile: profile.id)
def test_every_profile_says_what_it_was_written_from_and_when(profile: Profile) -> None:
    found = re.fullmatch(r".{8,}; read (\d{4}-\d{2}-\d{2})", profile.evidence)
    assert found is not None, profile.evidence
    assert datetime.date(2026, 1, 1) <= datetime.date.fromisoformat(found[1])
