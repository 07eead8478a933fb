"""How commands that only read reach the ledger."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import click

from pixelmeter.ledger.address import spool_folder
from pixelmeter.ledger.reader import Reader, reading_ledger
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemFiles

__all__ = ["open_ledger_for_reading"]


@contextmanager
def open_ledger_for_reading(url: str) -> Generator[Reader]:
    """Give a reader that cannot change the ledger, after what dead processes left behind has been taken in.

    LedgerError when there is no ledger or it cannot be read. What cannot be taken in is only warned of.
    """
    warning = _take_in(url)
    with reading_ledger(url) as reader:
        if warning:
            click.echo(warning, err=True)
        yield reader


def _take_in(url: str) -> str | None:
    """Return a warning where the spools of dead processes could not be read."""
    try:
        if not _is_left(url):
            return None
        from pixelmeter.meter import adopt

        adopt(url)
    except Exception as error:
        return f"Warning: attempts of processes that died may be missing: {' '.join(str(error).split())}"
    return None


def _is_left(url: str) -> bool:
    # What takes spools in takes longer to import than the rest of a command does to run.
    settings = from_environment()
    folder = spool_folder(url, settings.spool_dir, settings.state_dir)
    files = SystemFiles()
    for name in files.list(folder):
        if name.endswith(".spool"):
            descriptor = files.adopt(f"{folder}/{name}")
            if descriptor is not None:
                files.close(descriptor)
                return True
    return False
