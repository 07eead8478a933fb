"""The same question has the same total wherever it is asked, with all that may make a difference in the ledger.

Asked are `pixelmeter report`, `export` and `check`, the page, the views of SQL and the exporter; what is right is what
Python adds up from the attempts as they are after their adjustments.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from pixelmeter.cli import main
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.limits import Limits
from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.core.reporting.report import Row
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.pruning import prune
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.check import Check, Window, check
from pixelmeter.reports.overview import overview
from pixelmeter.reports.report import Question
from pixelmeter.serve.collector import LedgerCollector
from tests.conftest import FakeClock
from tests.effort import examples
from tests.factories import make_attempt
from tests.sinks.exposition import Scrape

pytestmark = pytest.mark.slow

FIRST = datetime(2026, 3, 25, tzinfo=UTC)
DAYS = 8
"""Clocks change in the middle of them."""
END = FIRST + timedelta(days=DAYS)
HORIZON = FIRST + timedelta(days=2)
NOW = microseconds_of(END + timedelta(days=40))
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe")
AUTHOR = Author("manual", "command line", NOW, "1.0.0")
ATTEMPTS = 400


class Total(NamedTuple):
    """What is compared; money is in nano-dollars, as far as it is known."""

    attempts: int
    calls: int
    images: int
    cost: int
    unknown: int
    at_risk: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question about [since, until)."""

    since: datetime
    until: datetime
    zone: str = "UTC"
    by: str = "model"
    equals: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields of attempts and their values."""
    glob: str | None = None
    team: str | None = None
    """The value of the tag "team"; "" for attempts without it."""

    @property
    def options(self) -> list[str]:
        """The same for the command line."""
        found = ["--since", self.since.isoformat(), "--until", self.until.isoformat(), "--tz", self.zone]
        names = {"model": "exact-model"}
        for name, value in self.equals.items():
            found += [f"--{names.get(name, name)}", value]
        if self.glob is not None:
            found += ["--model", self.glob]
        if self.team is not None:
            found += ["--tag", f"team={self.team}"] if self.team else ["--no-tag", "team"]
        return found

    @property
    def filters(self) -> Filters:
        """The same for what is asked in Python."""
        names = {"model": "exact_model"}
        given: dict[str, Any] = {names.get(name, name): value for name, value in self.equals.items()}
        return Filters(
            model=self.glob,
            tags={"team": self.team} if self.team else {},
            untagged=("team",) if self.team == "" else (),
            **given,
        )

    @property
    def sql(self) -> str:
        """The same as a condition on `pixelmeter_spend`."""
        found = [
            f"started_at >= '{self.since:%Y-%m-%d %H:%M:%S}+00'",
            f"started_at < '{self.until:%Y-%m-%d %H:%M:%S}+00'",
        ]
        if self.team is not None:
            found.append(f"tags ->> 'team' = '{self.team}'" if self.team else "tags ->> 'team' IS NULL")
        return " AND ".join([*found, *self.sql_of_columns])

    @property
    def sql_of_columns(self) -> list[str]:
        """The part of it that sums by hour and day have too."""
        found = [f"{name} = '{value}'" for name, value in self.equals.items()]
        return found if self.glob is None else [*found, f"substr(model, 1, {len(self.glob) - 1}) = '{self.glob[:-1]}'"]

    def fits(self, one: Attempt) -> bool:
        """Whether an attempt is asked about."""
        tags = msgspec.json.decode(one.tags)
        return (
            self.since <= moment_of(one.started_at) < self.until
            and all(getattr(one, name) == value for name, value in self.equals.items())
            and (self.glob is None or one.model.startswith(self.glob.removesuffix("*")))
            and (self.team is None or tags.get("team", "") == self.team)
        )

    def covers(self, unit: timedelta) -> bool:
        """Whether the range is one of whole UTC days or hours."""
        return not (self.since - FIRST) % unit and not (self.until - FIRST) % unit


def made(seed: int) -> tuple[list[Attempt], list[JobEnd]]:
    """Return attempts that differ in all that sums may depend on, and ends of some jobs."""
    choose = random.Random(seed)
    span = DAYS * 24 * 3600 * 1_000_000
    attempts: list[Attempt] = []
    for number in range(ATTEMPTS):
        outcome = choose.choice(["success"] * 5 + ["error", "timeout", "throttled", "rejected", "blocked", "pending"])
        fields: dict[str, Any] = {
            "cost": choose.choice([None, 0, 1, 42_240_000, 10**12]),
            "billing": choose.choice(["billed", "unknown"]),
            "at_risk": choose.choice([None, 0, 10_000_000]),
            "images": choose.choice([None, 0, 1, 4]),
        }
        if outcome == "blocked":
            fields = {"cost": 0, "billing": "not_billed", "at_risk": None, "images": 0, "fee": 0}
        if outcome == "pending":
            fields = {"cost": None, "billing": "pending", "at_risk": 7, "images": None, "job_id": f"job-{number}"}
        attempts.append(
            make_attempt(
                started_at=microseconds_of(FIRST)
                + choose.randrange(span // 60_000_000) * 60_000_000
                + choose.choice([0, 1]),
                attempt=choose.choice([0, 0, 1]),
                gateway=choose.choice(["aigateway", "openai"]),
                operation=choose.choice(["generate", "edit"]),
                model=choose.choice(["a/b", "a/c", "b", ""]),
                provider=choose.choice(["p", None]),
                outcome=outcome,
                tags=choose.choice(['{"team":"growth"}', '{"team":"core","x":"y"}', '{"x":"y"}', "{}"]),
                **fields,
            )
        )
    pending = [one for one in attempts if one.job_id is not None]
    ends = [
        JobEnd(
            id=make_attempt().id, gateway=one.gateway, job_id=one.job_id or "", heard_at=one.started_at + 5_000_000,
            source="poll", outcome=choose.choice(["success", "error"]), images=1,
            reported_cost=choose.choice([None, 5_000_000]),
        )
        for number, one in enumerate(pending)
        # A job that has not ended cannot be pruned.
        if number % 2 or moment_of(one.started_at) < HORIZON
    ]  # fmt: skip
    return attempts, ends


def corrections(attempts: Sequence[Attempt], seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    choose = random.Random(seed)
    for one in choose.sample(attempts, len(attempts) // 3):
        fields = {
            "model": choose.choice(["a/b", "a/new", ""]),
            "outcome": choose.choice(["success", "error"]),
            "images": choose.choice([None, 0, 3]),
            "cost": choose.choice([None, 0, 7, 41_000_000]),
            "at_risk": choose.choice([None, 0, 3_000_000]),
            "billing": choose.choice(["billed", "not_billed", "unknown"]),
        }
        if one.outcome != "blocked":
            yield one.id, {name: fields[name] for name in choose.sample(list(fields), choose.randrange(1, len(fields)))}


def fill(url: str) -> list[Attempt]:
    """Write a ledger, and adjust it twice; return the attempts as they are then."""
    attempts, ends = made(15)
    with closing(open_writer(url)) as writer:
        writer.write([*attempts, *ends], {}, [])
        for seed in (1, 2):
            after = dict(corrections(attempts, seed))
            changed = lambda now, after=after: msgspec.structs.replace(now, **after[now.id])  # noqa: E731
            writer.adjust(list(after), changed, AUTHOR)
    with reading_ledger(url) as reader:
        changed_ids = {str(row[0]) for row in reader.rows("SELECT attempt_id FROM pixelmeter_adjustments")}
        assert len(changed_ids) > ATTEMPTS // 3
    now = {one.id: one for one in attempts}
    by_job = {one.job_id: one for one in attempts if one.job_id is not None}
    with reading_ledger(url) as reader:
        # What an end makes of its attempt is the ledger's to say; what corrections make of it is Python's.
        heard = {by_job[end.job_id].id for end in ends}
        for number, identity, fields in _adjustments(reader):
            if identity in heard and number == 1:
                now[identity] = msgspec.structs.replace(now[identity], **fields)
    for seed in (1, 2):
        for identity, fields in corrections(attempts, seed):
            now[identity] = msgspec.structs.replace(now[identity], **fields)
    return list(now.values())


def _adjustments(reader: LedgerReader) -> Iterator[tuple[int, str, dict[str, Any]]]:
    names = ("model", "provider", "images", "outcome", "billing", "cost", "at_risk")
    for number, identity, *values in reader.rows(
        f"SELECT number, attempt_id, {', '.join(names)} FROM pixelmeter_adjustments WHERE kind = 'job'"
    ):
        yield int(number), str(identity), dict(zip(names, values, strict=True))


def added(attempts: Sequence[Attempt], asked: Asked) -> Total:
    """Say what is right."""
    fitting = [one for one in attempts if asked.fits(one)]
    return Total(
        len(fitting),
        sum(one.attempt == 0 and one.outcome != "blocked" for one in fitting),
        sum(one.images or 0 for one in fitting),
        sum(one.cost or 0 for one in fitting),
        sum(one.cost is None for one in fitting),
        sum(one.at_risk or 0 for one in fitting),
    )


def drawn(choose: random.Random, *, whole_days: bool) -> Asked:
    """Draw a question."""
    unit = 24 * 60 if whole_days else choose.choice([1, 30, 60, 24 * 60])
    cuts = sorted(choose.sample(range(DAYS * 24 * 60 // unit + 1), 2))
    equals = {
        name: choose.choice(values)
        for name, values in {
            "gateway": ["aigateway", "openai", "nobody"],
            "operation": ["generate", "edit"],
            "outcome": ["success", "error", "timeout", "blocked", "pending"],
            "model": ["a/b", "a/new", ""],
        }.items()
        if not choose.randrange(4)
    }
    has_glob = "model" not in equals and not choose.randrange(4)
    has_team = not whole_days and not choose.randrange(3)
    return Asked(
        since=FIRST + timedelta(minutes=cuts[0] * unit),
        until=FIRST + timedelta(minutes=cuts[1] * unit),
        zone="UTC" if whole_days else choose.choice(ZONES),
        by=choose.choice(
            ["model", "day", "gateway,outcome"] if whole_days else ["model", "tag:team", "hour", "size,week"]
        ),
        equals=equals,
        glob="a/*" if has_glob else None,
        team=choose.choice(["growth", "core", ""]) if has_team else None,
    )


def of_report(url: str, asked: Asked) -> Total:
    """Return what the command says, of its total and of its rows alike."""
    found = json.loads(_printed("report", url, "--by", asked.by, "--format", "json", *asked.options))
    total, rows = found["total"], found["rows"]
    for name in ("attempts", "images", "unknown_cost_attempts"):
        assert total[name] == sum(row[name] for row in rows)
    assert _nano(total["cost_usd"]) == sum(_nano(row["cost_usd"]) for row in rows)
    unknown = total["unknown_cost_attempts"]
    # Nothing that is unknown is shown as 0.
    assert (total["cost_usd"] is None) == (unknown > 0 and not any(_nano(row["cost_usd"]) for row in rows))
    return Total(
        total["attempts"],
        total["calls"],
        total["images"],
        _nano(total["cost_usd"]),
        unknown,
        _nano(total["at_risk_usd"]),
    )


def of_export(url: str, asked: Asked) -> Total:
    """Return what the lines of an export add up to."""
    lines = _printed("export", url, "--format", "jsonl", "-", *asked.options).splitlines()
    rows = [json.loads(line) for line in lines]
    return Total(
        len(rows),
        sum(row["attempt"] == 0 and row["outcome"] != "blocked" for row in rows),
        sum(row["images"] or 0 for row in rows),
        sum(_nano(row["cost_usd"]) for row in rows),
        sum(row["cost_usd"] is None for row in rows),
        sum(_nano(row["at_risk_usd"]) for row in rows),
    )


def of_spend(reader: LedgerReader, asked: Asked) -> Total:
    """Return what the view of attempts says."""
    calls = "sum(CASE WHEN attempt = 0 AND outcome <> 'blocked' THEN 1 ELSE 0 END)"
    sums = f"count(*), {calls}, sum(images), sum(cost), count(*) - count(cost), sum(at_risk)"
    return _total(reader.rows(f"SELECT {sums} FROM pixelmeter_spend WHERE {asked.sql}"))


def of_sums(reader: LedgerReader, asked: Asked) -> Iterator[Total]:
    """Yield what the views of sums say that have this question."""
    sums = "sum(attempts), sum(calls), sum(images), sum(cost), sum(unknown_cost_attempts), sum(at_risk)"
    columns = asked.sql_of_columns
    if asked.team is None and asked.covers(timedelta(days=1)):
        where = [f"day >= '{asked.since:%Y-%m-%d}'", f"day < '{asked.until:%Y-%m-%d}'", *columns]
        yield _total(reader.rows(f"SELECT {sums} FROM pixelmeter_daily WHERE {' AND '.join(where)}"))
    if asked.team is None and asked.covers(timedelta(hours=1)):
        where = [
            f"hour >= '{asked.since:%Y-%m-%d %H:%M:%S}+00'",
            f"hour < '{asked.until:%Y-%m-%d %H:%M:%S}+00'",
            *columns,
        ]
        yield _total(reader.rows(f"SELECT {sums} FROM pixelmeter_hourly WHERE {' AND '.join(where)}"))
    if asked.team and not columns and asked.covers(timedelta(days=1)):
        where = [f"tag = 'team' AND value = '{asked.team}' AND day >= '{asked.since:%Y-%m-%d}'"]
        where.append(f"day < '{asked.until:%Y-%m-%d}'")
        yield _total(reader.rows(f"SELECT {sums} FROM pixelmeter_tag_daily WHERE {' AND '.join(where)}"))


def of_page(reader: LedgerReader, asked: Asked, clock: FakeClock) -> Iterator[Total]:
    """Yield the totals of the page: of all, by time, by model, by gateway and by outcome."""
    zone: tzinfo = UTC if asked.zone == "UTC" else ZoneInfo(asked.zone)
    question = Question(since=asked.since, until=asked.until, zone=zone, filters=asked.filters)
    found = overview(reader, question, "day", clock, now=END, reads_all=True)
    assert (asked.since, asked.until) == (found.since, found.until)
    assert found.total is not None
    yield _of_row(found.total)
    for part in (found.steps, found.models, found.gateways, found.outcomes):
        assert part is not None
        yield _of_row(part.total)
        whole = Row(())
        for row in part.rows:
            whole.add_row(row)
        yield _of_row(whole)


def checked(url: str, asked: Asked) -> int:
    """Return the nano-dollars that a check finds to be spent beyond nothing."""
    zone: tzinfo = UTC if asked.zone == "UTC" else ZoneInfo(asked.zone)
    window = Window("1h", asked.since, asked.until, asked.until)
    found = check(url, Check(window=window, zone=zone, limits=Limits(spend=0), filters=asked.filters))
    return sum(_nano(str(one.value)) for one in found.findings)


def of_exporter(url: str, labels: Mapping[str, str], clock: FakeClock) -> tuple[int, int, int]:
    """Return attempts, cost and what is at risk of the whole history, as the counters and their corrections say."""
    registry = CollectorRegistry()
    # All of the series, so that none of them is counted among the others.
    registry.register(LedgerCollector(url, clock=clock, max_series=20_000))
    sums: Counter[str] = Counter()
    for sample in Scrape(registry).samples:
        if all(sample.labels.get(name) == value for name, value in labels.items()):
            sign = -1 if sample.labels.get("direction") == "down" else 1
            sums[sample.name] += sign * round(sample.value * (1e9 if "_usd_" in sample.name else 1))
    return (
        sums["pixelmeter_requests_total"],
        sums["pixelmeter_cost_usd_total"] + sums["pixelmeter_adjustments_usd_total"],
        sums["pixelmeter_at_risk_usd_total"] + sums["pixelmeter_at_risk_adjustments_usd_total"],
    )


def _printed(command: str, url: str, *options: str) -> str:
    result = CliRunner().invoke(main, [command, "--database-url", url, *options])
    assert 0 == result.exit_code, result.output
    return result.stdout


def _nano(usd: str | None) -> int:
    return 0 if usd is None else int(Decimal(usd) * 10**9)


def _total(rows: Sequence[Sequence[Any]]) -> Total:
    [row] = rows
    return Total(*(int(value or 0) for value in row))


def _of_row(row: Row) -> Total:
    return Total(row.attempts, row.calls, row.images, row.cost, row.unknown_cost_attempts, row.at_risk)


@pytest.mark.timeout(1200)
def test_a_question_has_the_same_total_wherever_it_is_asked(ledger_url: str, clock: FakeClock) -> None:
    clock.set(NOW)
    attempts = fill(ledger_url)
    choose = random.Random(2026)
    by_sums = 0
    for _ in range(examples(200)):
        asked = drawn(choose, whole_days=False)
        right = added(attempts, asked)
        with reading_ledger(ledger_url) as reader:
            found = [of_spend(reader, asked), *of_page(reader, asked, clock)]
            sums = list(of_sums(reader, asked))
        by_sums += len(sums)
        assert {right} == {of_report(ledger_url, asked), of_export(ledger_url, asked), *found, *sums}, asked
        assert right.cost == checked(ledger_url, asked), asked
    assert by_sums


@pytest.mark.timeout(1200)
def test_what_was_pruned_is_in_every_total_that_can_have_it(ledger_url: str, clock: FakeClock) -> None:
    clock.set(NOW)
    attempts = fill(ledger_url)
    prune(ledger_url, HORIZON, NOW)
    choose = random.Random(2027)
    pruned = 0
    for _ in range(examples(200)):
        asked = drawn(choose, whole_days=True)
        right = added(attempts, asked)
        with reading_ledger(ledger_url) as reader:
            found = [*of_sums(reader, asked), *of_page(reader, asked, clock)]
            if asked.since >= HORIZON:
                found += [of_spend(reader, asked), of_export(ledger_url, asked)]
        assert {right} == {of_report(ledger_url, asked), *found}, asked
        pruned += asked.since < HORIZON and right.attempts > 0
    assert pruned


@pytest.mark.parametrize("is_pruned", [False, True])
def test_the_exporter_counts_what_reports_add_up(ledger_url: str, clock: FakeClock, is_pruned: bool) -> None:
    clock.set(NOW)
    attempts = fill(ledger_url)
    if is_pruned:
        prune(ledger_url, HORIZON, NOW)
    for equals in (
        {},
        *({"gateway": name} for name in ("aigateway", "openai")),
        *(
            {"gateway": name, "operation": operation}
            for name in ("aigateway", "openai")
            for operation in ("generate", "edit")
        ),
    ):
        asked = Asked(since=FIRST, until=END, equals=equals)
        right = added(attempts, asked)
        assert right == of_report(ledger_url, asked)
        assert (right.attempts, right.cost, right.at_risk) == of_exporter(ledger_url, equals, clock)
