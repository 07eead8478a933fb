"""One Chromium for these tests in a worker, and a window of it for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.serve.browser.chromium import PATIENCE, Visit, chromium, visiting
from tests.serve.browser.sample import Sample, serving_sample

expect.set_options(timeout=PATIENCE)


# Not for longer: while it runs, a loop runs in this thread, and tests of other folders start loops of their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A window in which nothing may go wrong: no error in the console, and no violation of the policy."""
    with visiting(browser) as opened:
        yield opened
        assert [] == opened.errors


@pytest.fixture
def sample() -> Iterator[Sample]:
    """A page that the test writes."""
    with serving_sample() as served:
        yield served
