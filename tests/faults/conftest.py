"""Where the programs of these tests meter to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.faults.support import Place


@pytest.fixture
def place(gateway: Gateway, sqlite_url: str, tmp_path: Path) -> Place:
    """A gateway, a ledger that does not exist yet, and a spool folder."""
    return Place(gateway.url, sqlite_url, str(tmp_path / "spool"))
