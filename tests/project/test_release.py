"""What a release brings along: notes, and a list of what it was built with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pixelmeter._version import __version__
from scripts.release_notes import notes
from tests.project.conftest import CHECKOUT
from tests.project.environments import needed

# Something is built first, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)

CHANGELOG = """# Changelog

## 1.1.0 (2026-12-24)

- It is faster.

### For maintainers

- A new rule.

## 1.0.0 (unreleased)

- All of it.
"""


def test_the_notes_of_a_release_are_its_part_of_the_changelog() -> None:
    assert "- It is faster.\n\n### For maintainers\n\n- A new rule.\n" == notes("v1.1.0", "1.1.0", CHANGELOG)


@pytest.mark.parametrize(
    ("tag", "version", "said"),
    [
        ("v1.1.1", "1.1.0", "tag v1.1.0"),
        ("v2.0.0", "2.0.0", "no heading '## 2.0.0 (YYYY-MM-DD)'"),
        ("v1.0.0", "1.0.0", "put the day there"),
    ],
)
def test_a_version_that_is_not_ready_is_not_released(tag: str, version: str, said: str) -> None:
    with pytest.raises(ValueError, match=".") as raised:
        notes(tag, version, CHANGELOG)
    assert said in str(raised.value)


def test_the_changelog_has_the_version_that_comes_next() -> None:
    assert f"\n## {__version__} (" in (CHECKOUT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_sbom_lists_the_wheel_and_all_that_its_extras_bring(built: Path, wheel: Path, tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "scripts.make_sbom", str(built), str(file)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    found = json.loads(file.read_text())
    names = {one["name"].lower().replace("_", "-") for one in found["components"]}

    assert "CycloneDX" == found["bomFormat"]
    assert ("pixelmeter", __version__) == tuple(found["metadata"]["component"][key] for key in ("name", "version"))
    assert needed(wheel, ["all"]) == names - {"pixelmeter"}
    assert all(one["version"] and one["purl"] for one in found["components"])
