"""Every link of every page leads to a page."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import parse_qsl, urlsplit

import pytest

from pixelmeter import Budget
from pixelmeter.core.reconciling import reconciliation
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.ledger.statements import keep_reconciliation
from pixelmeter.ledger.writer import open_writer
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import browsing

pytestmark = pytest.mark.slow

DAY = 86_400_000_000
BUDGETS = [
    Budget(1, per="total", name="for good").rule,
    Budget(1, per="month", tz="Asia/Kolkata", name="a month & more").rule,
    Budget(1, per="day", name="teams", each="tag:team").rule,
]
PAGES = [
    "/",
    "/?tz=Asia/Kolkata&since=this-month&tags=team",
    "/?since=2006-06",
    "/?only=unknown-cost&gateway=fal",
    "/calls",
    "/calls?sort=cost&tag=team=art",
    "/calls?since=0001&budget=for%20good",
    "/budgets?tz=Asia/Kolkata",
    "/budgets?name=for%20good",
    "/budgets?name=teams",
    "/reconciliation?tz=Asia/Kolkata",
    "/health",
    "/runbooks/",
]


@pytest.fixture
def url(sqlite_url: str) -> str:
    """A ledger with some of everything that pages link to."""
    numbers = dict.fromkeys((*reconciliation.COUNTS, *reconciliation.SUMS), 0)
    with closing(open_writer(sqlite_url)) as writer:
        writer.register(BUDGETS, STARTED_AT - 9 * DAY)
        writer.write(
            [
                make_attempt(
                    started_at=STARTED_AT - number * DAY // 3 - 1_000_000,
                    gateway=["fal", "aigateway"][number % 2],
                    model=["a", "", "b*"][number % 3],
                    tags=['{"team":"art"}', "{}"][number % 2],
                    cost=[10**8, None][number % 4 == 1],
                )
                for number in range(60)
            ],
            {},
            [],
        )
    keep_reconciliation(
        sqlite_url,
        Reconciliation(
            gateway="fal", source="usage", month="2026-05", number=0, run_at=STARTED_AT, made_by=None, version="1",
            coverage=None, **numbers,
        ),
    )  # fmt: skip
    return sqlite_url


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_to_a_page(url: str, clock: FakeClock, path: str) -> None:
    clock.advance(1_000_000)
    with browsing(url, clock) as browser:
        shown = browser.get(path)
        assert 200 == shown.status, shown.words
        links = {given["href"] or "" for tag, given in shown.tags if tag == "a"}
        # One of each shape: there are hundreds that differ in a day or a name.
        shapes = {shape(link): link for link in sorted(links) if link.startswith("/")}
        answers = {link: browser.get(link).status for link in shapes.values()}
        assert {} == {link: status for link, status in answers.items() if status != 200}


def shape(link: str) -> tuple[str, tuple[str, ...]]:
    """Return the page that a link leads to, with the names of what it asks for."""
    found = urlsplit(link)
    path, _, identity = found.path.rpartition("/")
    return path or identity, tuple(name for name, _ in parse_qsl(found.query))
