"""The oldest httpx that pixelmeter says it takes: what `instrument` changes in a client is there as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import unavailable

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
WHEEL = CHECKOUT / ".cache" / "httpx-0.27.0-py3-none-any.whl"

TESTS = ["test_ledger_equals_the_bill.py", "test_respx.py", "test_attribution.py", "test_kept.py"]
"""Files here that use httpx; their tests of httpx2 alone prove nothing, and those on PostgreSQL nothing more."""


def test_the_oldest_httpx_is_metered_as_the_newest_is(tmp_path: Path) -> None:
    if not WHEEL.exists():
        unavailable("the wheel of httpx 0.27.0 is not there", f"make {WHEEL.relative_to(CHECKOUT)}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--target", tmp_path / "oldest", WHEEL], check=True)
    path = os.pathsep.join([str(tmp_path / "oldest"), str(CHECKOUT / "src")])
    environment = os.environ | {"PYTHONPATH": path, "PIXELMETER_TEST_STRICT": "0"}

    version = [sys.executable, "-c", "import httpx; print(httpx.__version__)"]
    assert "0.27.0" == subprocess.check_output(version, env=environment, text=True).strip()

    pytest_again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not httpx2 and not postgres"]
    files = [str(Path(__file__).parent / name) for name in TESTS]
    run = subprocess.run(
        [*pytest_again, f"--basetemp={tmp_path / 'temporary'}", *files],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert 0 == run.returncode, run.stdout[-4000:]
