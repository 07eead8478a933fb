"""`import pixelmeter` and its names are cheap, since whatever is large waits for its first use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pixelmeter

LATE = [
    "aigateway",
    "alembic",
    "click",
    "httpx",
    "httpx2",
    "openai",
    "opentelemetry",
    "prometheus_client",
    "sqlalchemy",
    "wcwidth",
]


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The top-level names of all modules that a fresh interpreter has after the names of `pixelmeter` were used."""
    show = "from pixelmeter import *; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("library", LATE)
def test_a_library_is_not_imported_before_it_is_used(imported: set[str], library: str) -> None:
    assert "pixelmeter" in imported
    assert library not in imported


def test_an_import_starts_no_thread() -> None:
    show = "from pixelmeter import *; import threading; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True)

    assert "1" == done.stdout.strip()


def test_the_start_of_a_program_that_is_metered_without_code_imports_six_small_modules(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    launch = str(Path(pixelmeter.__file__).parent / "launch")

    def loaded(**variables: str) -> set[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment | variables, cwd=tmp_path
        )
        assert "" == done.stderr
        return set(done.stdout.split())

    ours = {"", "._version", ".auto", ".drivers", ".drivers.import_hook", ".drivers.patching"}
    plain, launched = loaded(), loaded(PYTHONPATH=launch)
    assert {f"pixelmeter{name}" for name in ours} == {name for name in launched if name.startswith("pixelmeter")}
    # Where the system has a module of that name, it is found and run as well, which loads what finds modules.
    allowed = {"__future__", "sitecustomize"} if "sitecustomize" not in plain else launched
    assert launched - plain <= allowed | {f"pixelmeter{name}" for name in ours}
    assert [] == list(tmp_path.iterdir())
