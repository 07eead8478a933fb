"""A spool, the ledger it is drained to, and what lies in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import Writer, open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"{tmp_path}/spool"


@pytest.fixture
def spool(folder: str) -> Spool:
    return Spool(folder, SystemFiles(), SystemIds(), segment_bytes=2000)


@pytest.fixture
def writer(sqlite_url: str) -> Iterator[Writer]:
    writer = open_writer(sqlite_url)
    yield writer
    writer.close()


@pytest.fixture
def drain(spool: Spool, folder: str, writer: Writer) -> Drain:
    return Drain(spool, SystemFiles(), folder, writer)
