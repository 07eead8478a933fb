"""How commands that only read reach the ledger."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from pixelmeter.errors import PixelmeterError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["open_ledger_for_reading"]


@contextmanager
def open_ledger_for_reading(url: str) -> Generator[Connection]:
    """Give a connection that cannot change the ledger, after what dead processes left behind has been taken in.

    LedgerError when there is no ledger or it cannot be read. What cannot be taken in is only warned of.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from pixelmeter.ledger.address import read_address
    from pixelmeter.ledger.engine import open_reader
    from pixelmeter.ledger.failure import without_secrets

    warnings = list(_take_in(url))
    try:
        with open_reader(url).connect() as connection:
            for warning in warnings:
                click.echo(f"Warning: {warning}", err=True)
            yield connection
    except SQLAlchemyError as error:
        raise without_secrets(error, read_address(url)) from None


def _take_in(url: str) -> Iterator[str]:
    """Yield a warning where the spools of dead processes could not be read, and one where attempts are refused."""
    from pixelmeter.meter import adopt, count_refused

    try:
        adopt(url)
    except Exception as error:
        yield f"attempts of processes that died may be missing: {' '.join(str(error).split())}"
    with suppress(PixelmeterError, OSError):
        number = count_refused(url)
        if number:
            yield f"{number} attempts are missing, which the ledger refuses: `pixelmeter doctor` says what to do"
