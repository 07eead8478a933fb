"""A thread that brings what dead processes left in the spool into the ledger, now and then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Adoption"]

_EVERY = 60.0
_STOP_SECONDS = 5.0
_log = logging.getLogger("pixelmeter")


class Adoption:
    """Runs `adopt` at once and every minute (or `every` seconds), beside whatever is done within its `with`."""

    def __init__(self, adopt: Callable[[], object], every: float = _EVERY) -> None:
        self._adopt = adopt
        self._every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixelmeter-adoption", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        said = ""
        while True:
            told = ""
            try:
                self._adopt()
            except Exception as error:
                told = " ".join(str(error).split())
            if told and told != said:
                _log.warning("attempts of processes that died may be missing: %s", told)
            said = told
            if self._stopped.wait(self._every):
                return
