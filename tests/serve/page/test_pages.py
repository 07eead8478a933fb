"""One call, budgets, reconciliation, health and runbooks."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from urllib.parse import quote

import msgspec
import pytest

import pixelmeter
from pixelmeter.core.reconciling import reconciliation
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.statements import keep_reconciliation
from pixelmeter.ledger.writer import open_writer
from pixelmeter.monitoring.runbooks import alert_pages
from pixelmeter.reports.finding import Finding
from pixelmeter.reports.health import Health
from pixelmeter.serve.page.asked import read_asked
from pixelmeter.serve.page.health import health_view
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import amount, browsing, fill, rows_of

PARTS = msgspec.json.encode(
    [
        {"of": "token_cost", "model": "m", "unit": "usd_per_million_image_output_tokens", "quantity": 1056,
         "price": "40", "atto": str(42_240_000_000_000_000), "price_id": "p@1"},
        {"of": "token_cost", "model": "m", "unit": "usd_per_million_text_input_tokens", "quantity": 12,
         "price": "5", "atto": str(60_000_000_000_000), "surcharge": 100_000, "price_id": "p@1"},
        {"of": "image_cost", "model": "m", "unit": "usd_per_image", "quantity": 1,
         "price": "0.041", "atto": str(41_000_000_000_000_000), "price_id": "p@2"},
        {"of": "both", "model": "m", "unit": "usd_per_input_image", "quantity": 1,
         "price": "0.001", "atto": str(1_000_000_000_000_000), "price_id": "p@3"},
    ]
).decode()  # fmt: skip


def test_a_call_is_told_with_its_attempts_adjustments_and_arithmetic(ledger_url: str, clock: FakeClock) -> None:
    first = make_attempt(outcome="timeout", billing="unknown", cost=None, cost_reason="outcome_unknown", at_risk=5)
    second = make_attempt(
        call_id=first.id, attempt=1, started_at=STARTED_AT + 1, priced_parts=PARTS, token_cost=43_306_000,
        image_cost=42_000_000, cost=43_306_000, cost_source="priced",
    )  # fmt: skip
    with closing(open_writer(ledger_url)) as writer:
        writer.write([first, second], {}, [])
        author = Author("reconciled", "statement 7", STARTED_AT + 5, "1", made_by="kim", why="the invoice has it")
        paid = {
            "cost": 7_000_000,
            "billing": "billed",
            "at_risk": None,
            "cost_reason": None,
            "cost_source": "reconciled",
        }
        writer.adjust([first.id], lambda now: msgspec.structs.replace(now, **paid), author)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get(f"/calls/{first.id}?tz=Asia/Kolkata")
        by_attempt = browser.client.get(f"/calls/{second.id}?tz=Asia/Kolkata", follow_redirects=False)

    assert 200 == shown.status
    assert 2 == len(shown.tables["attempts"])
    assert ["2026-05-29 01:56:40"] * 2 == [row[0].text for row in shown.tables["attempts"]]
    assert "0.050306" == next(one.value for one in shown.numbers)
    assert "2026-05-29 01:56:40 reconciled, statement 7 by kim: " in shown.words
    assert "$0.007. From the gateway's usage report." in shown.words
    assert "$0.043306. Worked out from the price book." in shown.words
    assert ["10 %"] == [cell.text for cell in shown.column("attempt-1-token_cost", "Surcharge") if cell.text]
    assert "cost unknown -> $0.007" in shown.words
    assert "the invoice has it" in shown.words
    for cost in ("token_cost", "image_cost"):
        table = f"attempt-1-{cost}"
        told = next(cell for cell in shown.totals[table] if cell.column == "Amount")
        exact = amount(shown.column(table, "Amount"))
        assert Decimal(getattr(second, cost)) / 10**9 == Decimal(told.value or "") == round(exact, 9)
    assert (303, f"/calls/{first.id}?tz=Asia%2FKolkata") == (by_attempt.status_code, by_attempt.headers["location"])


def test_what_is_unknown_of_a_call_is_not_in_its_sum_and_is_no_zero(ledger_url: str, clock: FakeClock) -> None:
    lost = {"outcome": "timeout", "billing": "unknown", "cost": None, "cost_reason": "outcome_unknown"}
    first = make_attempt(at_risk=5_000_000, **lost)
    alone = make_attempt(at_risk=2_000_000, **lost)
    blocked = make_attempt(outcome="blocked", billing="not_billed", cost=0, status=None, duration=0, images=None)
    open_job = make_attempt(outcome="pending", billing="pending", cost=None, cost_reason="pending_job", images=None)
    retried = [make_attempt(call_id=first.id, attempt=number, at_risk=number, **lost) for number in (1, 2)]
    paid = make_attempt(call_id=first.id, attempt=3, started_at=STARTED_AT + 1, image_cost=40_000_000)
    fill(ledger_url, [first, *retried, paid, alone, blocked, open_job])
    with browsing(ledger_url, clock) as browser:
        shown, unknown, refused, pending = (
            browser.get(f"/calls/{one.id}") for one in (first, alone, blocked, open_job)
        )

    assert ["0.04224", "4", "3", "0.005000003"] == [one.value for one in shown.numbers]
    assert "By images and the price book: $0.04." in shown.words
    assert "The gateway's fee, apart from the cost: $0.0021 (5 %)." in shown.words
    assert ["1", "1", "0.002"] == [one.value for one in unknown.numbers]
    assert "The cost is unknown: outcome_unknown." in unknown.words
    [row], [waiting] = refused.tables["attempts"], pending.tables["attempts"]
    assert ("", "") == tuple(cell.text for cell in row if cell.column in {"At risk", "Duration"})
    assert ("unknown", "") == tuple(cell.text for cell in waiting if cell.column in {"At risk", "Images"})


def test_what_became_of_an_attempt_is_told_in_order_resets_of_budgets_among_it(
    ledger_url: str, clock: FakeClock
) -> None:
    attempt = make_attempt()
    with closing(open_writer(ledger_url)) as writer:
        writer.register([pixelmeter.Budget(1, per="month", name="images").rule], STARTED_AT)
        writer.write([attempt], {}, [])
        for number, at in enumerate((STARTED_AT + 1_000_000, STARTED_AT + 3_000_000)):
            author = Author("manual", f"note {number}", at, "1")
            writer.adjust([attempt.id], partial(msgspec.structs.replace, cost=number + 1), author)
            writer.reset("images", None, ResetAuthor(at + 1_000_000, "ann", f"reset {number}"))
    with browsing(ledger_url, clock) as browser:
        words = browser.get(f"/calls/{attempt.id}?tz=Asia/Kolkata").words

    told = [words.index(text) for text in ("manual, note 0", "(reset 0)", "manual, note 1")]
    assert sorted(told) == told
    assert "2026-05-29 01:56:42 budget reset, images by ann: " in words


def test_budgets_are_told_with_the_rows_that_count(ledger_url: str, clock: FakeClock) -> None:
    teams = ['{"team":"a & b"}', '{"team":"c"}', "{}"]
    with closing(open_writer(ledger_url)) as writer:
        rules = [
            pixelmeter.Budget(1, per="day", tz="Asia/Kolkata", name="of <teams>", each="tag:team").rule,
            pixelmeter.Budget(2, per="month", name="edits", scope={"operation": "edit", "model": "gpt-*"}).rule,
        ]
        writer.register(rules, STARTED_AT - 86_400_000_000)
        writer.write(
            [
                make_attempt(
                    started_at=STARTED_AT - number, tags=teams[number % 3], cost=10_000_000 * number,
                    operation="edit" if number % 2 else "generate", requested_model="gpt-image-2", byok=number == 5,
                )
                for number in range(9)
            ],
            {}, [],
        )  # fmt: skip
    clock.advance(1_000_000)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/budgets")
        rows = shown.tables["budgets-now"]
        for row in rows:
            cost = next(cell for cell in row if cell.column == "Cost")
            assert cost.href is not None
            found = rows_of(browser, cost.href)
            assert Decimal(cost.value or "") == amount([cell for one in found for cell in one if cell.column == "Cost"])
            assert found
        detail = browser.get(f"/budgets?name={quote('of <teams>')}")

    assert ["edits", "of <teams>", "of <teams>", "of <teams>"] == [row[0].text for row in rows]
    assert {"a & b", "c", "(none)"} == {row[1].text for row in rows[1:]}
    assert "2026-05-29 18:30" == next(cell.text for cell in rows[1] if cell.column == "Resets at")
    assert 200 == detail.status
    assert "each tag:team" in detail.words


def test_reconciliations_are_told(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [make_attempt()])
    counts = {name: number for number, name in enumerate(reconciliation.COUNTS, 10)}
    sums = {"theirs": 50_000_000, "ours": 42_240_000, "matched": 49_000_000, "differing": 7, "drift": -5_000_000}
    keep_reconciliation(
        ledger_url,
        Reconciliation(
            gateway="aigateway", source="usage", month="2026-05", number=0, run_at=STARTED_AT, made_by=None,
            version="1", coverage=987_654, **counts, **sums,
        ),
    )  # fmt: skip
    with browsing(ledger_url, clock) as browser:
        [row] = browser.get("/reconciliation?tz=Asia/Kolkata").tables["months"]
        ours = next(cell for cell in row if cell.column == "The ledger has")
        assert ours.href is not None
        found = rows_of(browser, ours.href)

    assert {
        "Month (UTC)": "2026-05",
        "Gateway": "aigateway",
        "Report": "usage",
        "Covered": "98.7 %",
        "They charged": "$0.0500",
        "The ledger has": "$0.0422",
        "Difference of matches": "-$0.0050",
        "Equal": f"{counts['equal']}",
        "Differ": f"{counts['differs']}",
        "Unsettled": f"{counts['unsettled']}",
        "Only ours": f"{counts['only_ours']}",
        "Only theirs": f"{counts['only_theirs']}",
        "Adjusted": f"{counts['adjusted']}",
        "Reconciled at": "2026-05-29 01:56:40",
    } == {cell.column: cell.text for cell in row}
    assert Decimal(ours.value or "") == amount([cell for one in found for cell in one if cell.column == "Cost"])


def test_a_reconciliation_links_to_the_attempts_of_its_month_and_gateway(ledger_url: str, clock: FakeClock) -> None:
    december = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * 1_000_000
    january = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    clock.set(january + 86_400_000_000)
    name = "my & gateway"
    moments = (december - 1, december, january - 1, january)
    fill(ledger_url, [make_attempt(gateway=name, started_at=at, cost=at % 7 + 1) for at in moments])
    fill(ledger_url, [make_attempt(started_at=december)])
    numbers = dict.fromkeys((*reconciliation.COUNTS, *reconciliation.SUMS), 0)
    keep_reconciliation(
        ledger_url,
        Reconciliation(
            gateway=name, source="usage", month="2026-12", number=0, run_at=january, made_by=None, version="1",
            coverage=None, **numbers,
        ),
    )  # fmt: skip
    with browsing(ledger_url, clock) as browser:
        [row] = browser.get("/reconciliation").tables["months"]
        found = rows_of(browser, next(cell.href or "" for cell in row if cell.column == "The ledger has"))

    assert ["2026-12-31 23:59:59", "2026-12-01 00:00:00"] == [one[0].text for one in found]
    assert "" == next(cell.text for cell in row if cell.column == "Covered")


def test_health_says_what_doctor_knows_and_how_fresh_the_ledger_is(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [make_attempt()])
    clock.advance(600_000_000)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/health?tz=Europe/Berlin")

    assert 200 == shown.status
    assert "The latest attempt was sent at 2026-05-28 22:26:40, 10 minutes ago." in shown.words
    assert "No job is under way." in shown.words
    assert "has schema" in shown.words
    assert "bundled prices, checked from" in shown.words


@pytest.mark.parametrize(
    ("risks", "told"),
    [
        ([5_000_000], "1 job has not ended; $0.0050 are at risk for them."),
        ([5_000_000, None], "2 jobs have not ended; $0.0050 are at risk for them; what 1 of them may cost is unknown."),
        ([None], "1 job has not ended; what 1 of them may cost is unknown."),
    ],
)
def test_what_nobody_can_estimate_of_jobs_is_no_amount(
    ledger_url: str, clock: FakeClock, risks: list[int | None], told: str
) -> None:
    pending = {"outcome": "pending", "billing": "pending", "cost": None, "cost_reason": "pending"}
    fill(
        ledger_url,
        [make_attempt(job_id=f"j{place}", at_risk=risk, **pending) for place, risk in enumerate(risks)],
    )
    with browsing(ledger_url, clock) as browser:
        assert told in browser.get("/health").words


def test_health_has_problems_first() -> None:
    now = moment_of(STARTED_AT)
    findings = [
        Finding("a", "ok", "."),
        Finding("b", "problem", "."),
        Finding("c", "warning", "."),
        Finding("d", "ok", "."),
    ]
    view = health_view(Health(findings, None, None, now), read_asked([], now=now))

    assert ["b", "c", "a", "d"] == [one.check for one in view.findings]
    assert ["The ledger cannot be read: the findings say why."] == view.facts


def test_health_says_how_long_ago_the_latest_attempt_was_and_what_open_jobs_may_cost(
    ledger_url: str, clock: FakeClock
) -> None:
    pending = {"outcome": "pending", "billing": "pending", "cost": None, "cost_reason": "pending_job"}
    fill(
        ledger_url,
        [
            make_attempt(job_id="a", at_risk=5_000_000, **pending),
            make_attempt(job_id="b", at_risk=2_000_000, **pending),
            make_attempt(job_id="c", **pending),
        ],
    )
    with browsing(ledger_url, clock) as browser:
        now = browser.get("/health")
        clock.advance(60_000_000)
        later = browser.get("/health")

    assert "less than a minute ago" in now.words
    assert "1 minutes ago" in later.words
    assert "3 jobs have not ended; $0.0070 are at risk for them; what 1 of them may cost is unknown." in now.words


def test_what_a_page_repeats_of_a_url_is_text(sqlite_url: str, clock: FakeClock) -> None:
    fill(sqlite_url, [make_attempt()])
    asked = quote("<img src=x>")
    with browsing(sqlite_url, clock) as browser:
        shown = [
            browser.get(path)
            for path in (
                f"/{asked}",
                f"/{asked}%60",
                f"/?{asked}=1",
                f"/budgets?name={asked}",
                f"/{asked}%60{asked}%60",
            )
        ]

    assert {404, 400} == {page.status for page in shown}
    assert all("<img src=x>" in page.words for page in shown)
    assert not any(tag == "img" for page in shown for tag, _ in page.tags)


@pytest.mark.slow
def test_every_runbook_is_a_page_whose_links_lead_somewhere(sqlite_url: str, clock: FakeClock) -> None:
    with browsing(sqlite_url, clock) as browser:
        for path in ["", *(name.removeprefix("runbooks/") for name in alert_pages() if name != "alerts.md")]:
            shown = browser.get(f"/runbooks/{path}")
            assert 200 == shown.status, path
            assert not any("style" in given for _, given in shown.tags), path
            inner = [href for href in shown.links.values() if not href.startswith(("/", "#"))]
            for href in inner:
                assert 200 == browser.get(f"/runbooks/{href.removeprefix('./').partition('#')[0]}").status, (path, href)
        plain = browser.get("/runbooks/PixelmeterLedgerDown")

    assert 200 == plain.status


@pytest.mark.slow
def test_a_call_of_more_attempts_than_are_shown_says_of_which_its_cost_is(ledger_url: str, clock: FakeClock) -> None:
    first = make_attempt()
    more = [make_attempt(call_id=first.id, attempt=number, started_at=STARTED_AT + number) for number in range(1, 201)]
    with closing(open_writer(ledger_url)) as writer, browsing(ledger_url, clock) as browser:
        writer.write([first, *more[:-1]], {}, [])
        whole = browser.get(f"/calls/{first.id}")
        writer.write(more[-1:], {}, [])
        cut = browser.get(f"/calls/{first.id}")

    assert "Known cost of the call" in whole.words
    assert "Only the newest" not in whole.words
    assert "Known cost of the newest 200 attempts" in cut.words
    assert "Only the newest 200 attempts are shown." in cut.words
    assert 200 == len(cut.tables["attempts"])


def test_a_budget_of_many_values_is_told_as_far_as_a_page_can_be_read(ledger_url: str, clock: FakeClock) -> None:
    rule = pixelmeter.Budget("0.01", per="day", name="each", each="tag:customer", thresholds=(1,)).rule
    with closing(open_writer(ledger_url)) as writer:
        writer.register([rule], STARTED_AT - 2 * 86_400_000_000)
        writer.write(
            [
                make_attempt(tags=f'{{"customer":"c{number}"}}', started_at=STARTED_AT - day * 86_400_000_000)
                for number in range(120)
                for day in range(2)
            ],
            {}, [],
        )  # fmt: skip
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/budgets?name=each")

    assert 101 == len(shown.tables["now"])
    assert "20 more" == shown.tables["now"][-1][1].text
    assert 100 == len(shown.tables["earlier-periods"])
    assert {"2026-05-27 00:00"} == {row[0].text for row in shown.tables["earlier-periods"]}
    assert "At most 100 are shown: pixelmeter budgets show has all." in shown.words


def test_a_reset_is_told_with_its_budget_and_with_an_attempt_that_stays(ledger_url: str, clock: FakeClock) -> None:
    attempt = make_attempt(cost=40_000_000)
    with closing(open_writer(ledger_url)) as writer:
        writer.register([pixelmeter.Budget(1, name="b").rule], STARTED_AT)
        writer.write([attempt], {}, [])
        writer.reset("b", None, ResetAuthor(STARTED_AT + 5, "ben", "a test"))
    with browsing(ledger_url, clock) as browser:
        budget = browser.get("/budgets?name=b")
        call = browser.get(f"/calls/{attempt.id}")

    assert "budget reset, b by ben: $0.04 taken off the budget (a test)" in budget.words
    assert "budget reset, b by ben: $0.04 taken off the budget, not off this attempt (a test)" in call.words
