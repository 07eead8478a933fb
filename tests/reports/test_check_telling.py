"""A webhook is told what a check finds: each finding once in its window, whoever runs the check."""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.core.reporting.limits import Excess, Limits
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import LedgerError, PixelmeterError
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.check import Check, window
from pixelmeter.reports.check_telling import tell
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemIds
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.receiver import Answer, Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MINUTE = 60_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def excess(model: str = "m", limit: str = "1") -> Excess:
    return Excess("max-spend", {"model": model}, "exceeded", "2", limit, "usd", f"model {model}: <2> & more")


class Desk:
    """Runs a check again and again over one ledger, as time goes by."""

    def __init__(self, ledger: str, webhook: str) -> None:
        with closing(open_writer(ledger)) as writer:
            writer.write([make_attempt()], {}, [])
        self.ledger, self.webhook = ledger, webhook
        self.clock = FakeClock()
        self.waits: list[float] = []

    def tell(self, *found: Excess, text: str = "1h", webhook: str | None = None, keys: Sequence[bytes] = (),
             **asked: Any) -> int:  # fmt: skip
        span = window(text, now=moment_of(self.clock.now()), zone=UTC)
        check = Check(**{"window": span, "zone": UTC, "limits": Limits(spend=1), **asked})
        return tell(
            self.ledger, webhook or self.webhook, check, found or [excess()], keys=keys, clock=self.clock,
            ids=SystemIds(), wait=self.waits.append,
        )  # fmt: skip


@pytest.fixture
def desk(ledger_url: str, receiver: Receiver) -> Desk:
    """One whose webhook answers."""
    return Desk(ledger_url, receiver.url)


def test_a_finding_is_told_as_slack_takes_it(desk: Desk, receiver: Receiver) -> None:
    assert 2 == desk.tell(
        excess("a"), excess("b"), keys=from_environment({"PIXELMETER_NOTIFY_SECRET": SECRET}).notify_keys
    )
    [body], [headers] = receiver.bodies, receiver.headers
    told = json.loads(body)
    assert (
        "pixelmeter check: 2 findings in 1h\n• model a: &lt;2&gt; &amp; more\n• model b: &lt;2&gt; &amp; more"
    ) == told["text"]
    assert ("check.findings", "2026-05-28T20:26:40.123456Z") == (told["type"], told["until"])
    assert [("max-spend", {"model": name}, "2", "1") for name in "ab"] == [
        (one["check"], one["where"], one["value"], one["limit"]) for one in told["findings"]
    ]
    assert told["id"] == headers["webhook-id"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, "sha256")
    assert f"v1,{base64.b64encode(digest).decode()}" == headers["webhook-signature"]


def test_a_name_does_not_address_everybody_in_a_channel(desk: Desk, receiver: Receiver) -> None:
    desk.tell(excess("@channel"), excess("@ALL <!here>"), excess("me@all.example, @everyone, @here"))
    words = json.loads(receiver.bodies[0])["text"].lower()
    assert not any(word in words for word in ("@channel", "@all", "@everyone", "@here", "<!here"))
    assert "@\u200bchannel" in words


def test_a_finding_is_told_once_in_its_window(desk: Desk, receiver: Receiver) -> None:
    assert [1, 0] == [desk.tell(), desk.tell()]
    desk.clock.advance(53 * MINUTE)
    assert 0 == desk.tell()
    desk.clock.advance(MINUTE)
    assert [1, 0] == [desk.tell(), desk.tell()]
    assert 2 == len(receiver.bodies)


def test_a_timer_that_is_a_little_early_skips_none(desk: Desk) -> None:
    told = []
    for _ in range(4):
        told.append(desk.tell())
        desk.clock.advance(59 * MINUTE)
    assert [1] * 4 == told


def test_a_finding_of_a_month_is_told_again_in_the_next_one(desk: Desk) -> None:
    assert [1, 0] == [desk.tell(text="this-month"), desk.tell(text="this-month")]
    desk.clock.advance(3 * 24 * 60 * MINUTE)
    assert 0 == desk.tell(text="this-month")
    desk.clock.advance(24 * 60 * MINUTE)
    assert 1 == desk.tell(text="this-month")


def test_what_differs_in_anything_is_another_finding(desk: Desk, receiver: Receiver) -> None:
    assert 1 == desk.tell()
    assert 1 == desk.tell(excess("other"), excess())
    assert 1 == desk.tell(excess(limit="2"))
    assert 1 == desk.tell(filters=Filters(gateway="openai"))
    assert 1 == desk.tell(text="2h")
    assert 1 == desk.tell(webhook=f"{receiver.url}/other")
    assert 1 == desk.tell(zone=ZoneInfo("Europe/Berlin"))
    assert 1 == desk.tell(limits=Limits(spend=1, min_attempts=10))
    assert 1 == desk.tell(excess()._replace(state="unknown"))
    assert 0 == desk.tell(excess("other"), excess())
    assert 9 == len(receiver.bodies)


def test_the_order_in_which_tags_are_asked_for_makes_no_other_finding(desk: Desk) -> None:
    tags = {"team": "art", "env": "prod"}
    assert [1, 0] == [
        desk.tell(filters=Filters(tags=dict(pairs))) for pairs in (tags.items(), reversed(list(tags.items())))
    ]


def test_a_budget_is_the_same_finding_in_whatever_window(desk: Desk) -> None:
    budget = excess()._replace(check="budgets")
    assert [1, 0] == [desk.tell(budget), desk.tell(budget, text="2h", filters=Filters(gateway="openai"))]


