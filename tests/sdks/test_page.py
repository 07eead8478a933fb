"""The table of docs/clients.md is the one of the last run."""

from __future__ import annotations

import json

from tests.sdks.page import PAGE, RESULTS, WRITE, written
from tests.sdks.programs import PROGRAMS


def test_the_page_has_the_results_of_the_last_run() -> None:
    page = PAGE.read_text()
    assert page == written(page, json.loads(RESULTS.read_text()))


def test_every_sdk_that_has_a_program_is_said_how_to_write_and_was_run() -> None:
    run = json.loads(RESULTS.read_text())["sdks"]
    assert {program.sdk for program in PROGRAMS} <= run.keys() == WRITE.keys()
