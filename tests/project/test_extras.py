"""Each extra alone: what works with it, and what says which one is missing without it."""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import pixelmeter
from pixelmeter.cli import COMMANDS
from tests.project.environments import Environment, metadata, plain_environment
from tests.webhooks.senders import FAL_BODY, X, fal

Environments = Callable[..., Environment]

BROUGHT = {
    "aiohttp": "proxy",
    "opentelemetry": "otel",
    "psycopg": "postgres",
    "starlette": "serve",
    "uvicorn": "serve",
    "jinja2": "serve",
    "markdown_it": "serve",
}
"""Packages that our modules import, and the extra that brings each."""
BY_THE_PROGRAM = {"httpx2", "pytest", "urllib3"}
"""Packages that are metered, or meter: who uses these modules has them."""
EXTRAS = ("postgres", "otel", "serve", "proxy", "webhooks", "parquet", "s3")

IMPORTS = """
import importlib, json, sys
lacks = {}
for name in json.load(sys.stdin):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        lacks.setdefault(error.name.partition(".")[0], []).append(name)
print(json.dumps(lacks))
"""

# Environments are made first, which takes long on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def modules() -> list[str]:
    """Return the names of all our modules that do nothing when they are imported."""
    return [
        one.name
        for one in pkgutil.walk_packages(pixelmeter.__path__, "pixelmeter.")
        if not one.name.endswith("__main__") and not one.name.startswith(("pixelmeter.migrations", "pixelmeter.launch"))
    ]


