"""The gauges of tags are what the attempts of a month with each value came to, within a bound of series."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.wide_tags import MOST_VALUES
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.serve.tags import MOST_TAGS, OF_TAGS, TagGauges, TagSpend
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.sinks.exposition import Scrape

USD = 1_000_000_000
DAY = 86_400_000_000
PREFIX = "pixelmeter_tag_"

Shown = dict[tuple[str, str], dict[str, float]]


def tagged(tags: str, cost: int | None = USD, days_before: int = 0, at_risk: int | None = None) -> Attempt:
    known = {"cost": cost, "cost_source": "priced"} if cost is not None else {"cost": None, "cost_source": "none"}
    return make_attempt(tags=tags, at_risk=at_risk, started_at=STARTED_AT - days_before * DAY, **known)


def write(url: str, attempts: Sequence[Attempt]) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(attempts, {}, [])


def shown(url: str, clock: FakeClock, *tags: str, max_series: int = 2000) -> Shown:
    """Return what is shown of each tag and value."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(url, clock=clock, tags=tags, max_series=max_series))
    return scraped(registry)


def scraped(registry: CollectorRegistry) -> Shown:
    found: Shown = {}
    for one in Scrape(registry).samples:
        if one.name.startswith(PREFIX):
            key = one.labels["tag"], one.labels["value"]
            found.setdefault(key, {})[one.name.removeprefix(PREFIX)] = one.value
    return found


