"""How whoever only reads reaches the ledger: complete, as far as that can be done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

from pixelmeter.core.text import plural
from pixelmeter.errors import PixelmeterError
from pixelmeter.ledger.address import spool_folder
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.settings import from_environment
from pixelmeter.spool.names import sorted_out
from pixelmeter.system import SystemFiles

__all__ = ["open_ledger"]


@contextmanager
def open_ledger(url: str, warn: Callable[[str], None]) -> Generator[LedgerReader]:
    """Give a reader that cannot change the ledger, after what dead processes left behind has been taken in.

    LedgerError when there is no ledger or it cannot be read. `warn` takes what is missing from a ledger that can.
    """
    warnings = list(_take_in(url))
    with reading_ledger(url) as reader:
        for warning in warnings:
            warn(warning)
        yield reader


def _take_in(url: str) -> Iterator[str]:
    """Yield a warning where the spools of dead processes could not be read, and one where attempts are refused."""
    settings = from_environment()
    folder = spool_folder(url, settings.spool_dir, settings.state_dir)
    files = SystemFiles()
    try:
        found = sorted_out(files.list(folder))
        # What takes spools in takes longer to import than the rest of a command does to run.
        if any(_is_left(files, f"{folder}/{name}") for names in found.spooled.values() for name in names):
            from pixelmeter.upkeep import adopt

            adopt(url)
            found = sorted_out(files.list(folder))
    except Exception as error:
        yield f"attempts of processes that died may be missing: {' '.join(str(error).split())}"
        return
    if found.refused:
        from pixelmeter.upkeep import count_refused

        with suppress(PixelmeterError, OSError):
            number = count_refused(url)
            if number:
                missing = f"{plural(number, 'attempt')} missing from the sums, refused by the ledger"
                yield f"{missing}: `pixelmeter doctor` says what to do"


def _is_left(files: SystemFiles, path: str) -> bool:
    """Return whether a spool file has outlived the process that wrote it."""
    try:
        descriptor = files.adopt(path)
    except OSError:
        # One file that cannot be had keeps no other from being taken in.
        return True
    if descriptor is None:
        return False
    files.close(descriptor)
    return True
