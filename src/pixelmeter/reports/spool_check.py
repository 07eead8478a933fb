"""What a spool folder holds, beside how far the ledger has it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from pixelmeter.core.text import plural
from pixelmeter.drain.census import mismatches
from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.reader import reading_database
from pixelmeter.reports.finding import Finding
from pixelmeter.spool import LARGEST_FRAME, held
from pixelmeter.system import SystemClock, SystemFiles

__all__ = ["check_limit", "check_positions", "positions_of"]

_LATE = 300
"""Seconds."""


def positions_of(address: Address) -> Mapping[str, int] | None:
    """Return how far the ledger has read each spool file, in bytes; None where it cannot be read, or is not there."""
    if address.dialect == "sqlite" and not os.path.exists(address.path):
        return None
    # Why they cannot be read is another finding.
    with suppress(ConfigError, LedgerError, OSError), reading_database(address) as reader:
        if reader.revision() is not None:
            rows = reader.rows("SELECT name, position FROM pixelmeter_spools")
            return {str(name): int(position) for name, position in rows}
    return None


def check_limit(folder: str, positions: Mapping[str, int], limit: int) -> Finding:
    """Return how much of its limit a spool folder holds that is not in the ledger. Raises OSError."""
    bytes_held = held(SystemFiles().sizes(folder), positions)
    told = f"{bytes_held:,} bytes are not in the ledger, of {limit:,} that there may be"
    if bytes_held * 2 < limit:
        return Finding("spool limit", "ok", told)
    advice = "bring the ledger back, or raise PIXELMETER_SPOOL_LIMIT where the disk has room and restart the programs"
    # A frame that does not fit is dropped before the last byte is used.
    if bytes_held + LARGEST_FRAME < limit:
        return Finding("spool limit", "warning", told, f"{advice}: beyond it attempts are dropped")
    return Finding("spool limit", "problem", f"{told}: new attempts are dropped", advice)


def check_positions(address: Address, folder: str, positions: Mapping[str, int]) -> Iterator[Finding]:
    """Yield what does not fit between how far the ledger has read each spool file, and what lies in the folder."""
    try:
        found = mismatches(SystemFiles(), folder, positions, long_ago=SystemClock().now() - _LATE * 1_000_000)
    except OSError:
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
        files = plural(len(found.shorter), "spool file")
        told = f"the ledger has read more of {files} than there is, such as {found.shorter[0]}"
        advice = "the spool is older than the ledger, or was cut off; what the ledger had read of it is in the ledger"
        yield Finding("spool positions", "warning", told, advice)
    if found.late:
        files = plural(len(found.late), "file")
        told = f"attempts that ended {_LATE // 60} minutes ago wait in {files} of living processes"
        advice = (
            "their log and meter.status() say why; where the ledger was replaced by an older copy, restart them: the "
            "next start takes the attempts in"
        )
        yield Finding("spool positions", "warning", told, advice)
