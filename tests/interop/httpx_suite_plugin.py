"""The pytest plugin that runs inside httpx's own suite: it notes every outcome, and meters every client if asked to.

It imports nothing of this project's tests, whose package has the same name as that of the suite.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from suite_outcomes import Outcomes  # type: ignore[import-not-found]

from pixelmeter.meter import intake_of

FOLDER = Path(os.environ["HTTPX_SUITE_FOLDER"])
HOW = os.environ["HTTPX_SUITE_HOW"]


class Instrumented:
    """Every client of the suite is instrumented as soon as it is made; all requests are image calls if asked for."""

    def __init__(self, *, everything: bool) -> None:
        import pixelmeter

        meter = pixelmeter.Meter(database_url=f"sqlite:///{FOLDER}/ledger.db", spool_dir=str(FOLDER / "spool"))

        def instrumenting(original: Callable[..., None]) -> Callable[..., None]:
            @functools.wraps(original)
            def make(client: Any, *arguments: Any, **options: Any) -> None:
                original(client, *arguments, **options)
                pixelmeter.instrument(client, meter)

            return make

        patch = pytest.MonkeyPatch()
        patch.setattr("httpx.Client.__init__", instrumenting(httpx.Client.__init__))
        patch.setattr("httpx.AsyncClient.__init__", instrumenting(httpx.AsyncClient.__init__))
        if everything:
            found = intake_of(meter).routes("POST", b"api.openai.com", b"/v1/images/generations")
            patch.setattr(intake_of(meter), "routes", lambda method, host, target: found)
        self.meter = meter

    def pytest_sessionfinish(self) -> None:
        self.meter.close(60)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(FOLDER))
    if HOW != "plain":
        config.pluginmanager.register(Instrumented(everything=HOW == "metered"))
