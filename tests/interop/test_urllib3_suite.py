"""urllib3's own tests of pools and responses must come out the same with every request metered as they do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.interop.suites import attempts, compared, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]

CHECKOUT = Path(__file__).parents[2]
ARCHIVE = CHECKOUT / ".cache" / "urllib3-2.8.0" / "urllib3-2.8.0.tar.gz"

FILES = [
    "test/test_response.py",
    "test/test_connectionpool.py",
    "test/test_poolmanager.py",
    "test/test_proxymanager.py",
    "test/with_dummyserver/test_chunked_transfer.py",
    "test/with_dummyserver/test_connectionpool.py",
    "test/with_dummyserver/test_poolmanager.py",
    "test/with_dummyserver/test_socketlevel.py",
]
OPTIONS = [
    "-q",
    "-p",
    "no:cacheprovider",
    # Ours, which keeps attempts from the ledger.
    "-p",
    "no:pixelmeter",
    # These need the internet; so do those below, which do not say so.
    "-m",
    "not requires_network",
    "-k",
    "not (test_connect_timeout or test_total_applies_connect or test_source_address_error)",
    # Sockets that tests of responses leave open are reported whenever they happen to be collected.
    "-W",
    "ignore:unclosed <socket:ResourceWarning",
]


def test_urllib3_passes_its_own_tests_with_every_request_metered(tmp_path: Path) -> None:
    plain, metered = compared(start, tmp_path, ["plain", "metered"], FILES)

    assert "failed" not in plain.values()
    assert plain == metered
    assert len(plain) > 600
    assert attempts(tmp_path / "metered") > 200
    assert {} == json.loads((tmp_path / "metered" / "failures.json").read_text())


def start(how: str, home: Path, chosen: Sequence[str]) -> subprocess.Popen[str]:
    """Start the suite in a process of its own, in a new folder; `urllib3_suite_plugin` knows how."""
    if not ARCHIVE.exists():
        unavailable("urllib3's source distribution is not there", f"make {ARCHIVE.relative_to(CHECKOUT)}")
    unpack(home)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"},
        "URLLIB3_SUITE_FOLDER": str(home),
        "URLLIB3_SUITE_HOW": how,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT / "src"), str(home / "servers")]),
    }
    command = [sys.executable, "-m", "pytest", "-p", "urllib3_suite_plugin", *OPTIONS]
    with open(home / "output", "w") as output:
        return subprocess.Popen(
            [*command, f"--basetemp={home / 'temporary'}", *chosen],
            cwd=home / "suite",
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
        )


def unpack(home: Path) -> None:
    """Lay out the suite and the servers that it needs, without the library: so the installed one is tested."""
    unpacked(ARCHIVE, home)
    (home / "urllib3-2.8.0").rename(home / "suite")
    (home / "suite" / "src").rename(home / "unused")
    for wheel in ARCHIVE.parent.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(home / "servers")
