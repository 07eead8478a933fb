"""httpx's own test suite must come out the same with every client instrumented as it does without."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import unavailable

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
ARCHIVE = CHECKOUT / ".cache" / "httpx-0.28.1.tar.gz"

EDITS = {
    "127.0.0.1:8000": "127.0.0.1:{port}",
    "on port 8000": "on port {port}",
    # uvicorn logs its answers by itself, into the log that the suite compares with httpx's.
    'Config(app=app, lifespan="off", loop="asyncio")': (
        'Config(app=app, lifespan="off", loop="asyncio", port={port}, log_level="error")'
    ),
}
"""What is changed in the suite's files: its fixed port, and what has moved since in the packages that it uses."""

OPTIONS = [
    "-q",
    "-p",
    "no:cacheprovider",
    # These need the internet.
    "-m",
    "not network",
    # httpx's own generator, cut off while it uploads, is reported whenever it happens to be collected.
    "-W",
    "ignore:Async generator 'httpx._content.ByteStream.__aiter__' was garbage collected:ResourceWarning",
    "-W",
    "ignore:'isolated_filesystem:DeprecationWarning",
]


def test_an_instrumented_client_passes_every_test_of_httpx(tmp_path: Path) -> None:
    plain, instrumented = start("plain", tmp_path), start("instrumented", tmp_path)

    expected = outcomes(plain, tmp_path / "plain")
    actual = outcomes(instrumented, tmp_path / "instrumented")

    assert expected == actual
    assert "failed" not in expected.values()
    assert len(expected) > 1400


def test_a_client_whose_every_request_is_metered_passes_every_test_of_httpx(tmp_path: Path) -> None:
    plain, metered = start("plain", tmp_path), start("metered", tmp_path)

    expected = outcomes(plain, tmp_path / "plain")
    actual = outcomes(metered, tmp_path / "metered")

    assert expected == actual
    assert attempts(tmp_path / "metered") > 400


def start(how: str, folder: Path) -> subprocess.Popen[str]:
    """Start the suite in a process of its own, in a new folder named `how`."""
    if not ARCHIVE.exists():
        unavailable("httpx's source distribution is not there", f"make {ARCHIVE.relative_to(CHECKOUT)}")
    home = folder / how
    unpack(home)
    environment = {
        **os.environ,
        "HTTPX_SUITE_FOLDER": str(home),
        "HTTPX_SUITE_HOW": how,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT / "src")]),
    }
    command = [sys.executable, "-m", "pytest", "-p", "httpx_suite_plugin", *OPTIONS]
    with open(home / "output", "w") as output:
        return subprocess.Popen(command, cwd=home / "suite", env=environment, stdout=output, stderr=output, text=True)


def unpack(home: Path) -> None:
    """Lay out the suite without the library beside it, so that the installed one is tested, on a port of its own."""
    port = free_port()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    (home / "httpx-0.28.1").rename(home / "suite")
    (home / "suite" / "httpx").rename(home / "unused")
    for path in (home / "suite" / "tests").rglob("*.py"):
        text = path.read_text()
        for old, new in EDITS.items():
            text = text.replace(old, new.format(port=port))
        path.write_text(text)


def outcomes(process: subprocess.Popen[str], home: Path) -> dict[str, str]:
    """Wait for the suite; return the outcome of each of its tests."""
    try:
        process.wait(timeout=100)
    finally:
        process.kill()
        process.wait()
    written = home / "outcomes.json"
    assert written.exists(), (home / "output").read_text()[-4000:]
    found: dict[str, str] = json.loads(written.read_text())
    return found


def attempts(home: Path) -> int:
    """Return how many attempts reached the ledger."""
    connection = sqlite3.connect(home / "ledger.db")
    try:
        count: int = connection.execute("select count(*) from pixelmeter_attempts").fetchone()[0]
        return count
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
