"""What people find who want to join: templates and pages that are whole and lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.project.conftest import CHECKOUT

GITHUB = CHECKOUT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PAGES = ("CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md", "docs/dependencies.md")


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_the_host_takes(form: Path) -> None:
    said = yaml.safe_load(form.read_text())
    fields = [one for one in said["body"] if one["type"] != "markdown"]
    ids = [one["id"] for one in fields]

    assert {"name", "description", "body"} == set(said)
    assert len(ids) == len(set(ids))
    assert all(one["type"] in {"input", "textarea"} and one["attributes"]["label"] for one in fields)
    assert any(one.get("validations", {}).get("required") for one in fields)


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_to_a_file_and_a_heading_that_are_there(page: str) -> None:
    file = CHECKOUT / page
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", file.read_text()):
        path, _, heading = target.partition("#")
        linked = (file.parent / path).resolve() if path else file
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target


def test_what_contributors_are_told_to_run_is_there() -> None:
    told = "".join((CHECKOUT / page).read_text() for page in PAGES) + (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`make ([a-z-]+)", told)) <= targets
    for module in re.findall(r"-m (scripts\.[a-z_]+)", told):
        assert (CHECKOUT / f"{module.replace('.', '/')}.py").exists()
