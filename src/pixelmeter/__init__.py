"""What a team's image-generation calls cost, how long they take and how they fail.

    import pixelmeter
    from openai import OpenAI

    meter = pixelmeter.Meter()
    client = pixelmeter.instrument(OpenAI(base_url="https://api.aigateway.sh/v1"), meter)

Then `pixelmeter report` tells the rest.
"""

from __future__ import annotations

from pixelmeter._version import __version__
from pixelmeter.calls import call
from pixelmeter.drivers.instrument import instrument
from pixelmeter.errors import (
    ConfigError,
    LedgerError,
    PixelmeterError,
    PriceBookError,
    SchemaOutdated,
    SchemaTooNew,
)
from pixelmeter.meter import Meter
from pixelmeter.tagging import tags

__all__ = [
    "ConfigError",
    "LedgerError",
    "Meter",
    "PixelmeterError",
    "PriceBookError",
    "SchemaOutdated",
    "SchemaTooNew",
    "__version__",
    "call",
    "instrument",
    "tags",
]
