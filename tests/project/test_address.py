"""The project's address: one place has it, and nothing links to a home that does not exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import hatch_build
from pixelmeter._version import ADDRESS, __version__
from tests.project.conftest import CHECKOUT
from tests.project.environments import description, metadata

# Something is built first, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)

README = (CHECKOUT / "README.md").read_text()
HOME = "https://code.example/owner/pixelmeter"
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def targets(text: str) -> list[str]:
    """Return what the links and pictures of a Markdown text lead to, outside of code."""
    return LINK.findall(re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def test_the_links_of_the_readme_lead_to_files_of_the_release_once_there_is_an_address() -> None:
    made = targets(hatch_build.readme(README, HOME, "1.2.3"))
    ours = [target for target in made if target.startswith(HOME)]

    assert len(targets(README)) == len(made)
    assert ours
    for target in ours:
        kind, _, path = target.removeprefix(f"{HOME}/").partition("/v1.2.3/")
        assert kind == ("raw" if path.endswith(".png") else "blob")
        assert (CHECKOUT / path.partition("#")[0]).exists()
    assert {target for target in targets(README) if "://" in target} == set(made) - set(ours)


def test_without_an_address_the_readme_keeps_the_text_of_its_links_and_no_picture() -> None:
    text = "See [the docs](docs/index.md) at [PyPI](https://index.example), ![a picture](docs/a.png) [here](#here)\n"
    code = "```python\nfound = rows[0](docs)\n```\n"

    assert "See the docs at [PyPI](https://index.example),  [here](#here)\n" + code == hatch_build.readme(
        text + code, "", "1"
    )


def test_the_links_of_a_release_are_those_of_its_version() -> None:
    found = hatch_build.urls(HOME, "1.2.3")

    assert HOME == found["Repository"]
    assert f"{HOME}/blob/v1.2.3/CHANGELOG.md" == found["Changelog"]
    assert {} == hatch_build.urls("", "1.2.3")


@pytest.mark.slow
def test_the_wheel_has_the_readme_and_the_links_that_the_address_gives(wheel: Path) -> None:
    said = metadata(wheel)

    assert hatch_build.readme(README, ADDRESS, __version__).strip() == description(wheel).strip()
    assert [f"{name}, {url}" for name, url in hatch_build.urls(ADDRESS, __version__).items()] == list(
        said.get("Project-URL", [])
    )
    assert ["text/markdown"] == said["Description-Content-Type"]


@pytest.mark.slow
@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="needs git clone: this is no clone")
def test_no_other_file_holds_an_address_of_the_project() -> None:
    home = r"https?://[a-z0-9.-]+/[a-z0-9./-]*pixelmeter/(pixelmeter|blob|issues|tree|raw)|pixelmeter\.readthedocs|/project[/]pixelmeter"
    done = subprocess.run(["git", "grep", "-lE", home], cwd=CHECKOUT, capture_output=True, text=True)

    assert (1, "") == (done.returncode, done.stdout), done.stderr
