"""A disk that really runs full."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.drain.ledger import outcomes

pytestmark = pytest.mark.slow

ENVIRONMENT = os.environ | {"PYTHONPATH": "src:."}
# In a namespace of its own the mount needs no privileges and goes away with the process.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
MOUNT = "mount -t tmpfs -o size=1m tmpfs {}"


def run(command: list[str]) -> list[str]:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.split()


def test_a_limit_on_the_size_of_files_costs_nothing(tmp_path: Path, sqlite_url: str) -> None:
    said = run([sys.executable, "-m", "tests.faults.small_disk", f"{tmp_path}/spool", sqlite_url, "size"])

    assert dict.fromkeys(said, "success") == outcomes(sqlite_url)


def test_a_disk_of_a_megabyte_that_is_full_costs_nothing(tmp_path: Path, sqlite_url: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = MOUNT.format(shlex.quote(str(small)))
    if subprocess.run([*NAMESPACE, mount], capture_output=True).returncode:
        unavailable("no tmpfs can be mounted here", "sysctl -w kernel.unprivileged_userns_clone=1")
    program = shlex.join([sys.executable, "-m", "tests.faults.small_disk", f"{small}/spool", sqlite_url, "disk"])

    said = run([*NAMESPACE, f"{mount}; exec {program}"])

    assert dict.fromkeys(said, "success") == outcomes(sqlite_url)