def test_spend_of_this_month_and_the_one_before_is_shown_by_value(ledger_url: str, clock: FakeClock) -> None:
    write(
        ledger_url,
        [
            tagged('{"team":"growth"}'),
            tagged('{"team":"growth","feature":"hero"}', 2 * USD),
            tagged('{"team":"growth"}', 4 * USD, days_before=31),
            tagged('{"team":"growth"}', 100 * USD, days_before=80),
            tagged('{"team":"design"}', None, at_risk=USD // 4),
            tagged('{"team":"design"}', None, days_before=31, at_risk=USD),
            tagged("{}", 8 * USD),
        ],
    )

    assert {
        ("team", "growth"): row(3.0, 4.0),
        ("team", "design"): {"at_risk_usd": 0.25, "unknown_cost_requests": 1.0},
        ("team", ""): row(8.0, 0.0),
        ("feature", "hero"): row(2.0, 0.0),
        ("feature", ""): row(9.0, 4.0) | {"at_risk_usd": 0.25, "unknown_cost_requests": 1.0},
    } == shown(ledger_url, clock, "team", "feature")


def test_a_month_before_that_is_short_has_nothing_of_the_one_before_it(ledger_url: str, clock: FakeClock) -> None:
    clock.set(STARTED_AT - 74 * DAY)
    write(ledger_url, [tagged('{"team":"growth"}', usd * USD, days) for usd, days in ((1, 74), (2, 95), (4, 117))])

    assert row(1.0, 2.0) == shown(ledger_url, clock, "team")["team", "growth"]


def row(cost: float, last_month: float) -> dict[str, float]:
    return {"cost_usd": cost, "last_month_cost_usd": last_month, "at_risk_usd": 0.0, "unknown_cost_requests": 0.0}


def test_nothing_is_shown_by_tags_that_nobody_named(ledger_url: str, clock: FakeClock) -> None:
    write(ledger_url, [tagged('{"team":"growth"}')])

    assert {} == shown(ledger_url, clock)


def test_what_is_corrected_is_shown_as_corrected(ledger_url: str, clock: FakeClock) -> None:
    attempt = tagged('{"team":"growth"}')
    author = Author(kind="reconciled", source="statement", made_at=STARTED_AT, version="0.1.0")
    with closing(open_writer(ledger_url)) as writer:
        writer.write([attempt], {}, [])
        writer.adjust([attempt.id], lambda known: msgspec.structs.replace(known, cost=USD // 2), author)

    assert 0.5 == shown(ledger_url, clock, "team")["team", "growth"]["cost_usd"]


def test_a_tag_with_too_many_values_has_no_series_and_the_log_says_so(
    sqlite_url: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    write(sqlite_url, [tagged(f'{{"customer":"{number}","team":"growth"}}') for number in range(MOST_VALUES + 1)])

    assert {("team", "growth"), ("team", "")} == shown(sqlite_url, clock, "customer", "team").keys()
    assert ["no metrics by tag customer: it has had more than 1000 values on a day"] == caplog.messages


def test_values_without_room_are_one_and_the_most_expensive_have_series(sqlite_url: str, clock: FakeClock) -> None:
    write(sqlite_url, [tagged(f'{{"team":"t{number}"}}', number * USD) for number in range(1, 101)])
    found = shown(sqlite_url, clock, "team", max_series=1000)
    named = sorted(int(value[1:]) for _, value in found if value.startswith("t"))

    assert 5 < len(named) < 50
    assert [*range(101 - len(named), 101)] == named
    assert sum(range(1, 101)) == sum(each["cost_usd"] for each in found.values())
    assert ("team", "other") in found


def test_a_value_keeps_its_series_when_others_become_more_expensive() -> None:
    gauges = TagGauges(4 * len(OF_TAGS), ["team"])

    def values(*found: tuple[str, int]) -> set[str]:
        families = gauges.families([TagSpend("team", value, cost, 0, 0, 0) for value, cost in found])
        return {sample.labels["value"] for family in families for sample in family.samples}

    assert {"a", "b", "other"} == values(("a", 9), ("b", 5), ("c", 1))
    assert {"a", "b", "other"} == values(("c", 90), ("a", 9), ("b", 5))


def test_values_that_are_shown_as_other_are_unknown_only_where_all_are() -> None:
    gauges = TagGauges(0, ["team"])
    found = [
        TagSpend("team", "a", 5, None, 0, 0),
        TagSpend("team", "b", None, None, 0, 1),
        TagSpend("team", "c", 7, None, 0, 0),
    ]
    samples = {
        (family.name, sample.labels["value"]): sample.value
        for family in gauges.families(found)
        for sample in family.samples
    }

    assert pytest.approx(12e-9) == samples["pixelmeter_tag_cost_usd", "other"]
    assert ("pixelmeter_tag_last_month_cost_usd", "other") not in samples
    assert 1 == samples["pixelmeter_tag_unknown_cost_requests", "other"]


@pytest.mark.parametrize("tags", [[""], ["a\n"], ["x" * 65], [f"t{number}" for number in range(MOST_TAGS + 1)]])
def test_tags_that_cannot_be_shown_are_refused(clock: FakeClock, tags: list[str]) -> None:
    with pytest.raises(ConfigError, match="cannot be shown|too many for one exporter"):
        LedgerCollector("sqlite:///nowhere.db", clock=clock, tags=tags)


def test_the_command_refuses_them_too(sqlite_url: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--metrics", "--tag", "", "--database-url", sqlite_url])

    assert 1 == result.exit_code
    assert "a tag has 1 to 64 printable characters" in result.output


def test_sums_are_read_once_a_minute(ledger_url: str, clock: FakeClock) -> None:
    write(ledger_url, [tagged('{"team":"growth"}')])
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger_url, clock=clock, tags=["team"]))

    def cost_after(seconds: int) -> float:
        clock.advance(seconds * 1_000_000)
        return scraped(registry)["team", "growth"]["cost_usd"]

    assert 1.0 == cost_after(0)
    write(ledger_url, [tagged('{"team":"growth"}')])
    assert [1.0, 2.0] == [cost_after(59), cost_after(1)]


def test_sums_that_take_too_long_keep_nobody_from_the_counters(
    sqlite_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(sqlite_url, [tagged(f'{{"team":"t{number}"}}', days_before=number % 40) for number in range(2000)])
    monkeypatch.setattr("pixelmeter.serve.tags._PATIENCE", 0.0)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(sqlite_url, clock=clock, tags=["team"]))

    assert {} == scraped(registry)
    assert 2000 == Scrape(registry).total("pixelmeter_requests_total")
    assert ["no metrics by tag team: their sums take longer than 0 seconds"] == caplog.messages
