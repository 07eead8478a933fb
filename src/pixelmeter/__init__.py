"""What a team's image-generation calls cost, how long they take and how they fail.

    import pixelmeter
    from openai import OpenAI

    meter = pixelmeter.Meter()
    client = pixelmeter.instrument(OpenAI(base_url="https://api.aigateway.sh/v1"), meter)

Then `pixelmeter report` tells the rest.

PYTEST_DONT_REWRITE: pytest would warn where this is imported before it, as in programs that are metered without code.
"""

from __future__ import annotations

from pixelmeter._version import __version__

# Not the one of `typing`, which takes long to import: checkers know this one as well.
TYPE_CHECKING = False

# Imported when they are first used: neither the command line nor the start of a program that is metered without code
# needs any of them.
if TYPE_CHECKING:
    from pixelmeter.core.attempts.adjustment import Adjustment, Change
    from pixelmeter.core.attempts.record import Attempt
    from pixelmeter.core.budgets.budget import Budget, Notice
    from pixelmeter.core.pricing.book import PriceBook
    from pixelmeter.core.sink import AdjustmentSink, Health, Sink
    from pixelmeter.drivers.instrument import instrument
    from pixelmeter.errors import (
        BudgetExceeded,
        ConfigError,
        LedgerError,
        PixelmeterError,
        PixelmeterWarning,
        PriceBookError,
        SchemaOutdated,
        SchemaTooNew,
        WebhookError,
    )
    from pixelmeter.ledger.spending import Spend, SpendRow
    from pixelmeter.linking import call
    from pixelmeter.meter import Meter
    from pixelmeter.prices import load_price_book
    from pixelmeter.recorder.status import Status
    from pixelmeter.tagging import tags
    from pixelmeter.webhooks import WebhookEvent
else:
    _LATE = {
        "Adjustment": "pixelmeter.core.attempts.adjustment",
        "AdjustmentSink": "pixelmeter.core.sink",
        "Attempt": "pixelmeter.core.attempts.record",
        "Budget": "pixelmeter.core.budgets.budget",
        "BudgetExceeded": "pixelmeter.errors",
        "Change": "pixelmeter.core.attempts.adjustment",
        "ConfigError": "pixelmeter.errors",
        "Health": "pixelmeter.core.sink",
        "LedgerError": "pixelmeter.errors",
        "Meter": "pixelmeter.meter",
        "Notice": "pixelmeter.core.budgets.budget",
        "PixelmeterError": "pixelmeter.errors",
        "PixelmeterWarning": "pixelmeter.errors",
        "PriceBook": "pixelmeter.core.pricing.book",
        "PriceBookError": "pixelmeter.errors",
        "SchemaOutdated": "pixelmeter.errors",
        "SchemaTooNew": "pixelmeter.errors",
        "Sink": "pixelmeter.core.sink",
        "Spend": "pixelmeter.ledger.spending",
        "SpendRow": "pixelmeter.ledger.spending",
        "Status": "pixelmeter.recorder.status",
        "WebhookError": "pixelmeter.errors",
        "WebhookEvent": "pixelmeter.webhooks",
        "call": "pixelmeter.linking",
        "instrument": "pixelmeter.drivers.instrument",
        "load_price_book": "pixelmeter.prices",
        "tags": "pixelmeter.tagging",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATE})


del TYPE_CHECKING

__all__ = [
    "Adjustment",
    "AdjustmentSink",
    "Attempt",
    "Budget",
    "BudgetExceeded",
    "Change",
    "ConfigError",
    "Health",
    "LedgerError",
    "Meter",
    "Notice",
    "PixelmeterError",
    "PixelmeterWarning",
    "PriceBook",
    "PriceBookError",
    "SchemaOutdated",
    "SchemaTooNew",
    "Sink",
    "Spend",
    "SpendRow",
    "Status",
    "WebhookError",
    "WebhookEvent",
    "__version__",
    "call",
    "instrument",
    "load_price_book",
    "tags",
]
