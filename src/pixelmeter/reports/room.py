"""How much room a ledger and its spool take up, as rows."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pixelmeter.ledger.address import read_address, spool_folder
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.sizes import Size, sizes_of
from pixelmeter.settings import from_environment
from pixelmeter.spool.names import sorted_out
from pixelmeter.system import SystemFiles

__all__ = ["room"]


def room(reader: LedgerReader, url: str) -> list[Mapping[str, object]]:
    """Return a row for each table, partition and file of a ledger, and one for the spool of this machine."""
    rows: list[Mapping[str, object]] = [_row(one) for one in sizes_of(reader, read_address(url))]
    settings = from_environment()
    folder = spool_folder(url, settings.spool_dir, settings.state_dir)
    found = sorted_out(SystemFiles().list(folder))
    names = [name for some in (*found.spooled.values(), *found.refused.values()) for name in some]
    return [*rows, _row(Size(folder, "spool", None, sum(map(_size, (f"{folder}/{name}" for name in names)))))]


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        # It is in the ledger by now.
        return 0


def _row(one: Size) -> dict[str, object]:
    whole = None if one.bytes is None else one.bytes + (one.index_bytes or 0)
    return {
        "name": one.name,
        "kind": one.kind,
        "rows": one.rows,
        "bytes": one.bytes,
        "index_bytes": one.index_bytes,
        "bytes_a_row": round(whole / one.rows) if whole is not None and one.rows else None,
        "since": None if one.since is None else one.since.isoformat(),
    }
