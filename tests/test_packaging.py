"""What is installed from the wheel, away from the checkout."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import pixelmeter

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT))
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that has the wheel, and nothing of this checkout."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False)
    run(sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--no-deps", str(wheel))
    return home / "bin"


def run(*command: str) -> str:
    """Run a command away from the checkout; return what it printed, and fail with its errors."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIXELMETER_"))}
    # Our packages serve the installed one too; a link to the checkout (.pth) has no effect from there.
    env["PYTHONPATH"] = sysconfig.get_path("purelib")
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: str) -> set[str]:
    """Return the paths of the files below a folder of the checkout, from the checkout."""
    return {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel_names: set[str]) -> None:
    expected = {name.removeprefix("src/") for name in files("src/pixelmeter")}
    expected |= {f"pixelmeter/{name}" for name in files("migrations") | files("dashboards") | files("docs/runbooks")}
    expected.add("pixelmeter/docs/alerts.md")

    assert expected == {name for name in wheel_names if ".dist-info/" not in name}


@pytest.mark.parametrize("pattern", ["py.typed", "prices/*.toml", "gateways/*.toml", "migrations/versions/*.py"])
def test_the_wheel_holds_what_the_code_reads(wheel_names: set[str], pattern: str) -> None:
    assert fnmatch.filter(wheel_names, f"pixelmeter/{pattern}")


def test_the_source_distribution_holds_the_tests_and_the_means_to_run_them(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"Makefile", "README.md", "LICENSE", "constraints.txt", "pyproject.toml", "tests/test_packaging.py"} <= names


def test_the_version_of_the_wheel_is_that_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        actual = message_from_string(archive.read(metadata).decode())["Version"]

    assert pixelmeter.__version__ == actual


def test_the_locked_packages_name_no_place_to_get_them_from() -> None:
    assert not re.findall(r"\w+://\S+|--\w*index\S*", (CHECKOUT / "constraints.txt").read_text())


@pytest.mark.slow
def test_an_installed_wheel_imports_from_where_it_was_installed(installed: Path) -> None:
    where = run(str(installed / "python"), "-c", "import pixelmeter; print(pixelmeter.__file__)")

    assert where.startswith(str(installed.parent))


@pytest.mark.slow
def test_a_program_that_has_imported_an_installed_wheel_can_run_pytest_with_every_warning_an_error(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    options = ["-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    show = f"import pixelmeter, pytest; raise SystemExit(pytest.main({options}))"

    assert "1 passed" in run(str(installed / "python"), "-c", show)


@pytest.mark.slow
def test_an_installed_wheel_has_a_command(installed: Path) -> None:
    assert run(str(installed / "pixelmeter"), "--help").startswith("Usage: pixelmeter ")


@pytest.mark.slow
def test_an_installed_wheel_makes_a_ledger_and_reports_on_it(installed: Path, sqlite_url: str) -> None:
    run(str(installed / "pixelmeter"), "db", "upgrade", "--database-url", sqlite_url)
    report = run(str(installed / "pixelmeter"), "report", "--format", "json", "--database-url", sqlite_url)

    assert [] == json.loads(report)["rows"]


@pytest.mark.slow
def test_an_installed_wheel_knows_prices_and_gateways(installed: Path) -> None:
    show = "import pixelmeter; print(pixelmeter.Meter('sqlite:////nowhere/ledger.db'))"

    assert "Meter('sqlite:////nowhere/ledger.db')" == run(str(installed / "python"), "-c", show).strip()


@pytest.mark.slow
def test_an_installed_wheel_writes_dashboards_rules_and_alerts(installed: Path, tmp_path: Path) -> None:
    run(str(installed / "pixelmeter"), "dashboards", "export", str(tmp_path))
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {name.removeprefix("dashboards/") for name in files("dashboards")}
    pages = {name.removeprefix("docs/") for name in files("docs/runbooks")} | {"alerts.md"}

    assert {name: (CHECKOUT / "dashboards" / name).read_text() for name in kept} | {
        name: written[name] for name in pages
    } == written
