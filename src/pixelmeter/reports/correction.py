"""A correction by hand: which attempt is meant, and what it cost."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal

from pixelmeter._version import __version__
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.correction import corrected_to
from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.text import bounded, scaled
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.attempts import attempts_named
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.writer import open_writer
from pixelmeter.system import SystemClock

__all__ = ["SHOWN", "correct", "login_name", "meant", "nano_of"]

SHOWN = 20
"""How many attempts are told of an id that is not clear."""

_ID = re.compile("[0-9a-f]{8,32}")
_LONGEST = 1000


def nano_of(text: str) -> int:
    """Return the nano-dollars of an amount such as "0.04"; ConfigError for what is none, or no whole number of them."""
    nano = scaled(text, NANO_PER_USD)
    if nano is None:
        raise ConfigError(f"{text[:40]!r} is no amount of USD: write one of 0 to a million, such as 0.04")
    if Decimal(text) * NANO_PER_USD != nano:
        raise ConfigError(f"{text[:40]!r} is finer than a nano-dollar: write at most nine decimals")
    return nano


def meant(reader: LedgerReader, text: str, number: int | None) -> Sequence[Attempt]:
    """Return the attempts that an id may mean: of an attempt, or of a call and then all of its attempts.

    It may be shortened to eight digits; `number` leaves only attempts with that number in their call. Those that a
    budget refused are not meant: they were never sent. ConfigError where it means nothing else, and where it is no id.
    """
    digits = text.lower().replace("-", "")
    if not _ID.fullmatch(digits):
        raise ConfigError(f"{text[:40]!r} is no id: give that of a call or an attempt, or at least its first 8 digits")
    found = attempts_named(reader, digits, limit=SHOWN)
    found = [one for one in found if number is None or one.attempt == number]
    sent = [one for one in found if one.outcome != "blocked"]
    if found and not sent:
        raise ConfigError(f"a budget refused {text[:40]!r}: nothing was sent, so it cost nothing")
    return sent


def correct(url: str, attempt: Attempt, nano: int, *, why: str, by: str | None) -> Change | None:
    """Correct what an attempt cost; return what that has changed, None where it changes nothing."""
    author = Author(
        kind="manual",
        source="command line",
        made_at=SystemClock().now(),
        version=__version__,
        made_by=bounded(by or login_name()),
        why=bounded(why, _LONGEST),
    )
    with closing(open_writer(url)) as writer:
        changes = writer.adjust([attempt.id], lambda now: corrected_to(now, nano), author)
    return changes[0] if changes else None


def login_name() -> str | None:
    """Return the name of the user, where it has one."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
