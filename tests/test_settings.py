"""What the environment says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import pixelmeter
from pixelmeter import settings as settings_module
from pixelmeter.errors import ConfigError
from pixelmeter.settings import VARIABLES, Settings, from_environment, misspelt, usage_key, usage_key_names
from tests.conftest import unavailable
from tests.hazards.process import run_python


def test_an_empty_environment_means_a_sqlite_file_here() -> None:
    settings = from_environment({"HOME": "/home/u"})
    assert Settings(database_url="sqlite:///pixelmeter.db", state_dir="/home/u/.local/state") == settings


def test_every_variable_is_read() -> None:
    settings = from_environment(
        {
            "PIXELMETER_DATABASE_URL": "postgresql://h/d",
            "PIXELMETER_SPOOL_DIR": "/s",
            "PIXELMETER_SPOOL_LIMIT": "200M",
            "PIXELMETER_PRICES": "/p.toml",
            "PIXELMETER_PROFILES": "/g",
            "PIXELMETER_GATEWAYS": "images.corp.example=aigateway, 127.0.0.1:*=openai,",
            "PIXELMETER_TAGS": "team=growth,env=prod",
            "PIXELMETER_FEE_PERCENT": "5.5",
            "PIXELMETER_WRITE_INTERVAL": "0.25",
            "PIXELMETER_DURABILITY": "sync",
            "PIXELMETER_COST_ATTRIBUTES": "openlit",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental",
            "PIXELMETER_SINKS": "prometheus, otel,prometheus,",
            "PIXELMETER_WEBHOOK_SECRETS": "aigateway=s,bria=t",
            "XDG_STATE_HOME": "/x",
        }
    )
    assert (
        Settings(
            database_url="postgresql://h/d",
            spool_dir="/s",
            spool_limit=200 << 20,
            state_dir="/x",
            prices="/p.toml",
            profiles="/g",
            gateways={"images.corp.example": "aigateway", "127.0.0.1:*": "openai"},
            tags={"team": "growth", "env": "prod"},
            fee_rate=55_000,
            write_interval=0.25,
            durability="sync",
            sinks=("prometheus", "otel"),
            cost_attributes="openlit",
            latest_conventions=True,
            webhook_secrets={"aigateway": ("s",), "bria": ("t",)},
        )
        == settings
    )


def test_pairs_may_be_a_json_object_for_values_with_commas() -> None:
    settings = from_environment({"PIXELMETER_TAGS": '{"team": "growth, eu", "k": "a=b"}', "PIXELMETER_GATEWAYS": "{}"})
    assert ({"team": "growth, eu", "k": "a=b"}, {}) == (settings.tags, settings.gateways)


def test_a_value_may_have_an_equals_sign() -> None:
    assert {"query": "a=b"} == from_environment({"PIXELMETER_TAGS": "query=a=b"}).tags


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIXELMETER_GATEWAYS", "{"),
        ("PIXELMETER_GATEWAYS", '{"a": 1}'),
        ("PIXELMETER_GATEWAYS", "images.corp.example"),
        ("PIXELMETER_TAGS", "team="),
        ("PIXELMETER_TAGS", "=x"),
        ("PIXELMETER_WRITE_INTERVAL", "often"),
        ("PIXELMETER_WRITE_INTERVAL", "-1"),
        ("PIXELMETER_WRITE_INTERVAL", "3600.1"),
        ("PIXELMETER_WRITE_INTERVAL", "inf"),
        ("PIXELMETER_FEE_PERCENT", "five"),
        ("PIXELMETER_FEE_PERCENT", "-1"),
        ("PIXELMETER_FEE_PERCENT", "101"),
        ("PIXELMETER_FEE_PERCENT", "NaN"),
        ("PIXELMETER_FEE_PERCENT", "1e999999999"),
        ("PIXELMETER_DURABILITY", "yes"),
        ("PIXELMETER_SINKS", "statsd"),
        ("PIXELMETER_COST_ATTRIBUTES", "otel"),
        ("PIXELMETER_TAGS", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"),
        ("PIXELMETER_TAGS", '{"a": ' + "9" * 5000 + "}"),
        ("PIXELMETER_TAGS", '{"a": "\udcff"}'),
        ("PIXELMETER_GATEWAYS", "{" * 5000),
        ("PIXELMETER_FEE_PERCENT", "9" * 5000),
        ("PIXELMETER_PRICES", "a\0b"),
        ("PIXELMETER_SCHEMA", "Meter"),
        ("PIXELMETER_SCHEMA", 'a"; DROP SCHEMA public'),
        ("PIXELMETER_SCHEMA", "pg_meter"),
        ("PIXELMETER_SCHEMA", "a" * 64),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        from_environment({name: value})


@pytest.mark.parametrize("around", [" {} ", "\t{}\n"])
def test_spaces_around_a_value_are_dropped(around: str) -> None:
    plain = {
        "PIXELMETER_DATABASE_URL": "sqlite:////srv/a.db",
        "PIXELMETER_SCHEMA": "meter",
        "PIXELMETER_SPOOL_DIR": "/s",
        "PIXELMETER_PRICES": "/p.toml",
        "PIXELMETER_PROFILES": "/g",
        "PIXELMETER_GATEWAYS": "images.corp.example=aigateway",
        "PIXELMETER_TAGS": "team=growth",
        "PIXELMETER_FEE_PERCENT": "5.5",
        "PIXELMETER_WRITE_INTERVAL": "2.5",
        "PIXELMETER_DURABILITY": "sync",
        "PIXELMETER_SPOOL_LIMIT": "200M",
        "PIXELMETER_COST_ATTRIBUTES": "openlit",
        "PIXELMETER_SINKS": "otel",
        "PIXELMETER_WEBHOOK_SECRETS": "bria=t",
        "PIXELMETER_USAGE_KEYS": "aigateway=k",
        "PIXELMETER_NOTIFY_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "PIXELMETER_CHECK_WEBHOOK": "https://hooks.corp.example/t",
        "PIXELMETER_BUDGETS": "/b.toml",
        "PIXELMETER_AUTO": "1",
        "PIXELMETER_DISABLED": "1",
        "XDG_STATE_HOME": "/x",
    }
    assert plain.keys() >= VARIABLES.keys()
    assert from_environment(plain) == from_environment({name: around.format(text) for name, text in plain.items()})


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_is_one_that_is_not_set(empty: str) -> None:
    home = {"HOME": "/home/u"}
    assert from_environment(home) == from_environment(home | dict.fromkeys([*VARIABLES, "XDG_STATE_HOME"], empty))


@pytest.mark.parametrize("name", ["PIXELMETER_SPOOL_DIR", "PIXELMETER_PRICES", "PIXELMETER_PROFILES"])
def test_a_relative_path_is_absolute_from_then_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/u")

    def path(text: str) -> object:
        return getattr(from_environment({name: text}), name.removeprefix("PIXELMETER_").lower())

    assert [f"{tmp_path}/a/b", "/home/u/a", "/a"] == [path(text) for text in ("a/b", "~/a", "/a")]


def test_a_relative_path_in_a_folder_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert "/a" == from_environment({"PIXELMETER_PRICES": "/a"}).prices
    with pytest.raises(ConfigError, match=r"PIXELMETER_PRICES is a relative path.*write an absolute path"):
        from_environment({"PIXELMETER_PRICES": "a"})
    with pytest.raises(ConfigError, match="the path of the database URL is a relative path"):
        pixelmeter.Meter("sqlite:///a.db")
    pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db").close()


def test_a_relative_state_folder_is_ignored_as_its_specification_says() -> None:
    assert "/home/u/.local/state" == from_environment({"HOME": "/home/u", "XDG_STATE_HOME": "state"}).state_dir


# The real user id is what has no name; the effective one goes on as root, who can read the library.
_WITHOUT_HOME = """
import os, sys
os.environ.pop("HOME", None)
os.setreuid(54321, 0)
from pixelmeter.cli import main
"""


def without_home(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose user has neither a name nor a home folder."""
    if os.geteuid() != 0:
        unavailable("only root can be another user", "run the tests as root")
    return run_python(_WITHOUT_HOME + code)


