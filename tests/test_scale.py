"""docs/scale.md: its questions to DuckDB give the known cost, its commands exist, and its plan adds up."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from pathlib import Path

import click
import duckdb
import pytest

from pixelmeter.cli import main
from pixelmeter.ledger.schema import METADATA
from tests.export.ledgers import export, filled

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
DUCKDB = PAGE.split("**DuckDB**")[1].split("**Spark**")[0]
VIEW, *QUESTIONS = re.findall(r"```sql\n(.*?)```", DUCKDB, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("pixelmeter ")
]
IMAGES = 1_000_000_000
PROCESSES = 1000
HOSTS = 250
SECONDS = 30 * 86_400


@pytest.mark.slow
def test_the_questions_to_duckdb_have_every_attempt_and_the_known_cost(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = filled(sqlite_url).values()
    monkeypatch.chdir(tmp_path)
    export(sqlite_url, "--format", "parquet", "lake/attempts/")
    by_customer, by_model = QUESTIONS
    with duckdb.connect() as connection:
        connection.execute(VIEW)
        costs = connection.execute(by_customer).fetchall()
        images = connection.execute(by_model).fetchall()

    assert Decimal(sum(one.cost or 0 for one in now)) / 10**9 == sum(row[2] or 0 for row in costs)
    assert sum(one.cost is None for one in now) == sum(row[3] for row in costs)
    assert sum(one.outcome == "success" for one in now) == sum(row[1] for row in images)
    assert all(len(row[2]) == 3 for row in images)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_page_exist_with_their_options(line: str) -> None:
    name, *words = shlex.split(line)
    command: click.Command | None = main
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.get_command(click.Context(command), name)
    assert command is not None, name
    assert command.make_context(name, words).params


def test_what_is_distributed_are_tables_of_the_ledger_by_a_part_of_their_keys() -> None:
    found = re.findall(r"create_distributed_table\('(\w+)', '(\w+)'", PAGE)
    assert found
    for table, column in found:
        assert column in METADATA.tables[table].primary_key.columns


def test_the_links_of_the_page_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", PAGE):
        file, _, anchor = link.partition("#")
        target = ROOT / "docs" / (file or "scale.md")
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, link


def test_the_plan_for_a_billion_images_adds_up() -> None:
    attempts = IMAGES + IMAGES // 30
    mean = attempts / SECONDS
    spool = (1 << 30) / (mean / HOSTS * 700) / 86_400
    for said in (
        f"| {round(attempts, -6):,} |",
        f"| {mean:.0f}, {3 * mean:,.0f} |",
        f"| {mean / PROCESSES:.2f} |",
        f"| {PROCESSES / 10:.0f} |",
        f"| {attempts * 568 / 1e9:.0f} GB |",
        f"| {attempts * 700 / 1e12:.1f} to {attempts * 1500 / 1e12:.1f} TB |",
        f"| {attempts * 55 / 1e9:.0f} GB |",
        f"| {attempts / 30 / 16_800 / 60:.0f} minutes |",
        f"| {spool:.0f} days |",
        f"{attempts * 2 * 568 / 1e12:.1f} TB stay",
    ):
        assert said in PAGE
