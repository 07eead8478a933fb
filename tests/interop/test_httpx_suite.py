"""httpx's own test suite must come out the same with every client instrumented as it does without."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.interop.suites import attempts, compared, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]

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
"""What is changed in the suite's files, the same for all runs: its server's port, and its log."""

OPTIONS = [
    "-q",
    "-p",
    "no:cacheprovider",
    # Ours, which keeps attempts from the ledger.
    "-p",
    "no:pixelmeter",
    # These need the internet.
    "-m",
    "not network",
    # httpx's own generator, cut off while it uploads, is reported whenever it happens to be collected.
    "-W",
    "ignore:Async generator 'httpx._content.ByteStream.__aiter__' was garbage collected:ResourceWarning",
    "-W",
    "ignore:'isolated_filesystem:DeprecationWarning",
]


def test_httpx_passes_its_own_tests_with_every_client_instrumented_and_with_every_request_metered(
    tmp_path: Path,
) -> None:
    plain, instrumented, metered = compared(start, tmp_path, ["plain", "instrumented", "metered"])

    assert "failed" not in plain.values()
    assert plain == instrumented
    assert plain == metered
    assert len(plain) > 1400
    assert attempts(tmp_path / "metered") > 400


def start(how: str, home: Path, chosen: Sequence[str]) -> subprocess.Popen[str]:
    """Start the suite in a process of its own, in a new folder; `httpx_suite_plugin` knows how."""
    if not ARCHIVE.exists():
        unavailable("httpx's source distribution is not there", f"make {ARCHIVE.relative_to(CHECKOUT)}")
    unpack(home)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"},
        "HTTPX_SUITE_FOLDER": str(home),
        "HTTPX_SUITE_HOW": how,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT / "src")]),
    }
    # A temporary folder of its own: pytest makes the one that runs share private again when it starts.
    command = [sys.executable, "-m", "pytest", "-p", "httpx_suite_plugin", *OPTIONS, f"--basetemp={home / 'temporary'}"]
    with open(home / "output", "w") as output:
        return subprocess.Popen(
            [*command, *chosen], cwd=home / "suite", env=environment, stdout=output, stderr=output, text=True
        )


def unpack(home: Path) -> None:
    """Lay out the suite without the library beside it, so that the installed one is tested, on a port of its own."""
    port = free_port()
    unpacked(ARCHIVE, home)
    (home / "httpx-0.28.1").rename(home / "suite")
    (home / "suite" / "httpx").rename(home / "unused")
    for path in (home / "suite" / "tests").rglob("*.py"):
        text = path.read_text()
        for old, new in EDITS.items():
            text = text.replace(old, new.format(port=port))
        path.write_text(text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
