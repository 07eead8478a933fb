"""The pages of docs/ lead to each other, their programs run, and their commands are understood."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Billing, CostSource, Outcome
from pixelmeter.testing import Gateway
from tests.interop.conftest import Metered

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
WITH_COMMANDS = ("reports", "retention", "quickstart", "at-risk", "corrections", "on-call")
WITH_PROGRAMS = {"quickstart": 1, "costs-in-python": 2}


def links(page: Path) -> Iterator[str]:
    """Yield the links of a page to files of the project, as they stand there."""
    for found in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        yield found[1]


def anchors(page: Path) -> set[str]:
    """Return the names that the headings of a page have in links."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_question_has_a_page_that_the_readme_reaches_in_two_clicks() -> None:
    questions = DOCS / "questions.md"
    assert "docs/questions.md" in set(links(README))
    rows = re.findall(r"^\| (.*\?) \| (.*) \|$", questions.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) >= 30
    assert [] == [question for question, pages in rows if not LINK.search(pages)]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), {README}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        found = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        ahead |= {each for each in found if each.suffix == ".md" and each.exists()} - reached
    # Why things are as they are is a folder, to which one link leads.
    assert [] == [page.name for page in PAGES if page not in reached and page.parent.name != "decisions"]


def test_the_glossary_has_every_state_of_an_attempt_and_is_in_order() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    words = [word.lower() for word in re.findall(r"^\| ([^|`]+?) \|", page, re.MULTILINE)[1:]]
    assert len(words) > 40
    assert sorted(words) == words
    for state in (*get_args(Outcome), *get_args(Billing), *get_args(CostSource)):
        assert f"`{state}`" in page


def commands() -> Iterator[str]:
    """Yield the command lines of pages that no other test looks at."""
    for name in WITH_COMMANDS:
        page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        for session in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
            yield from (line[2:] for line in session.splitlines() if line.startswith("$ pixelmeter "))


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_is_one_that_there_is(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices.toml").touch()
    name, *words = shlex.split(line)
    command: click.Command | None = main
    above: click.Context | None = None
    while isinstance(command, click.Group):
        above = click.Context(command, info_name=name, parent=above, **command.context_settings)
        name = words.pop(0)
        command = command.get_command(above, name)
    assert command is not None, name
    command.make_context(name, words, parent=above).close()


@pytest.mark.parametrize("name", WITH_PROGRAMS)
def test_the_programs_of_a_page_run_one_after_the_other(
    name: str, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", gateway.url)
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks).replace("https://api.aigateway.sh", gateway.root))
    names: dict[str, Any] = runpy.run_path(str(program))
    attempts = Metered(names["meter"]).attempts()
    assert WITH_PROGRAMS[name] == len(attempts)
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in attempts) > 0
    printed = capsys.readouterr().out
    assert "costs-in-python" != name or printed.startswith("0.01 ")
    assert "costs-in-python" != name or printed.endswith("\n0.01\n")
    names["meter"].close()
    names["client"].close()
