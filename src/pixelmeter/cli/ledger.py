"""How commands that only read reach the ledger."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

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

    warning = _take_in(url)
    try:
        with open_reader(url).connect() as connection:
            if warning:
                click.echo(warning, err=True)
            yield connection
    except SQLAlchemyError as error:
        raise without_secrets(error, read_address(url)) from None


def _take_in(url: str) -> str | None:
    """Return a warning where the spools of dead processes could not be read."""
    try:
        from pixelmeter.meter import adopt

        adopt(url)
    except Exception as error:
        return f"Warning: attempts of processes that died may be missing: {' '.join(str(error).split())}"
    return None
