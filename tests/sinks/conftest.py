"""What the tests of the sinks need beside pixelmeter."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import unavailable


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The promtool of this machine."""
    found = shutil.which("promtool")
    if found is None:
        unavailable("promtool is not installed", "apt-get install prometheus")
    return Path(str(found))