def lacks(environment: Environment) -> Mapping[str, list[str]]:
    """Return the packages that modules do not find in an environment, each with those modules."""
    done = subprocess.run(
        [environment.python, "-W", "error", "-c", IMPORTS],
        input=json.dumps(modules()),
        env=plain_environment(),
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    found: Mapping[str, list[str]] = json.loads(done.stdout)
    return found


def test_these_are_all_extras(wheel: Path) -> None:
    assert {*EXTRAS, "all"} == set(metadata(wheel)["Provides-Extra"])


@pytest.mark.parametrize("extra", [None, *EXTRAS, "all"])
def test_every_module_is_imported_with_what_its_extra_brings(environment: Environments, extra: str | None) -> None:
    here = environment(*filter(None, [extra]))
    others = {package for package, brought_by in BROUGHT.items() if extra not in (brought_by, "all")}

    assert set(lacks(here)) <= others | BY_THE_PROGRAM


def test_without_extras_nothing_is_lacking_but_in_the_rooms_that_extras_are_for(environment: Environments) -> None:
    rooms = (
        "drivers.",
        "httpx2",
        "instrumentor",
        "ledger.merging",
        "ledger.postgres",
        "ledger.pruning_postgres",
        "proxy.",
        "serve.",
        "sinks.otel.",
        "testing.image_run",
        "testing.pytest_plugin",
    )
    found = [name for names in lacks(environment()).values() for name in names]

    assert found
    assert [] == [name for name in found if not name.removeprefix("pixelmeter.").startswith(rooms)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_without_extras(environment: Environments, name: str) -> None:
    done = environment().pixelmeter(name, "--help")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("Usage: pixelmeter ")


def test_without_extras_a_call_is_metered_and_reported(environment: Environments, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    done = environment().pixelmeter("demo", "--calls", "12", "--database-url", url)
    report = environment().pixelmeter("report", "--format", "json", "--database-url", url)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert json.loads(report.stdout)["rows"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "--database-url", "postgresql://127.0.0.1:9/none"), "postgres"),
        (("db", "upgrade", "--database-url", "postgresql://127.0.0.1:9/none"), "postgres"),
        (("serve", "--metrics"), "serve"),
        (("proxy", "--upstream", "https://api.openai.com"), "proxy"),
        (("export", "--format", "parquet", "all.parquet"), "parquet"),
        (("export", "--format", "csv", "s3://bucket/images/"), "s3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_command_without_its_extra_says_which_one_it_needs(
    environment: Environments, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert 0 == environment().pixelmeter("db", "upgrade", "--database-url", url).returncode
    done = environment().pixelmeter(*arguments, PIXELMETER_DATABASE_URL=url)

    assert (1, "") == (done.returncode, done.stdout)
    assert f'pip install "pixelmeter[{said}]"' in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_program_that_makes_a_sink_without_its_extra_gets_an_error_that_names_it(environment: Environments) -> None:
    done = environment().run("-c", "from pixelmeter.sinks.otel import OtelSink; OtelSink()")
    last = done.stderr.splitlines()[-1]

    assert last.startswith("pixelmeter.errors.ConfigError: OpenTelemetry is needed")
    assert last.endswith('pip install "pixelmeter[otel]"')


def test_a_program_that_names_a_sink_without_its_extra_runs_on_and_the_log_names_it(environment: Environments) -> None:
    program = "import httpx; httpx.Client(); print('done')"
    done = environment().pixelmeter("run", "--", environment().python, "-c", program, PIXELMETER_SINKS="otel")

    assert (0, "done\n") == (done.returncode, done.stdout)
    assert 'pip install "pixelmeter[otel]"' in done.stderr


def test_doctor_names_the_extra_of_a_sink(environment: Environments, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    done = environment().pixelmeter("doctor", "--format", "json", "--database-url", url, PIXELMETER_SINKS="otel")

    assert 1 == done.returncode
    [found] = [one for one in json.loads(done.stdout) if one["check"] == "opentelemetry"]
    assert ("problem", 'run: pip install "pixelmeter[otel]"') == (found["state"], found["advice"])


def test_with_postgres_alone_a_ledger_is_made_and_read(environment: Environments, postgres_url: str) -> None:
    here = environment("postgres")
    made = here.pixelmeter("db", "upgrade", "--database-url", postgres_url)
    report = here.pixelmeter("report", "--format", "json", "--database-url", postgres_url)

    assert 0 == made.returncode, made.stderr
    assert [] == json.loads(report.stdout)["rows"]


def test_with_otel_alone_there_are_a_sink_and_an_instrumentor(environment: Environments) -> None:
    program = (
        "from importlib.metadata import entry_points\n"
        "from pixelmeter.sinks.otel import OtelSink\n"
        "[found] = entry_points(group='opentelemetry_instrumentor', name='pixelmeter')\n"
        "found.load()().instrument()\n"
        "print(OtelSink.__name__, OtelSink() is not None)\n"
    )
    done = environment("otel").run("-W", "error", "-c", program)

    assert (0, "OtelSink True\n") == (done.returncode, done.stdout), done.stderr


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [("serve", ("serve", "--metrics", "--port", "0")), ("proxy", ("proxy", "--upstream", "https://api.openai.com"))],
)
def test_with_its_extra_alone_a_server_starts_and_ends(
    environment: Environments, tmp_path: Path, extra: str, arguments: tuple[str, ...]
) -> None:
    here = environment(extra)
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert 0 == here.pixelmeter("db", "upgrade", "--database-url", url).returncode
    options = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0") if extra == "proxy" else ()
    command = [here.python, "-W", "error", "-m", "pixelmeter", *arguments, *options, "--database-url", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **plain_environment()}
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert "127.0.0.1" in first, first + rest
    assert 0 == process.returncode, first + rest


def test_with_parquet_alone_attempts_are_exported(environment: Environments, tmp_path: Path) -> None:
    here = environment("parquet")
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert 0 == here.pixelmeter("db", "upgrade", "--database-url", url).returncode
    done = here.pixelmeter("export", "--format", "parquet", "--database-url", url, f"{tmp_path}/all.parquet")

    assert 0 == done.returncode, done.stderr
    assert b"PAR1" == (tmp_path / "all.parquet").read_bytes()[:4]


def test_with_s3_alone_a_bucket_is_asked(environment: Environments, tmp_path: Path) -> None:
    here = environment("s3")
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert 0 == here.pixelmeter("db", "upgrade", "--database-url", url).returncode
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    done = here.pixelmeter("export", "--format", "csv", "--database-url", url, "s3://bucket/images/", **nobody, **keys)

    assert 1 == done.returncode
    assert "is AWS_ENDPOINT_URL right, and the store up?" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("extra", "said"),
    [("webhooks", "no secret of fal fits"), (None, 'pip install "pixelmeter[webhooks]"')],
)
def test_with_webhooks_alone_a_signature_is_checked(
    environment: Environments, tmp_path: Path, extra: str | None, said: str
) -> None:
    program = (
        "import pixelmeter\n"
        f"meter = pixelmeter.Meter('sqlite:///{tmp_path}/a.db', webhook_secrets={{'fal': {X!r}}})\n"
        "try:\n"
        f"    meter.webhook({fal(FAL_BODY, round(time.time()))!r}, {FAL_BODY + b' '!r})\n"
        "except pixelmeter.WebhookError as error:\n"
        "    print(error)\n"
    )
    done = environment(*filter(None, [extra])).run("-c", program)

    assert 0 == done.returncode, done.stderr
    assert said in done.stdout
