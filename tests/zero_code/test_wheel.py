"""`pixelmeter-auto` as it is built and installed."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pixelmeter_auto
import pytest

import pixelmeter
from pixelmeter.testing import Gateway
from tests.zero_code.conftest import add_libraries
from tests.zero_code.programs import AUTO, ROOT, Ended, app, ended, environment, rows, site_packages

pytestmark = pytest.mark.slow

FILES = ("pixelmeter_auto.py", "pixelmeter_auto.pth", "pixelmeter_auto.start")
PROJECT = tomllib.loads((AUTO / "pyproject.toml").read_text())["project"]


def test_it_has_the_version_and_the_pythons_of_pixelmeter() -> None:
    main = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (pixelmeter.__version__, main["requires-python"]) == (PROJECT["version"], PROJECT["requires-python"])
    assert [f"pixelmeter>={pixelmeter.__version__}"] == PROJECT["dependencies"]


def test_the_line_that_python_runs_is_one_that_it_runs() -> None:
    """The site module runs a line that begins with `import`, and nothing that is longer than one."""
    [line] = (AUTO / "pixelmeter_auto.pth").read_text().splitlines()
    assert line.startswith("import ")
    compile(line, "pixelmeter_auto.pth", "exec")


def test_python_3_15_finds_a_function_without_arguments_by_the_other_file() -> None:
    """PEP 829: a line is a comment, or `module:callable`, which is called without arguments."""
    lines = (AUTO / "pixelmeter_auto.start").read_bytes().decode("utf-8-sig").splitlines()
    [entry] = [line for line in lines if line.strip() and not line.startswith("#")]
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)*:[a-z_]+", entry)
    assert pkgutil.resolve_name(entry) is pixelmeter_auto.start
    assert 0 == pixelmeter_auto.start.__code__.co_argcount


@pytest.mark.slow
def test_two_wheels_that_are_installed_meter_a_program(gateway: Gateway, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--quiet", "--outdir", str(wheels)]
    for project in (ROOT, AUTO):
        subprocess.run([*build, str(project)], check=True, capture_output=True)
    [small] = wheels.glob("pixelmeter_auto-*.whl")
    with zipfile.ZipFile(small) as archive:
        assert set(FILES) == {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in FILES:
            assert (AUTO / name).read_bytes() == archive.read(name)
    home = tmp_path / "installed"
    venv.create(home, with_pip=False, symlinks=True)
    python = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, *map(str, wheels.glob("*.whl"))], check=True, capture_output=True)
    add_libraries(site_packages(home), checkout=False)
    show = "import pixelmeter; print(pixelmeter.__file__)"
    assert ended([python, "-c", show], environment(tmp_path), tmp_path).output.startswith(str(home))
    command = [python, app(tmp_path), gateway.url]
    assert Ended(3, "2\n200\n", "and an error\n") == ended(command, environment(tmp_path), tmp_path)
    assert [] == rows(tmp_path)
    variables = environment(tmp_path, PIXELMETER_AUTO="1")
    assert 3 == ended(command, variables, tmp_path).status
    assert ["success"] == rows(tmp_path)
    # With pixelmeter gone, each Python of the environment still starts.
    subprocess.run([*pip[:4], python, "uninstall", "--yes", "--quiet", "pixelmeter"], check=True, capture_output=True)
    assert Ended(3, "2\n200\n", "and an error\n") == ended(
        command, environment(tmp_path, PIXELMETER_AUTO="1"), tmp_path
    )