@pytest.mark.parametrize("home", ["", 'os.environ["HOME"] = ""\n'])
def test_a_user_without_a_home_needs_none_where_the_spool_has_a_place(tmp_path: Path, home: str) -> None:
    ended = without_home(
        f"{home}import pixelmeter\nos.chdir({str(tmp_path)!r})\n"
        "places = [pixelmeter.Meter().status()['spool_dir']]\n"
        "os.environ['PIXELMETER_SPOOL_DIR'] = '/s'\n"
        "places.append(pixelmeter.Meter('postgresql://h/d').status()['spool_dir'])\n"
        "del os.environ['PIXELMETER_SPOOL_DIR']\nos.environ['XDG_STATE_HOME'] = '/x'\n"
        "places.append(pixelmeter.Meter('postgresql://h/d').status()['spool_dir'])\n"
        "print(places)"
    )

    assert (0, "") == (ended.returncode, ended.stderr)
    assert f"['{tmp_path}/pixelmeter.db.spool', '/s/h-d-" in ended.stdout
    assert "'/x/pixelmeter/h-d-" in ended.stdout


def test_a_user_without_a_home_is_told_what_to_set_where_one_is_needed() -> None:
    ended = without_home(
        "import pixelmeter\nfor url in ('postgresql://h/d', 'sqlite:///~/a.db', 'sqlite:///~nobody-here/a.db'):\n"
        "    try:\n        pixelmeter.Meter(url)\n"
        "    except pixelmeter.ConfigError as error:\n        print(error)\n"
    )

    server, file, stranger = ended.stdout.splitlines()
    assert (0, "") == (ended.returncode, ended.stderr)
    assert "set PIXELMETER_SPOOL_DIR" in server
    assert "the path of the database URL begins with ~, but HOME is not set" in file
    assert "there is no user 'nobody-here'" in stranger


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["report"], 1),
        (["calls", "--database-url", "postgresql://me@127.0.0.1:1/d"], 1),
        (["db", "status"], 0),
        (["prices", "list", "--model", "gpt-image-1"], 0),
        # Whether a file may be written is asked for the real user, who may not.
        (["doctor"], 1),
        (["doctor", "--database-url", "postgresql://me@127.0.0.1:1/d"], 1),
    ],
)
def test_commands_of_a_user_without_a_home_end_without_a_traceback(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    ended = without_home(f"os.chdir({str(tmp_path)!r})\nmain({arguments!r})")

    assert code == ended.returncode
    assert "Traceback" not in ended.stderr
    if "doctor" in arguments and "--database-url" in arguments:
        assert "PIXELMETER_SPOOL_DIR" in ended.stdout


def test_the_page_has_every_variable_and_no_other() -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    source = Path(settings_module.__file__).read_text()
    names = re.compile(r"PIXELMETER_[A-Z_]+")
    assert set(VARIABLES) == set(names.findall(source)) == set(names.findall(page))


def test_a_variable_that_is_misspelt_is_found_with_the_one_that_was_meant() -> None:
    found = misspelt(
        {
            "PIXELMETER_DATABSE_URL": "x",
            "PIXELMETER_DB_URL": "x",
            "PIXELMETER_SPOOLDIR": "x",
            "pixelmeter_tags": "x",
            "PIXELMTER_PRICES": "x",
            "PIXEL_METER_GATEWAYS": "x",
            "PIXELMETER_COLOUR": "x",
            "PIXELMETER_PROMETHEUS_URL": "x",
            "PIXELMETER_SINKS": "x",
            "PATH": "x",
        },
        besides=["PIXELMETER_PROMETHEUS_URL"],
    )
    assert {
        "PIXELMETER_DATABSE_URL": "PIXELMETER_DATABASE_URL",
        "PIXELMETER_DB_URL": "PIXELMETER_DATABASE_URL",
        "PIXELMETER_SPOOLDIR": "PIXELMETER_SPOOL_DIR",
        "pixelmeter_tags": "PIXELMETER_TAGS",
        "PIXELMTER_PRICES": "PIXELMETER_PRICES",
        "PIXEL_METER_GATEWAYS": "PIXELMETER_GATEWAYS",
        "PIXELMETER_COLOUR": None,
    } == found


def test_a_key_to_ask_for_usage_is_ours_or_the_vendors() -> None:
    given = {"PIXELMETER_USAGE_KEYS": "aigateway=ours, openai=admin", "AIGATEWAY_API_KEY": "theirs"}
    assert ["ours", "admin", None, None] == [
        usage_key(name, given) for name in ("aigateway", "openai", "openrouter", "nobody")
    ]
    assert "theirs" == usage_key("aigateway", given | {"PIXELMETER_USAGE_KEYS": " "})
    assert "a, b" == usage_key("litellm", {"PIXELMETER_USAGE_KEYS": '{"litellm": "a, b"}'})
    assert "m" == usage_key("litellm", {"LITELLM_MASTER_KEY": "m"})
    assert "PIXELMETER_USAGE_KEYS or OPENAI_ADMIN_KEY" == usage_key_names("openai")


@pytest.mark.parametrize("text", ["aigateway=key-1,aigateway=key-2", "key-1", "{key-1", '{"aigateway": 7}'])
def test_keys_that_cannot_be_used_are_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="PIXELMETER_USAGE_KEYS") as raised:
        usage_key("aigateway", {"PIXELMETER_USAGE_KEYS": text})
    assert "key-" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1M", 1 << 20),
        ("1048576", 1 << 20),
        ("2 GiB", 2 << 30),
        ("1.5g", 3 << 29),
        ("10Mi", 10 << 20),
        ("3MB", 3_000_000),
        ("1 TB", 10**12),
        ("2000000000 B", 2_000_000_000),
    ],
)
def test_the_limit_of_the_spool_has_a_suffix_or_none(text: str, size: int) -> None:
    assert size == from_environment({"PIXELMETER_SPOOL_LIMIT": text}).spool_limit


@pytest.mark.parametrize("text", ["0", "-1", "1K", "1048575", "1.5.2G", "G", "1 PB", "1e9", "ten", "1M 2M", "9" * 50])
def test_a_limit_of_the_spool_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("at least 1M, such as 200M, 1.5GiB or 2000000000")):
        from_environment({"PIXELMETER_SPOOL_LIMIT": text})
