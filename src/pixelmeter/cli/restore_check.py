"""Whether a SQLite ledger and its log belong together, and to the spool: what a restore can mix; for `doctor`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from pixelmeter.cli.finding import Finding
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.reader import Reader, reading_database
from pixelmeter.system import SystemClock, SystemFiles

__all__ = ["MIXED", "of_log", "of_positions", "of_tables"]

MIXED = (
    "stop the programs that write to it and restore one back-up whole, without -wal and -shm files of another state: "
    'docs/ledger.md, "Back up and restore"'
)
_SECONDS = 10.0
_LATE = 300
_SUMS = (
    "SELECT (SELECT count(*) FROM pixelmeter_attempts), (SELECT coalesce(sum(attempts), 0) FROM pixelmeter_daily),"
    " (SELECT coalesce(sum(attempts), 0) FROM pixelmeter_totals)"
)


def of_log(path: str) -> Iterator[Finding]:
    """Yield what is wrong with the log beside a database file, from the bytes of both: SQLite drops such a log."""
    from pixelmeter.ledger.files import page_size, read_wal

    if os.path.exists(path) and not os.path.isfile(path):
        return
    try:
        log = read_wal(path)
        size = page_size(path) if os.path.exists(path) else None
    except OSError:
        # Whether the files can be read is another finding.
        return
    if log is None:
        return
    if not log.is_valid:
        told = (
            f"{path}-wal is damaged at its beginning: SQLite does not read it, and what it holds is not in the ledger"
        )
    elif size is None and log.commits:
        told = f"{path}-wal holds {log.commits} transactions of a database that is not there"
    elif size is not None and log.page_size != size:
        told = f"{path}-wal is the log of another database: its pages have {log.page_size} bytes, not {size}"
    else:
        return
    advice = f"keep a copy of both files before anything writes to the ledger, which drops the log; then {MIXED}"
    yield Finding("write-ahead log", "problem", told, advice)


def of_tables(reader: Reader, seconds: float = _SECONDS) -> Iterator[Finding]:
    """Yield whether pages, indexes and sums of a SQLite ledger agree, as far as can be told in so many seconds."""
    try:
        with reader.time_limit(seconds):
            damage = [str(line) for (line,) in reader.rows("PRAGMA integrity_check(3)")]
            [(rows, days, totals)] = reader.rows(_SUMS)
    except sqlite3.Error as error:
        if "interrupted" not in str(error):
            yield Finding("integrity", "problem", f"SQLite finds damage: {error}", MIXED)
            return
        told = f"not checked to the end: {seconds:g} seconds were not enough"
        yield Finding("integrity", "ok", told, 'sqlite3 FILE "PRAGMA integrity_check" takes the time that it needs')
        return
    if damage != ["ok"]:
        told = " ".join("; ".join(damage).split())[:300]
        yield Finding("integrity", "problem", f"SQLite finds damage: {told}", MIXED)
    elif not rows == days == totals:
        told = f"{rows} attempts, but the sums by day count {days} and the totals {totals}"
        yield Finding("integrity", "problem", told, MIXED)
    else:
        yield Finding("integrity", "ok", "pages, indexes and sums agree")


def of_positions(address: Address, folder: str) -> Iterator[Finding]:
    """Yield what does not fit between how far the ledger has read each spool file, and what lies in the folder."""
    from pixelmeter.drain.census import mismatches

    if address.dialect == "sqlite" and not os.path.exists(address.path):
        return
    try:
        with reading_database(address) as reader:
            if reader.revision() is None:
                return
            rows = reader.rows("SELECT name, position FROM pixelmeter_spools")
        positions = {str(name): int(position) for name, position in rows}
        found = mismatches(SystemFiles(), folder, positions, long_ago=SystemClock().now() - _LATE * 1_000_000)
    except (LedgerError, OSError):
        # Why they cannot be read is another finding.
        return
    # A server has the positions of other machines too.
    if found.gone and address.dialect == "sqlite":
        told = f"the ledger has read {len(found.gone)} spool files in part that are not there, such as {found.gone[0]}"
        advice = (
            "is the ledger an older copy? then attempts since it was made are in no ledger; else programs have their "
            "spool in another folder (PIXELMETER_SPOOL_DIR), or somebody deleted the files"
        )
        yield Finding("spool positions", "warning", told, advice)
    if found.shorter:
        told = f"the ledger has read more of {len(found.shorter)} spool files than there is, such as {found.shorter[0]}"
        advice = "the spool is older than the ledger, or was cut off; what the ledger had read of it is in the ledger"
        yield Finding("spool positions", "warning", told, advice)
    if found.late:
        told = f"attempts that ended {_LATE // 60} minutes ago wait in {len(found.late)} files of living processes"
        advice = (
            "their log and meter.status() say why; where the ledger was replaced by an older copy, restart them: the "
            "next start takes the attempts in"
        )
        yield Finding("spool positions", "warning", told, advice)
