"""What other processes have in the spool folder that the ledger does not have."""

from __future__ import annotations

from collections.abc import Mapping

from pixelmeter.core.ports import Files
from pixelmeter.ledger.writer import Writer
from pixelmeter.spool import Spool, held, sorted_out

__all__ = ["Neighbours"]


class Neighbours:
    """Tells a spool what others hold of the limit that it shares with them.

    The sizes of their files say that, and how far the ledger has these: a process that is well has some megabytes in
    its file which are in the ledger. It is asked again only where what it said last leaves a tenth of the limit.
    """

    def __init__(self, spool: Spool, files: Files, folder: str, writer: Writer) -> None:
        self._spool = spool
        self._files = files
        self._folder = folder
        self._writer = writer
        self._positions: Mapping[str, int] = {}

    def look(self, *, ask: bool) -> None:
        """Look into the folder, and `ask` the ledger where it matters; else what it said last is taken.

        Raises OSError, LedgerError.
        """
        sizes = self._files.sizes(self._folder)
        own = self._spool.process
        others = held(sizes, self._positions, without=own)
        if ask and others > self._spool.limit // 10:
            spooled = sorted_out(sizes).spooled
            names = [name for process, files in spooled.items() if process != own for name in files]
            self._positions = self._writer.positions(names)
            others = held(sizes, self._positions, without=own)
        self._spool.measure(others)
