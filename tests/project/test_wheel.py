"""What is built: the wheel as it is installed, away from the checkout, and the source distribution."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pixelmeter
from tests.project.conftest import CHECKOUT
from tests.project.environments import Environment, metadata

# Something is built first, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)

TROVE = "Programming Language :: Python :: "


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def installed(environment: Callable[..., Environment]) -> Environment:
    """An environment that has the wheel and what it needs, and nothing of this checkout."""
    return environment()


def run(installed: Environment, *arguments: str) -> str:
    """Return what a command prints that must not fail."""
    done = installed.pixelmeter(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: str) -> set[str]:
    """Return the paths of the files below a folder of the checkout, or of the one file, from the checkout."""
    top = CHECKOUT / folder
    return {
        str(path.relative_to(CHECKOUT))
        for path in (top, *top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def kept() -> set[str]:
    """Return the files that git has or would take."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return {name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file()}


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel_names: set[str]) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    beside = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    expected = {name.removeprefix("src/") for name in files("src/pixelmeter")}
    expected |= {f"{target}{name.removeprefix(source)}" for source, target in beside.items() for name in files(source)}

    assert expected == {name for name in wheel_names if ".dist-info/" not in name}


@pytest.mark.parametrize("pattern", ["py.typed", "prices/*.toml", "gateways/*.toml", "migrations/versions/*.py"])
def test_the_wheel_holds_what_the_code_reads(wheel_names: set[str], pattern: str) -> None:
    assert fnmatch.filter(wheel_names, f"pixelmeter/{pattern}")


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="needs git clone: this is no clone")
def test_the_source_distribution_holds_what_the_repository_holds(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}

    assert kept() == names - {"PKG-INFO"}


def test_the_wheel_says_what_it_is_the_version_included(wheel: Path) -> None:
    said = metadata(wheel)

    assert [pixelmeter.__version__] == said["Version"]
    assert (["MIT"], ["LICENSE"]) == (said["License-Expression"], said["License-File"])
    assert [">=3.11"] == said["Requires-Python"]
    assert {f"{TROVE}{version}" for version in ("3.11", "3.12", "3.13")} <= set(said["Classifier"])


@pytest.mark.slow
def test_twine_finds_nothing_wrong_with_what_would_be_published(built: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())], capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_locked_packages_name_no_place_to_get_them_from() -> None:
    assert not re.findall(r"\w+://\S+|--\w*index\S*", (CHECKOUT / "constraints.txt").read_text())


@pytest.mark.slow
def test_an_installed_wheel_imports_from_where_it_was_installed(installed: Environment) -> None:
    done = installed.run("-c", "import pixelmeter; print(pixelmeter.__file__)")

    assert done.stdout.startswith(str(installed.home))


@pytest.mark.slow
def test_a_program_that_has_imported_an_installed_wheel_can_run_pytest_with_every_warning_an_error(
    installed: Environment, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    options = ["-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    show = f"import pixelmeter, pytest; raise SystemExit(pytest.main({options}))"

    # A link to the checkout (.pth) has no effect from there.
    done = installed.run("-c", show, PYTHONPATH=sysconfig.get_path("purelib"))
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_an_installed_wheel_has_a_command(installed: Environment) -> None:
    assert run(installed, "--help").startswith("Usage: pixelmeter ")


@pytest.mark.slow
def test_an_installed_wheel_makes_a_ledger_and_reports_on_it(installed: Environment, sqlite_url: str) -> None:
    run(installed, "db", "upgrade", "--database-url", sqlite_url)
    report = run(installed, "report", "--format", "json", "--database-url", sqlite_url)

    assert [] == json.loads(report)["rows"]


@pytest.mark.slow
def test_an_installed_wheel_knows_prices_and_gateways(installed: Environment) -> None:
    show = "import pixelmeter; print(pixelmeter.Meter('sqlite:////nowhere/ledger.db'))"

    assert "Meter('sqlite:////nowhere/ledger.db')\n" == installed.run("-c", show).stdout


@pytest.mark.slow
def test_an_installed_wheel_writes_dashboards_rules_and_alerts(installed: Environment, tmp_path: Path) -> None:
    run(installed, "dashboards", "export", str(tmp_path))
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {name.removeprefix("dashboards/") for name in files("dashboards")}
    pages = {name.removeprefix("docs/") for name in files("docs/runbooks")} | {"alerts.md"}

    assert shipped | pages == set(written)
    for name in shipped:
        assert (CHECKOUT / "dashboards" / name).read_text() == written[name]


@pytest.mark.slow
def test_the_tests_pass_on_an_installed_wheel_after_the_source_was_deleted(built: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "scripts.try_wheel",
            str(built),
            str(tmp_path),
            "tests/core/pricing",
            "tests/test_meter.py",
        ],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