def test_runs_at_the_same_time_tell_it_once(desk: Desk, receiver: Receiver) -> None:
    many = [excess(f"m-{number}") for number in range(30)]
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda offset: desk.tell(*many[offset:], *many[:offset]), range(6)))
    assert 30 == sum(told)
    assert 30 == sum(len(json.loads(body)["findings"]) for body in receiver.bodies)


def test_what_no_webhook_takes_is_told_by_the_next_run(desk: Desk, receiver: Receiver) -> None:
    receiver.answers = [Answer(500), Answer(503, {"retry-after": "7"}), Answer(500)]
    with pytest.raises(PixelmeterError, match=r"^the webhook of the check answers 500: the next check tells it$"):
        desk.tell()
    assert [1.0, 7.0] == desk.waits
    assert 1 == len({headers["webhook-id"] for headers in receiver.headers})
    assert 1 == desk.tell()
    assert 0 == desk.tell()


@pytest.mark.parametrize("answer", [404, 302])
def test_a_webhook_that_does_not_want_it_is_asked_once(desk: Desk, receiver: Receiver, answer: int) -> None:
    receiver.answers = [Answer(answer)]
    with pytest.raises(PixelmeterError, match=f"answers {answer}") as raised:
        desk.tell()
    assert "topsecret" not in str(raised.value)
    assert 1 == len(receiver.bodies)
    assert 1 == desk.tell()


def test_what_a_run_has_claimed_that_died_is_told_after_five_minutes(desk: Desk, receiver: Receiver) -> None:
    class Killed(FakeClock):
        """Ends the run once it has claimed, as a kill does: what it claimed stays."""

        def now(self) -> int:
            # For the window, for the claim, and for the message.
            self.asked = getattr(self, "asked", 0) + 1
            if self.asked == 3:
                os._exit(9)
            return super().now()

    child = os.fork()
    if child == 0:
        desk.clock = Killed()
        desk.tell()
        os._exit(0)
    assert 9 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 0 == desk.tell()
    desk.clock.advance(5 * MINUTE)
    assert 1 == desk.tell()
    assert 1 == len(receiver.bodies)


def test_rows_go_once_they_are_over(desk: Desk) -> None:
    for number in range(3):
        desk.tell(excess(f"m-{number}"))
        desk.clock.advance(55 * MINUTE)
    desk.tell(excess("last"))
    with reading_ledger(desk.ledger) as reader:
        found = reader.rows("SELECT name, sent_at, claimed_by, id FROM pixelmeter_check_notices")
    [[name, sent_at, *hidden]] = found
    assert "max-spend" == name
    assert sent_at is not None
    assert "last" not in f"{hidden}"


def test_more_findings_than_a_channel_reads_are_counted(desk: Desk, receiver: Receiver) -> None:
    assert 25 == desk.tell(*(excess(f"m-{number}") for number in range(25)))
    told = json.loads(receiver.bodies[0])
    assert "and 5 more" == told["text"].splitlines()[-1]
    assert 22 == len(told["text"].splitlines())
    assert 25 == len(told["findings"])


def test_the_command_tells_a_finding_and_what_it_cannot_tell(ledger_url: str, receiver: Receiver) -> None:
    now = time.time_ns() // 1000 - MINUTE
    with closing(open_writer(ledger_url)) as writer:
        writer.write(
            [
                make_attempt(started_at=now, cost=20_000_000, model="a"),
                make_attempt(started_at=now, cost=None, fee=None, billing="unknown", outcome="timeout", model="b"),
            ],
            {},
            [],
        )
    options = ["check", "--database-url", ledger_url, "--max-spend", "0.01", "--by", "model"]
    environment = {"PIXELMETER_CHECK_WEBHOOK": receiver.url}
    results = [CliRunner().invoke(main, options, env=environment) for _ in range(2)]
    assert [1, 1] == [result.exit_code for result in results]
    [body] = receiver.bodies
    assert ["exceeded", "unknown"] == [one["state"] for one in json.loads(body)["findings"]]

    fine = CliRunner().invoke(
        main, ["check", "--database-url", ledger_url, "--max-spend", "1", "--model", "a"], env=environment
    )
    assert 0 == fine.exit_code
    receiver.answers = [Answer(410)]
    refused = CliRunner().invoke(main, [*options, "--webhook", f"{receiver.url}/gone"])
    assert (1, True) == (refused.exit_code, "Not told: the webhook of the check answers 410" in refused.stderr)
    assert "topsecret" not in "".join(result.output for result in [*results, refused])


def test_a_webhook_that_no_url_can_be_leaves_one_document_and_its_status(sqlite_url: str) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt(started_at=time.time_ns() // 1000 - MINUTE)], {}, [])
    options = ["check", "--database-url", sqlite_url, "--max-spend", "0.01", "--format", "json"]
    result = CliRunner().invoke(main, [*options, "--webhook", "http://127.0.0.1/topsecret\udcff"])
    assert (1, "findings") == (result.exit_code, json.loads(result.stdout)["state"])
    assert result.stderr.startswith("Not told: ")
    assert "topsecret" not in result.output


def test_a_ledger_that_cannot_keep_it_tells_nobody(receiver: Receiver) -> None:
    desk = Desk.__new__(Desk)
    desk.ledger, desk.webhook, desk.clock, desk.waits = (
        "postgresql://postgres@127.0.0.1:1/none", receiver.url, FakeClock(), []
    )  # fmt: skip
    with pytest.raises(LedgerError):
        desk.tell()
    assert [] == receiver.bodies


def test_a_window_is_over_when_its_period_is() -> None:
    now = moment_of(FakeClock().now())
    assert now + timedelta(minutes=54) == window("1h", now=now, zone=UTC).quiet_until
    assert (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)) == window(
        "today", now=now, zone=UTC
    ).quiet_until
