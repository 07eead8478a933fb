"""Which profile a host has, and what a user's own file may say."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, get_args

import httpx
import httpx2
import openai
import pytest

from pixelmeter.core.attempts.billing import CostReason, Reported, reported_by
from pixelmeter.core.gateways.profile import ProfileError, read_profile
from pixelmeter.core.gateways.profiles import Profiles, listed
from pixelmeter.core.wire.headers import first
from pixelmeter.errors import ConfigError
from pixelmeter.gateways import load_profiles
from tests.textfiles import UNREADABLE, UNUSABLE

_DOCS = Path(__file__).parents[2] / "docs" / "gateways.md"


@pytest.mark.parametrize(
    ("host", "profile"),
    [
        ("api.aigateway.sh", "aigateway"),
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("ae.api.openai.com", "openai"),
        ("mtls.api.openai.com", "openai"),
        ("mtls-us.api.openai.com", "openai"),
        ("corp.openai.azure.com", "azure"),
        ("corp.services.ai.azure.com", "azure"),
        ("corp.cognitiveservices.azure.com", "azure"),
        ("eastus2.api.cognitive.microsoft.com", "azure"),
        ("corp.openai.azure.us", "azure"),
        ("corp.services.ai.azure.us", "azure"),
        ("corp.cognitiveservices.azure.us", "azure"),
        ("corp.openai.azure.cn", "azure"),
        ("images.corp.example", "generic_openai"),
        ("127.0.0.1:8123", "generic_openai"),
        ("api.openai.com.evil.example", "generic_openai"),
        ("evilapi.openai.com", "generic_openai"),
        ("evil.example.azure.com", "generic_openai"),
    ],
)
def test_known_hosts_need_nothing(host: str, profile: str) -> None:
    assert profile == load_profiles({}).of_host(host).id


@pytest.mark.parametrize("region", ["global", "us", "eu", "ae", "au", "in", "jp"])
def test_every_region_that_the_sdk_knows_is_openai(region: Any) -> None:
    client = openai.OpenAI(api_key="k", data_residency=region)
    profile = load_profiles({}).of_host(client.base_url.host)
    assert ("openai", region == "global") == (profile.id, profile.region_of(client.base_url.host) is None)


@pytest.mark.parametrize(
    ("host", "model", "day", "added"),
    [
        ("eu.api.openai.com", "gpt-image-2", "2026-06-01", 100_000),
        ("mtls-eu.api.openai.com", "gpt-image-2.5-flare", "2026-06-01", 100_000),
        ("us.api.openai.com", "gpt-image-2.6-sunburst", "2026-06-01", 100_000),
        ("eu.api.openai.com", "gpt-image-1", "2026-06-01", 0),
        ("eu.api.openai.com", "gpt-image-1-mini", "2026-06-01", 0),
        ("eu.api.openai.com", "gpt-image-1.5", "2026-06-01", 0),
        ("eu.api.openai.com", "dall-e-3", "2026-06-01", 0),
        ("eu.api.openai.com", "chatgpt-image-latest", "2026-06-01", None),
        ("eu.api.openai.com", "gpt-image-10", "2026-06-01", None),
        ("mtls.api.openai.com", "chatgpt-image-latest", "2026-06-01", 0),
        ("corp.openai.azure.us", "gpt-image-1", "2026-06-01", None),
        ("corp.cognitiveservices.azure.cn", "gpt-image-1", "2026-06-01", None),
    ],
)
def test_what_a_region_adds_is_said_for_models_of_known_age(host: str, model: str, day: str, added: int | None) -> None:
    region = load_profiles({}).of_host(host).region_of(host)
    assert region is not None
    assert added == region.surcharge_of(model, (date.fromisoformat(day) - date(1970, 1, 1)).days)


@pytest.mark.parametrize("host", ["api.openai.com", "corp.openai.azure.com", "api.aigateway.sh", "images.corp.example"])
def test_other_hosts_have_the_plain_price(host: str) -> None:
    assert load_profiles({}).of_host(host).region_of(host) is None


@pytest.mark.parametrize("host", ["images.corp.example", "127.0.0.1:8123"])
def test_a_host_is_given_a_profile_by_pattern(host: str) -> None:
    profiles = load_profiles({"IMAGES.corp.example": "aigateway", "127.0.0.1:*": "aigateway"})
    assert "aigateway" == profiles.of_host(host).id


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("images.corp.example:443", "images.corp.example"),
        ("images.corp.example:80", "images.corp.example"),
        ("images.corp.example:8443", "images.corp.example:8443"),
        ("[::1]:*", "[::1]:8000"),
        ("images[12].corp.example", "images2.corp.example"),
        (" Images.Corp.Example ", "images.corp.example"),
        ("images.corp.example.", "images.corp.example"),
        ("images.corp.example", "images.corp.example."),
        ("images.corp.example:8443", "images.corp.example.:8443"),
        ("images.corp.example.:443", "images.corp.example."),
        ("*.corp.example.", "images.corp.example."),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example.:8443", "xn--bcher-kva.example:8443"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("*.bücher.example:*", "images.xn--bcher-kva.example:8443"),
        ("straße.example", "xn--strae-oqa.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_pattern_means_what_it_looks_like(pattern: str, host: str) -> None:
    assert "aigateway" == load_profiles({pattern: "aigateway"}).of_host(host).id


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
@pytest.mark.parametrize(
    "host",
    [
        "bücher.example",
        "BÜCHER.example",
        "bücher.example.",
        "straße.example:8443",
        "日本語。jp",
        "Images.Corp.example.",
    ],
)
def test_a_host_matches_what_an_http_library_makes_of_it(library: Any, host: str, tmp_path: Path) -> None:
    netloc = library.URL(f"https://{host}/v1").netloc.decode("ascii")
    file = tmp_path / "mine.toml"
    file.write_text(f'id = "mine"\n[match]\nhosts = ["{host}"]\n', encoding="utf-8")

    assert "aigateway" == load_profiles({host: "aigateway"}).of_host(netloc).id
    assert "mine" == load_profiles({}, str(file)).of_host(netloc).id


def test_a_known_host_with_the_dot_of_the_root_is_known() -> None:
    assert "openai" == load_profiles({}).of_host("api.openai.com.").id


@pytest.mark.parametrize("host", ["b*ücher.example", "ü" * 70 + ".example", "https://images.corp.example", "a/b"])
def test_what_can_be_no_host_is_refused(host: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'id = "mine"\n[match]\nhosts = ["{host}"]\n', encoding="utf-8")

    with pytest.raises(ConfigError, match="is no host"):
        load_profiles({host: "aigateway"})
    with pytest.raises(ConfigError, match=r"mine\.toml:3: .*is no host"):
        load_profiles({}, str(file))


def test_a_users_pattern_wins_over_a_bundled_host() -> None:
    assert "generic_openai" == load_profiles({"api.openai.com": "generic_openai"}).of_host("api.openai.com").id


def test_a_host_given_to_no_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'litelm'.*aigateway.*openai"):
        load_profiles({"x.example": "litelm"})


def test_a_users_file_wins_over_the_bundled_profile_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('id = "openai"\n[match]\nhosts = ["openai.corp.example"]\n')
    for path in (file, tmp_path):
        profiles = load_profiles({}, str(path))
        assert "openai" == profiles.of_host("openai.corp.example").id
        assert "generic_openai" == profiles.of_host("api.openai.com").id


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id = 7", "id"),
        ("", "id"),
        ('id = "x"\n[[cost]]\nfrom = "trailer"\nname = "x"\nunit = "usd"', "trailer"),
        ('id = "x"\n[[cost]]\nfrom = "header"\nname = "x"\nunit = "euro"', "euro"),
        (
            'id = "x"\n[[route]]\npath = "/x"\napi = "tea"\noperation = "edit"',
            "'tea' is no API: write .*chat_images, .*gemini,",
        ),
        ('id = "x"\n[[route]]\npath = "/x"\napi = "answers"\noperation = "edit"', "'answers' is no API.*api"),
        ('id = "x"\ncosts = []', "costs"),
        ('id = "x"\n[identity]\nrequest_id = ["x-größe"]', "'x-größe' is not the name of a header.*request_id"),
        ('id = "x"\n[[cost]]\nfrom = "header"\nname = "x-é"\nunit = "usd"', "'x-é' is not the name of a header.*cost"),
        ('id = "x"\n[tag]\nrequest_header = 5', "5 is not the name of a header.*tag"),
        ('id = "x', "Unterminated"),
        *UNUSABLE.values(),
        ('id = "x"\n[fee]\nparts_per_million = ' + "9" * 4000, "fee.parts_per_million"),
        ('id = "x"\n[fee]\nparts_per_million = -1', "fee.parts_per_million"),
        ('id = "x"\n[tag]\nrequest_header = 0x' + "f" * 5000, "request_header"),
        ('id = "x"\n[tag]\nrequest_header' + ".a" * 5000 + " = 1", ""),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.toml.*{problem}"):
        load_profiles({}, str(file))


def test_a_file_with_a_byte_order_mark_and_line_ends_of_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b'\xef\xbb\xbfid = "mine"\r\n[match]\r\nhosts = ["mine.example"]\r\n')
    assert "mine" == load_profiles({}, str(file)).of_host("mine.example").id


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_text_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.toml"
    reason = UNREADABLE[kind](path)
    for given in (str(path), str(tmp_path)):
        # A folder that is named is one of profiles.
        if given == str(path) and kind == "a folder":
            continue
        with pytest.raises(ConfigError, match=rf"x\.toml cannot be read: {reason}"):
            load_profiles({}, given)


def test_the_names_of_headers_are_written_in_any_case(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'id = "mine"\n[match]\nhosts = ["mine.example"]\nresponse_header_prefixes = ["X-Mine-"]\n'
        '[[cost]]\nfrom = "header"\nname = "X-Mine-Cost"\nunit = "usd"\n[identity]\nrequest_id = ["X-Request-Id"]\n'
    )
    profiles = load_profiles({}, str(file))
    mine = profiles.of_host("mine.example")
    assert Reported(nano=40_000_000) == reported_by(mine.cost, {b"x-mine-cost": b"0.04"}, {}, None)
    assert "req_1" == first({b"x-request-id": b"req_1"}, mine.identity.request_id)
    assert mine is profiles.of_response(profiles.of_host("other.example"), {b"x-mine-id": b"1"})


def test_places_that_are_the_keys_of_a_table_are_places() -> None:
    route = {"path": "/x", "api": "openai_images", "operation": "generate"}
    asks = {"body.kind[]": ["image"]}
    whens = {"usage.final": [True]}
    profile = read_profile(
        {
            "id": "mine",
            "route": [route | {"asks": asks, "quote": {"query.dry_run": ["1"]}}, route | {"asks": [asks, asks]}],
            "cost": [{"from": "body", "name": "usage.cost", "unit": "usd", "when": whens}],
        }
    )
    first, second = profile.route
    places = [place for each in (*first.conditions, *second.conditions, first.exclusions) for place, _ in each]
    assert ["body", "body", "body", "query"] == [place.source for place in places]
    assert [("usage", "final")] == [path.steps for path, _ in profile.cost[0].conditions]
    for table in ({"asks": {"nowhere": ["a"]}}, {"quote": {"nowhere": ["a"]}}):
        with pytest.raises(ProfileError, match="nowhere"):
            read_profile({"id": "mine", "route": [route | table]})


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_profiles({}, str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_many_hosts_do_not_grow_the_memory_of_a_process() -> None:
    profiles = load_profiles({})
    for number in range(5000):
        profiles.of_host(f"host-{number}.example")
    assert 1000 >= len(profiles._hosts.known)


def test_the_documented_profile_is_one() -> None:
    [text] = re.findall(r"```toml\n(# Everything.*?)```", _DOCS.read_text(), re.DOTALL)
    profile = read_profile(tomllib.loads(text))
    assert ("corp", "gpt-image-1.5", 50_000) == (
        profile.id,
        profile.deployments["img-prod"],
        profile.fee.parts_per_million,
    )


def test_every_reason_for_a_cost_is_documented() -> None:
    text = _DOCS.read_text()
    assert [] == [reason for reason in get_args(CostReason) if f"`{reason}`" not in text]


def test_a_generic_profile_may_be_shown_by_headers_too() -> None:
    mine = read_profile({"id": "mine", "generic": True, "match": {"response_header_prefixes": ["x-mine-"]}})
    profiles = Profiles([listed(mine)], {})

    found = profiles.of_host("nobody.example")

    assert "mine" == found.id
    assert found is profiles.of_response(found, {b"x-mine-id": b"1"})


@pytest.mark.parametrize(
    "path", [b"/v1/images/%67enerations", b"/%761/im%61ges/generation%73", b"/v1/images/generations/"]
)
def test_a_path_that_says_the_same_in_another_way_is_the_same_path(path: bytes) -> None:
    """RFC 3986, 6.2.2.2: what needs no percent-encoding means the same with it."""
    profiles = load_profiles({})

    assert profiles.routes("POST", b"api.aigateway.sh", path) == profiles.routes(
        "POST", b"api.aigateway.sh", b"/v1/images/generations"
    )
    assert not profiles.routes("POST", b"api.aigateway.sh", b"/v1/images%2Fgenerations")


@pytest.mark.parametrize("length", [100, 100_000])
def test_a_path_that_no_gateway_has_is_not_looked_through(length: int) -> None:
    found = load_profiles({}).routes("POST", b"nobody.example", b"/%b/images/generations" % (b"a" * length))
    assert (length < 1000) == bool(found)
