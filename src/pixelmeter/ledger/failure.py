"""What a database said went wrong, told without passwords and without the values of a row."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from pixelmeter.errors import LedgerError, RowRefused

if TYPE_CHECKING:
    from pixelmeter.ledger.address import Address

__all__ = ["CHARACTERS_ADVICE", "lacks_characters", "refusal", "without_secrets"]

CHARACTERS_ADVICE = "make a database that takes all characters: createdb -E UTF8 -T template0 NAME"
"""What to do about an encoding that lacks characters."""

# Connection, authorisation, missing objects and rights, resources, operator: none of these quote a row.
_HARMLESS = re.compile("08|25|28|3D|3F|40|42501|42P01|53|55|57|58")
_ASIDE = re.compile("\n(?:DETAIL|CONTEXT):")
_LONG = 8
_HINTS = {
    "42501": "; see docs/ledger.md for the permissions that pixelmeter needs, or run `pixelmeter db upgrade` as a "
    "role that may create tables",
    "55P03": "; somebody else has held what pixelmeter needs for too long, and pg_stat_activity tells who",
}
# What the drivers call data that does not fit, and what Python calls it before a driver has seen it. 54000: an index
# has no room for so long a key.
_DATA = ("DataError", "IntegrityError", "OverflowError", "ValueError")
_TOO_LONG = "54000"
_NO_SUCH_CHARACTER = ("22021", "22P05")


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
        told = _sqlite(cause) if isinstance(cause, sqlite3.Error) else name
    elif state is not None and not _HARMLESS.match(state):
        told = f"{name} (SQLSTATE {state})"
    elif state is not None or name == "OperationalError":
        told = _clean(str(cause), address) + _HINTS.get(state or "", "")
    else:
        told = name
    return LedgerError(f"the ledger {address.safe()} cannot be used: {told}")


def lacks_characters(encoding: str) -> bool:
    """Return whether there are characters that a database cannot store, by its encoding; "" is one that is not told."""
    # SQL_ASCII is no encoding: such a database stores the bytes that it is sent.
    return encoding not in ("", "UTF8", "SQL_ASCII")


def refusal(error: BaseException, address: Address, encoding: str = "") -> RowRefused | None:
    """Return a RowRefused where it is the data of a write that did not fit, None where it is the database that failed.

    `encoding` is the database's, where the server tells it.
    """
    state: str | None = getattr(error, "sqlstate", None)
    if state != _TOO_LONG and not any(kind.__name__ in _DATA for kind in type(error).__mro__):
        return None
    told = type(error).__name__ if state is None else f"{type(error).__name__} (SQLSTATE {state})"
    if state in _NO_SUCH_CHARACTER and lacks_characters(encoding):
        told += f"; {encoding}, the encoding of the database, lacks a character: {CHARACTERS_ADVICE}"
    return RowRefused(f"the ledger {address.safe()} refuses an attempt: {told}")


def _sqlite(cause: sqlite3.Error) -> str:
    told = " ".join(str(cause).split())
    code: str | None = getattr(cause, "sqlite_errorname", None)
    # Such as SQLITE_IOERR_WRITE: the message alone does not say which step failed.
    return (
        f"{told} ({code})" if code and code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_CORRUPT")) else told
    )


def _clean(text: str, address: Address) -> str:
    """Return the first part of a message on one line, every secret of the URL masked."""
    first = _ASIDE.split(text, maxsplit=1)[0]
    public = {address.user, address.host, address.database, str(address.port)}
    for secret in sorted(address.secrets() - public, key=len, reverse=True):
        for form in dict.fromkeys((secret, quote(secret, safe=""), quote(secret))):
            first = _mask(form, first)
    return " ".join(first.split())


def _mask(secret: str, text: str) -> str:
    """Return the text with a secret masked: a long one as a word of its own, a short one where a value would stand.

    A short password is a part of ordinary words, or is one. A server that told it would quote it, or give it as an
    option or in a URL.
    """
    found = re.escape(secret)
    if len(secret) < _LONG:
        return re.sub(rf"""(?P<before>["'`“«=]|:(?=[^\s@]*@)){found}(?=["'`”»@&;,\s]|$)""", r"\g<before>***", text)
    return re.sub(rf"(?<!\w){found}(?!\w)", "***", text)
