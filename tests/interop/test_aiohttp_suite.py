"""The client tests of aiohttp's own suite must come out the same with every request metered as they do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.interop.suites import attempts, compared, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]

CHECKOUT = Path(__file__).parents[2]
ARCHIVE = CHECKOUT / ".cache" / "aiohttp-3.14.5.tar.gz"
MOCKER = CHECKOUT / ".cache" / "pytest_mock-3.17.0-py3-none-any.whl"

FILES = ["test_client_functional.py", "test_client_middleware.py", "test_client_session.py"]
"""Those that send, or look at what sends."""

MOCKS = {"request": 11, "response": 1}
"""Failures of ours that are counted: where the tests of a session have put mocks in the place of its requests."""

OPTIONS = [
    "-q",
    "-p",
    "no:cacheprovider",
    # Ours, which keeps attempts from the ledger.
    "-p",
    "no:pixelmeter",
    "-p",
    "pytest_mock",
    "-p",
    "aiohttp.pytest_plugin",
    "-p",
    "aiohttp_suite_plugin",
    # Marks of plugins that are not installed.
    "-W",
    "ignore::pytest.PytestUnknownMarkWarning",
    "-W",
    "ignore:aiohttp.pytest_plugin:DeprecationWarning",
]


def test_aiohttps_client_passes_its_own_tests_with_every_request_metered(tmp_path: Path) -> None:
    plain, metered = compared(start, tmp_path, ["plain", "metered"], [f"tests/{name}" for name in FILES])
    assert attempts(tmp_path / "metered") > 200
    assert MOCKS == json.loads((tmp_path / "metered" / "failures.json").read_text())

    assert "failed" not in plain.values()
    assert plain == metered
    assert len(plain) > 400


def start(how: str, home: Path, chosen: Sequence[str]) -> subprocess.Popen[str]:
    """Start the suite in a process of its own, in a new folder; `aiohttp_suite_plugin` knows how."""
    for file in (ARCHIVE, MOCKER):
        if not file.exists():
            unavailable("aiohttp's source distribution is not there", f"make {ARCHIVE.relative_to(CHECKOUT)}")
    home.mkdir(parents=True)
    unpacked(ARCHIVE, home / "unpacked")
    # Without the library beside it, so that the installed one is tested; and without options for plugins of its own.
    (home / "suite").mkdir()
    (home / "unpacked" / "aiohttp-3.14.5" / "tests").rename(home / "suite" / "tests")
    (home / "suite" / "pytest.ini").write_text("[pytest]\n")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"},
        "AIOHTTP_SUITE_FOLDER": str(home),
        "AIOHTTP_SUITE_HOW": how,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT / "src"), str(MOCKER)]),
    }
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--basetemp={home / 'temporary'}"]
    with open(home / "output", "w") as output:
        return subprocess.Popen(
            [*command, *chosen],
            cwd=home / "suite",
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
        )
