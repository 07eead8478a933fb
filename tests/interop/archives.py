"""Source distributions whose digests are pinned, laid out as files."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

__all__ = ["unpacked"]


def unpacked(archive: Path, folder: Path) -> None:
    """Lay out a source distribution in a folder."""
    # Python 3.11.4 brought filters, and a newer one wants one to be named.
    named: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as opened:
        opened.extractall(folder, **named)
