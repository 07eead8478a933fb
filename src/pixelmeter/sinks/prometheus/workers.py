"""The files in which gunicorn's workers keep their values, added up."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["Workers"]


class Workers(MultiProcessCollector):
    """prometheus_client's collector, for a folder in which workers come and go while it reads.

    A worker makes a file and gives it its size a moment later. An empty one holds nothing yet, and the library would
    fail at it, for good where the worker was killed between the two.
    """

    _path: str

    def __init__(self, registry: CollectorRegistry, path: str | None = None) -> None:
        """Register; the folder is that of PROMETHEUS_MULTIPROC_DIR where none is given. ValueError if it is none."""
        super().__init__(registry, path)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Return what all workers have counted."""
        library: Any = self  # its functions are not typed
        metrics: Iterable[Metric] = library.merge(
            [str(path) for path in Path(self._path).glob("*.db") if _has_values(path)]
        )
        return metrics


def _has_values(path: Path) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:  # of a worker that has just gone
        return False
