"""What the environment says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pixelmeter import settings as settings_module
from pixelmeter.errors import ConfigError
from pixelmeter.settings import Settings, from_environment


def test_an_empty_environment_means_a_sqlite_file_here() -> None:
    settings = from_environment({"HOME": "/home/u"})
    assert Settings(database_url="sqlite:///pixelmeter.db", state_dir="/home/u/.local/state") == settings


def test_every_variable_is_read() -> None:
    settings = from_environment(
        {
            "PIXELMETER_DATABASE_URL": "postgresql://h/d",
            "PIXELMETER_SPOOL_DIR": "/s",
            "PIXELMETER_PRICES": "/p.toml",
            "PIXELMETER_PROFILES": "/g",
            "PIXELMETER_GATEWAYS": "images.corp.example=aigateway, 127.0.0.1:*=openai,",
            "PIXELMETER_TAGS": "team=growth,env=prod",
            "PIXELMETER_FEE_PERCENT": "5.5",
            "PIXELMETER_DURABILITY": "sync",
            "PIXELMETER_COST_ATTRIBUTES": "openlit",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental",
            "PIXELMETER_SINKS": "prometheus, otel,prometheus,",
            "XDG_STATE_HOME": "/x",
        }
    )
    assert (
        Settings(
            database_url="postgresql://h/d",
            spool_dir="/s",
            state_dir="/x",
            prices="/p.toml",
            profiles="/g",
            gateways={"images.corp.example": "aigateway", "127.0.0.1:*": "openai"},
            tags={"team": "growth", "env": "prod"},
            fee_rate=55_000,
            durability="sync",
            sinks=("prometheus", "otel"),
            cost_attributes="openlit",
            latest_conventions=True,
        )
        == settings
    )


def test_pairs_may_be_a_json_object_for_values_with_commas() -> None:
    settings = from_environment({"PIXELMETER_TAGS": '{"team": "growth, eu", "k": "a=b"}', "PIXELMETER_GATEWAYS": "{}"})
    assert ({"team": "growth, eu", "k": "a=b"}, {}) == (settings.tags, settings.gateways)


def test_a_value_may_have_an_equals_sign() -> None:
    assert {"query": "a=b"} == from_environment({"PIXELMETER_TAGS": "query=a=b"}).tags


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIXELMETER_GATEWAYS", "{"),
        ("PIXELMETER_GATEWAYS", '{"a": 1}'),
        ("PIXELMETER_GATEWAYS", "images.corp.example"),
        ("PIXELMETER_TAGS", "team="),
        ("PIXELMETER_TAGS", "=x"),
        ("PIXELMETER_FEE_PERCENT", "five"),
        ("PIXELMETER_FEE_PERCENT", "-1"),
        ("PIXELMETER_FEE_PERCENT", "101"),
        ("PIXELMETER_FEE_PERCENT", "NaN"),
        ("PIXELMETER_FEE_PERCENT", "1e999999999"),
        ("PIXELMETER_DURABILITY", "yes"),
        ("PIXELMETER_SINKS", "statsd"),
        ("PIXELMETER_COST_ATTRIBUTES", "otel"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        from_environment({name: value})


def test_the_page_has_every_variable_and_no_other() -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    source = Path(settings_module.__file__).read_text()
    names = re.compile(r"PIXELMETER_[A-Z_]+")
    assert set(names.findall(source)) == set(names.findall(page))
