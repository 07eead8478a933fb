"""The pytest plugin that runs inside urllib3's own suite: it notes every outcome, and meters every pool if asked to.

It imports nothing of this project's tests, whose package has the same name as that of the suite's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from suite_outcomes import Outcomes  # type: ignore[import-not-found]

from pixelmeter.meter import intake_of

FOLDER = Path(os.environ["URLLIB3_SUITE_FOLDER"])
HOW = os.environ["URLLIB3_SUITE_HOW"]


class Metered:
    """Every pool is metered, and every request is an image call."""

    def __init__(self) -> None:
        import pixelmeter
        from pixelmeter.drivers.urllib3 import patch

        self.meter = pixelmeter.Meter(f"sqlite:///{FOLDER}/ledger.db", spool_dir=str(FOLDER / "spool"))
        found = intake_of(self.meter).routes("POST", b"api.openai.com", b"/v1/images/generations")
        pytest.MonkeyPatch().setattr(intake_of(self.meter), "routes", lambda method, host, target: found)
        patch(lambda: self.meter)

    def pytest_sessionfinish(self) -> None:
        self.meter.flush(60)
        (FOLDER / "failures.json").write_text(json.dumps(self.meter.status()["failures"]))
        self.meter.close(60)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(FOLDER))
    if HOW == "metered":
        config.pluginmanager.register(Metered())
