"""A project of a user, who has strict checkers and no setting of ours, has no finding in tests/typing/api.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

API = Path(__file__).with_name("api.py")
ROOT = API.parents[2]
# Of libraries of others that the file uses too, and that have no types.
PROJECT = """
[tool.mypy]
strict = true
enable_error_code = ["ignore-without-code", "redundant-expr", "truthy-bool"]

[[tool.mypy.overrides]]
module = ["aigateway.*"]
ignore_missing_imports = true

[tool.pyright]
typeCheckingMode = "strict"
pythonVersion = "3.11"
reportMissingTypeStubs = "none"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the file, one that is wrong, and the settings of its user, somewhere else than our sources."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "images.py").write_text(API.read_text())
    (tmp_path / "wrong.py").write_text('import pixelmeter\n\npixelmeter.Meter().flush(timeout="soon")\n')
    return tmp_path


def findings(project: Path, program: str, *options: str) -> list[str]:
    """Return the lines of a checker that name an error."""
    command: Sequence[str] = [str(Path(sys.executable).with_name(program)), *options, "images.py", "wrong.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=900)
    return [line.strip() for line in done.stdout.splitlines() if "error:" in line]


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_mypy_finds_what_is_wrong_and_nothing_else(project: Path) -> None:
    [found] = findings(project, "mypy", "--python-executable", sys.executable, f"--cache-dir={project}/cache")
    assert found.startswith('wrong.py:3: error: Argument "timeout" to "flush" of "Meter"')


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_pyright_finds_what_is_wrong_and_nothing_else(project: Path) -> None:
    [found] = findings(project, "pyright", "--pythonpath", sys.executable)
    assert found.startswith(f"{project}/wrong.py:3:34 - error: Argument of type \"Literal['soon']\"")
