"""What a database said went wrong, told without passwords and without the values of a row."""

from __future__ import annotations

import re

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address

__all__ = ["without_secrets"]

# Connection, authorisation, missing objects and rights, resources, operator: none of these quote a row.
_HARMLESS = re.compile("08|25|28|3D|3F|40|42501|42P01|53|55|57|58")
_ASIDE = re.compile("\n(?:DETAIL|CONTEXT):")
_HINTS = {
    "42501": "; see docs/ledger.md for the permissions that pixelmeter needs, or run `pixelmeter db upgrade` as a "
    "role that may create tables",
}


def without_secrets(error: BaseException, address: Address) -> LedgerError:
    """Return a LedgerError for an exception of a driver or of SQLAlchemy.

    It quotes the database only where no row can be in the text: what a server says of bad data repeats the data.
    """
    # What SQLAlchemy raises wraps what the driver did.
    cause = getattr(error, "orig", None) or error
    state: str | None = getattr(cause, "sqlstate", None)
    name = type(cause).__name__
    if address.dialect == "sqlite":
        # SQLite's messages name tables and columns, never values.
        told = _clean(str(cause), address) if type(cause).__module__ == "sqlite3" else name
    elif state is not None and not _HARMLESS.match(state):
        told = f"{name} (SQLSTATE {state})"
    elif state is not None or name == "OperationalError":
        told = _clean(str(cause), address) + _HINTS.get(state or "", "")
    else:
        told = name
    return LedgerError(f"the ledger {address.safe()} cannot be used: {told}")


def _clean(text: str, address: Address) -> str:
    first = " ".join(_ASIDE.split(text, maxsplit=1)[0].split())
    return first.replace(address.password, "***") if address.password else first
