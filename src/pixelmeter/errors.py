"""What pixelmeter raises, and only outside a caller's request.

PixelmeterError
 +-- ConfigError       a setting, a tag or a profile that cannot be used
 +-- PriceBookError    a price file that cannot be read
 +-- WebhookError      an event of a webhook that proves nothing
 +-- SourceError       a usage report of a gateway that cannot be read, or not to its end
 +-- LedgerError       the database
      +-- SchemaOutdated   it needs `pixelmeter db upgrade`
      +-- SchemaTooNew     it was made by a newer pixelmeter
      +-- RowRefused       it refuses the data of a write, however often that is tried
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "LedgerError",
    "PixelmeterError",
    "PriceBookError",
    "RowRefused",
    "SchemaOutdated",
    "SchemaTooNew",
    "SourceError",
    "WebhookError",
]


class PixelmeterError(Exception):
    """Base of every error that pixelmeter raises."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigError(PixelmeterError):
    """A setting cannot be used."""


class PriceBookError(PixelmeterError):
    """A price file cannot be read."""


class WebhookError(PixelmeterError):
    """An event of a webhook is not taken."""


class SourceError(PixelmeterError):
    """A usage report cannot be read."""


class LedgerError(PixelmeterError):
    """The ledger database cannot be used."""


class SchemaOutdated(LedgerError):
    """The ledger was made by an older pixelmeter: run `pixelmeter db upgrade`."""


class SchemaTooNew(LedgerError):
    """The ledger was made by a newer pixelmeter: upgrade the package."""


class RowRefused(LedgerError):
    """The ledger refuses the data of a write, whatever the number of tries."""
