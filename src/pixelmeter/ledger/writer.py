"""The write side of the ledger, whatever the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.address import Address, read_address

__all__ = ["Writer", "open_writer"]


class Writer(Protocol):
    """Each call is one transaction; LedgerError when it fails, and then nothing is committed and it may be repeated.

    Only a RowRefused would come again: the ledger does not take an attempt that is among those of the write.
    """

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return how far each of these spool files is committed, in bytes; files never committed are left out."""
        ...

    def write(self, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Insert the attempts that the ledger does not have, add them to rollup and totals, move the positions forward.

        The positions of `finished` spools are deleted. Returns how many attempts were new. Repeating a write is
        harmless, also one whose commit was never confirmed.
        """
        ...

    def close(self) -> None:
        """Let go of the database; the next call opens it again."""
        ...


def open_writer(url: str | Address) -> Writer:
    """Return the writer of a ledger; nothing is opened before its first call, which makes a missing ledger.

    ConfigError for a URL that cannot be used and for a missing driver. One thread at a time may use a writer.
    """
    address = read_address(url)
    if address.dialect == "sqlite":
        from pixelmeter.ledger.sqlite import SqliteWriter

        return SqliteWriter(address)
    from pixelmeter.ledger.engine import require_driver

    require_driver()
    from pixelmeter.ledger.postgres import PostgresWriter

    return PostgresWriter(address)
