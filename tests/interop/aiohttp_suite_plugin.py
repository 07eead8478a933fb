"""The pytest plugin that runs inside aiohttp's own suite: it notes every outcome, and meters every session if asked to.

It imports nothing of this project's tests, whose package has the same name as that of the suite.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from suite_outcomes import Outcomes  # type: ignore[import-not-found]

from pixelmeter.meter import intake_of

FOLDER = Path(os.environ["AIOHTTP_SUITE_FOLDER"])


class Metered:
    """Every session of the suite is metered, and all its requests are image calls."""

    def __init__(self) -> None:
        import pixelmeter
        from pixelmeter.drivers.aiohttp import patch

        self.meter = pixelmeter.Meter(database_url=f"sqlite:///{FOLDER}/ledger.db", spool_dir=str(FOLDER / "spool"))
        found = intake_of(self.meter).routes("POST", b"api.openai.com", b"/v1/images/generations")
        replaced = pytest.MonkeyPatch()
        replaced.setattr(intake_of(self.meter), "routes", lambda method, host, target: found)
        patch(lambda: self.meter)

    def pytest_sessionfinish(self) -> None:
        self.meter.close(60)
        (FOLDER / "failures.json").write_text(json.dumps(self.meter.status()["failures"]))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(FOLDER))
    if os.environ["AIOHTTP_SUITE_HOW"] == "metered":
        config.pluginmanager.register(Metered())
