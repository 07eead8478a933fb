"""What the panels that ask Prometheus say of series that are known sample by sample, by promtool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from pixelmeter.core.attempts.billing import UNKNOWN
from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.shared import UNSETTLED, allowed, error_steps
from tests.conftest import unavailable
from tests.monitoring.asking import panels
from tests.monitoring.linter import filled

Said = Callable[[str, Mapping[str, str], Mapping[str, float]], None]

_VALUES = {"__range": "1h", "__rate_interval": "5m", "job": ".+", "gateway": ".*", "model": ".*", "tag": "team"}
_NOW = 180
"""Minutes; each value of a series is a minute's."""
_EXPORTER = 'pixelmeter_ledger_up{job="pixelmeter-ledger",instance="b"}'


def counter(name: str, labels: str = "", *, model: str = "m", exporter: bool = False) -> str:
    target = 'job="pixelmeter-ledger",instance="b"' if exporter else 'job="pixelmeter",instance="a"'
    return f'pixelmeter_{name}_total{{{target},gateway="gw",operation="generate",model="{model}"{labels}}}'


def image(size: str = "1024x1024", *, model: str = "m", exporter: bool = False) -> str:
    return counter("images", f',size="{size}",quality="high"', model=model, exporter=exporter)


def cost(source: str = "priced", *, model: str = "m", exporter: bool = False) -> str:
    return counter("cost_usd", f',cost_source="{source}"', model=model, exporter=exporter)


def moved(kind: str, direction: str, name: str = "adjustments_usd") -> str:
    return counter(name, f',kind="{kind}",direction="{direction}"')


def since(minute: int, *values: str) -> str:
    """Return values of a series that is there since a minute of the last hour, each for an equal part of the rest."""
    begin = _NOW - 60 + minute
    length = (_NOW - begin) // len(values)
    # Of a number, promtool makes one more than is said.
    parts = [f"_x{length}" if value == "_" else f"{value}x{length - 1}" for value in values]
    return " ".join([f"_x{begin}", *parts, f"{values[-1]}x{_NOW}"])


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """Hold a panel ("kind Title", or "kind Title/place of its query") to what it says of series at the end."""
    promtool = shutil.which("promtool")
    if promtool is None:
        unavailable("promtool is not installed", "apt-get install prometheus")

    def hold(query: str, series: Mapping[str, str], expected: Mapping[str, float]) -> None:
        name, _, place = query.partition("/")
        asked = [
            target["expr"]
            for panel, target in panels("prometheus")
            if f"{panel['type']} {panel['title']}" == name and target is panel["targets"][int(place or 0)]
        ]
        assert asked
        samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
        test = {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f"round({filled(expression, _VALUES)}, 0.1)",
                    "eval_time": f"{_NOW}m",
                    "exp_samples": samples,
                }
                for expression in asked
            ],
        }
        path = tmp_path / "test.yml"
        path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
        done = subprocess.run([str(promtool), "test", "rules", str(path)], capture_output=True, text=True)
        assert 0 == done.returncode, done.stdout + done.stderr

    return hold


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("stat Images", "{}"),
        ("table Models/3", '{model="m"}'),
        ("timeseries Images per hour", '{quality="high",size="%s"}'),
    ],
    ids=["stat", "table", "graph"],
)
def test_the_first_image_of_each_size_counts(said: Said, query: str, labels: str) -> None:
    sizes = {"1024x1024": 1.0, "512x512": 3.0}
    expected = {labels % size: number for size, number in sizes.items()} if "%" in labels else {labels: 4.0}

    said(query, {image("1024x1024"): since(20, "1"), image("512x512"): since(20, "2", "3")}, expected)


def test_an_image_of_a_program_that_has_ended_counts(said: Said) -> None:
    said("stat Images", {image(): since(20, "1", "_")}, {"{}": 1})


def test_what_a_series_had_before_the_time_range_does_not_count(said: Said) -> None:
    said("stat Images", {image(): "7x179"}, {"{}": 0})
    said("stat Images", {image(): "7x60 _x60 7x59"}, {"{}": 0})


def test_images_of_a_program_that_began_again_count_in_both_lives(said: Said) -> None:
    said("stat Images", {image(): since(10, "1", "3", "2")}, {"{}": 5})


def test_a_new_exporter_brings_no_images_and_later_ones_count(said: Said) -> None:
    brought = {_EXPORTER: since(10, "1"), image("1024x1024", exporter=True): since(10, "500")}

    said("stat Images", brought, {"{}": 0})
    said("stat Images", {**brought, image("512x512", exporter=True): since(30, "1")}, {"{}": 1})
    said("stat Images", {**brought, _EXPORTER: "1x180"}, {"{}": 500})


@pytest.mark.parametrize(
    ("query", "labels"),
    [("stat Spend", "{}"), ("stat Spend, by the counters", "{}"), ("table Models/0", '{model="m"}')],
)
def test_the_cost_that_a_new_model_of_the_exporter_is_born_with_is_spend(said: Said, query: str, labels: str) -> None:
    said(query, {_EXPORTER: "1x180", cost(exporter=True): since(20, "1.5")}, {labels: 1.5})


@pytest.mark.parametrize("query", ["stat At risk", "table Models/1"])
def test_what_a_new_model_of_the_exporter_may_have_cost_is_at_risk(said: Said, query: str) -> None:
    labels = '{model="m"}' if "/" in query else "{}"

    said(query, {_EXPORTER: "1x180", counter("at_risk_usd", exporter=True): since(20, "1.5")}, {labels: 1.5})


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("stat Unknown cost", "{}"),
        ("table Models/2", '{model="m"}'),
        ("timeseries Attempts of unknown cost, per hour", '{reason="no_tokens"}'),
    ],
)
def test_the_first_unknown_cost_counts(said: Said, query: str, labels: str) -> None:
    said(query, {counter("unknown_cost_requests", ',reason="no_tokens"'): since(20, "1")}, {labels: 1})


SPEND = ["stat Spend", "stat Spend, by the counters"]


@pytest.mark.parametrize("query", SPEND)
def test_unknown_cost_alone_is_no_spend_of_zero(said: Said, query: str) -> None:
    unknown = {counter("unknown_cost_requests", ',reason="no_price"'): since(20, "3")}

    said(query, {cost(): since(20, "0"), **unknown}, {})
    said(query, {cost(): since(20, "0")}, {"{}": 0})
    said(query, {cost(): since(20, "0.5"), **unknown}, {"{}": 0.5})


@pytest.mark.parametrize(
    ("query", "labels"),
    [("stat Spend", "{}"), ("stat Spend, by the counters", "{}"), ("table Models/0", '{model="m"}')],
)
def test_spend_is_cost_and_what_later_facts_added_less_what_they_took(said: Said, query: str, labels: str) -> None:
    series = {
        cost(): since(20, "2"),
        moved("job", "up"): since(30, "1.5"),
        moved("job", "down"): since(30, "0.2"),
        moved("reconciled", "down"): since(30, "0", "0.3"),
    }

    said(query, series, {labels: 3})


@pytest.mark.parametrize("query", SPEND)
def test_jobs_alone_are_spend_once_they_have_ended(said: Said, query: str) -> None:
    open_ = {cost(): since(20, "0"), counter("unknown_cost_requests", ',reason="pending_job"'): since(20, "3")}

    said(query, open_, {"{}": 0})
    said(query, {**open_, moved("job", "up"): since(30, "1.5")}, {"{}": 1.5})


@pytest.mark.parametrize(
    ("query", "labels", "of_open"),
    [
        ("stat At risk", "{}", {"{}": 0.0}),
        ("table Models/1", '{model="m"}', {}),
        ("timeseries At risk per hour", '{gateway="gw", job="pixelmeter"}', None),
    ],
)
def test_what_jobs_put_at_risk_is_gone_when_they_end(
    said: Said, query: str, labels: str, of_open: Mapping[str, float] | None
) -> None:
    submitted = {counter("at_risk_usd"): since(20, "3")}
    taken = moved("job", "down", "at_risk_adjustments_usd")

    said(query, submitted, {labels: 3})
    said(query, {**submitted, taken: since(30, "1")}, {labels: 2})
    said(query, {**submitted, taken: since(30, "3")}, {labels: 0} if of_open is None else of_open)


@pytest.mark.parametrize("query", ["stat Unknown cost", "table Models/2"])
def test_a_job_is_no_attempt_whose_cost_nobody_knows(said: Said, query: str) -> None:
    pending = counter("unknown_cost_requests", ',reason="pending_job"')
    labels = '{model="m"}' if "/" in query else "{}"

    said(
        query,
        {counter("unknown_cost_requests", ',reason="no_price"'): since(20, "1"), pending: since(20, "3")},
        {labels: 1},
    )


def test_an_image_of_a_job_costs_what_the_end_of_the_job_says(said: Said) -> None:
    series = {cost(): since(40, "0"), moved("job", "up"): since(57, "0.2"), image(): since(57, "2")}

    said("stat Cost per image", series, {"{}": 0.1})
    said("table Models/4", series, {'{model="m"}': 0.1})
    said("timeseries Cost per image", series, {'{model="m"}': 0.1})


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("timeseries Spend per hour", '{model="m"}'),
        ("timeseries Spend per hour, by gateway", '{gateway="gw"}'),
    ],
)
def test_the_pace_of_spend_has_ends_of_jobs_and_no_corrections(said: Said, query: str, labels: str) -> None:
    series = {
        cost(): "0+0.1x180",
        moved("job", "up"): "0+0.3x180",
        moved("job", "down"): "0+0.2x180",
        moved("reconciled", "up"): "0+100x180",
    }

    said(query, series, {labels: 12})


def test_adjustments_are_told_apart_by_their_kind(said: Said) -> None:
    series = {
        moved("job", "up"): since(20, "2"),
        moved("manual", "down"): since(20, "1"),
    }

    said(
        "timeseries Adjustments per hour",
        series,
        {'{direction="up",kind="job"}': 2, '{direction="down",kind="manual"}': 1},
    )


def test_the_first_job_that_ends_counts(said: Said) -> None:
    ended = counter("jobs", ',outcome="success"')

    said("timeseries Jobs that ended, per hour", {ended: since(20, "1")}, {'{outcome="success"}': 1})


@pytest.mark.parametrize(("reason", "is_settled"), [(reason, reason not in UNSETTLED) for reason in UNKNOWN])
def test_a_risk_that_nobody_can_estimate_is_not_one_of_zero(said: Said, reason: str, is_settled: bool) -> None:
    unknown = {counter("unknown_cost_requests", f',reason="{reason}"'): since(20, "3")}

    said("stat At risk", {counter("at_risk_usd"): since(20, "0"), **unknown}, {"{}": 0} if is_settled else {})
    said("stat At risk", {counter("at_risk_usd"): since(20, "0.5"), **unknown}, {"{}": 0.5})


def test_a_first_image_costs_what_it_cost(said: Said) -> None:
    series = {cost(): since(57, "0.2"), image(): since(57, "2")}

    said("stat Cost per image", {**series, cost(): since(40, "0", "0.2")}, {"{}": 0.1})
    said("table Models/4", series, {'{model="m"}': 0.1})
    said("timeseries Cost per image", series, {'{model="m"}': 0.1})


def test_images_without_any_known_cost_do_not_make_the_others_cheaper(said: Said) -> None:
    known = {cost(): since(20, "0.2"), image(): since(20, "2")}
    unknown = {cost(model="x"): since(20, "0"), image(model="x"): since(20, "2")}

    said("stat Cost per image", {**known, **unknown}, {"{}": 0.1})
    said("stat Cost per image", unknown, {})


def test_what_is_at_risk_is_shown_by_what_the_alert_looks_at(said: Said) -> None:
    series = {counter("at_risk_usd", model=model): "0x150 0.6x30" for model in ("m", "n")}

    said("timeseries At risk per hour", series, {'{gateway="gw", job="pixelmeter"}': 1.2})


@pytest.mark.parametrize(
    ("query", "labels"), [("stat Throttled", "{}"), ("timeseries Throttled, by gateway", '{gateway="gw"}')]
)
def test_a_refusal_for_lack_of_funds_is_not_throttling(said: Said, query: str, labels: str) -> None:
    series = {
        counter("requests", f',outcome="{outcome}",error_type="{error_type}"'): f"0+{pace}x180"
        for outcome, error_type, pace in (
            ("success", "", 70),
            ("throttled", "throttled", 10),
            ("throttled", "insufficient_funds", 20),
        )
    }

    said(query, series, {labels: 0.1})


def test_the_alert_that_nothing_is_scraped_is_in_the_table_though_it_is_of_no_job(said: Said) -> None:
    labels = 'alertname="PixelmeterMetricsAbsent",alertstate="firing",severity="critical"'

    said("table Alerts", {f"ALERTS{{{labels}}}": "1x180"}, {f"{{{labels}}}": 1})


def test_what_a_high_objective_allows_is_not_rounded_away() -> None:
    assert 1.5e-06 == allowed(0.9999985)
    assert 1e-07 == allowed(0.9999999)
    assert 0.01 == allowed(0.99)
    assert [None, 1.5e-06, 2.16e-05] == [value for value, _ in error_steps(Thresholds(objective=0.9999985))]


def ended(outcome: str, error_type: str = "") -> str:
    return counter("requests", f',outcome="{outcome}",error_type="{error_type}"')


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("stat Requests", {"{}": 5}),
        ("table Models/5", {'{model="m"}': 5}),
        ("stat Throttled", {"{}": 0.2}),
        ("stat Failed", {"{}": 0}),
        ("timeseries Refused by a budget, per hour", {'{gateway="gw",model="m"}': 50}),
    ],
)
def test_what_a_budget_refused_is_shown_as_that_and_is_in_no_share(
    said: Said, query: str, expected: Mapping[str, float]
) -> None:
    series = {
        ended("success"): since(20, "0", "4"),
        ended("throttled", "throttled"): since(20, "0", "1"),
        ended("error", "server"): since(20, "0"),
        ended("blocked", "blocked"): since(20, "0", "50"),
    }
    said(query, series, expected)


def test_the_first_attempt_that_a_budget_refuses_is_shown(said: Said) -> None:
    series = {ended("blocked", "blocked"): since(20, "1")}
    said("timeseries Refused by a budget, per hour", series, {'{gateway="gw",model="m"}': 1})


@pytest.mark.parametrize(
    ("query", "name", "expected"),
    [
        ("table Budgets/0", "limit_usd", 2),
        ("table Budgets/1", "spent_usd", 2),
        ("table Budgets/2", "reserved_usd", 2),
        ("table Budgets/3", "used_ratio", 2),
        ("timeseries Used of each budget", "used_ratio", 2),
        ("table Budgets/4", "forecast_usd", 2),
        ("table Budgets/5", "overrun_usd", 2),
        ("table Budgets/6", "values_over", 2),
        ("table Budgets/7", "reset_timestamp_seconds", 2000),
    ],
)
def test_a_budget_is_shown_as_two_exporters_of_its_ledger_have_it(
    said: Said, query: str, name: str, expected: float
) -> None:
    series = {
        f'pixelmeter_budget_{name}{{job="pixelmeter-ledger",instance="{instance}",budget="month"}}': since(20, "2")
        for instance in "bc"
    }
    said(query, series, {'{budget="month"}': expected})


def test_open_jobs_are_counted_once_a_ledger_and_added_over_ledgers(said: Said) -> None:
    series = {
        f'pixelmeter_jobs_open{{job="{job}",instance="{instance}",gateway="gw"}}': since(20, jobs)
        for job, instance, jobs in (("ledger", "b", "2"), ("ledger", "c", "2"), ("other", "d", "3"))
    }
    said("timeseries Open jobs", series, {'{gateway="gw"}': 5})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("timeseries Spend of the month, by tag/0", {'{value="growth"}': 2, '{value="(none)"}': 7}),
        ("timeseries Spend of the month, by tag/1", {'{budget="month"}': 50}),
        ("table Months by tag/0", {'{value="growth"}': 2, "{}": 7}),
        ("table Months by tag/1", {'{value="growth"}': 9}),
    ],
)
def test_the_chosen_tag_is_shown_by_its_values_with_the_limits_of_budgets(
    said: Said, query: str, expected: Mapping[str, float]
) -> None:
    target = 'job="pixelmeter-ledger",instance="b"'
    series = {
        f'pixelmeter_tag_cost_usd{{{target},tag="team",value="growth"}}': "2x180",
        f'pixelmeter_tag_cost_usd{{{target},tag="team",value=""}}': "7x180",
        f'pixelmeter_tag_cost_usd{{{target},tag="feature",value="hero"}}': "3x180",
        f'pixelmeter_tag_last_month_cost_usd{{{target},tag="team",value="growth"}}': "9x180",
        f'pixelmeter_budget_limit_usd{{{target},budget="month"}}': "50x180",
    }
    said(query, series, expected)


def timed(name: str, labels: str = "") -> str:
    return counter("x", f',outcome="success"{labels}').replace("x_total", f"request_duration_seconds_{name}")


RELIABILITY = {
    ended("success"): "0+8x180",
    ended("error", "server"): "0+2x180",
    ended("throttled", "throttled"): "0+10x180",
    ended("rejected", "moderation"): "0+30x180",
    ended("blocked", "blocked"): "0+50x180",
    timed("bucket", ',le="60.0"'): "0+6x180",
    timed("count"): "0+10x180",
}
"""Of what should succeed a fifth fails, and of the images two fifths are slow."""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("stat Succeeded", {"{}": 0.8}),
        ("stat Failed", {"{}": 0.2}),
        ("table Models/6", {'{model="m"}': 0.2}),
        ("timeseries Failed, by gateway", {'{gateway="gw"}': 0.2}),
        ("timeseries Failed, by model", {'{model="m"}': 0.2}),
        ("stat Refused by moderation", {"{}": 0.6}),
        ("stat Error budget left", {"{}": -19}),
        *((f"timeseries Burn of the error budget/{place}", {"{}": 20}) for place in range(4)),
        ("stat In time", {"{}": 0.6}),
        ("timeseries Too slow, by gateway", {'{gateway="gw"}': 0.4}),
        ("stat Latency budget left", {"{}": -7}),
        *((f"timeseries Burn of the latency budget/{place}", {"{}": 8}) for place in range(4)),
        (
            "timeseries Requests per minute",
            {
                f'{{outcome="{outcome}"}}': number
                for outcome, number in (
                    ("success", 8), ("error", 2), ("throttled", 10), ("rejected", 30), ("blocked", 50),
                )
            },
        ),
        (
            "timeseries Attempts without an image, per minute",
            {
                f'{{error_type="{error_type}"}}': number
                for error_type, number in (("server", 2), ("throttled", 10), ("moderation", 30), ("blocked", 50))
            },
        ),
    ],
)  # fmt: skip
def test_shares_are_of_what_should_have_succeeded_and_budgets_of_what_the_objective_allows(
    said: Said, query: str, expected: Mapping[str, float]
) -> None:
    said(query, RELIABILITY, expected)


def test_tokens_and_retries_are_shown_by_the_minute(said: Said) -> None:
    tokens = {counter("tokens", f',direction="{way}",modality="{kind}"'): f"0+{pace}x180" for way, kind, pace in (
        ("input", "text", 30), ("output", "image", 90),
    )}  # fmt: skip
    said("timeseries Tokens per minute", tokens, {
        '{direction="input",modality="text"}': 30, '{direction="output",modality="image"}': 90,
    })  # fmt: skip
    said("timeseries Retries per minute", {counter("retries"): "0+3x180"}, {'{gateway="gw",model="m"}': 3})


@pytest.mark.parametrize(
    ("query", "expected"),
    [("table Months by tag/2", {'{value="growth"}': 4}), ("table Months by tag/3", {'{value="growth"}': 5})],
)
def test_what_is_at_risk_and_unknown_of_a_tag_has_its_own_column(
    said: Said, query: str, expected: Mapping[str, float]
) -> None:
    labels = 'job="pixelmeter-ledger",instance="b",tag="team",value="growth"'
    names = {"cost_usd": 2, "last_month_cost_usd": 3, "at_risk_usd": 4, "unknown_cost_requests": 5}
    said(query, {f"pixelmeter_tag_{name}{{{labels}}}": f"{value}x180" for name, value in names.items()}, expected)
    renamed = named("Months by tag")
    assert ("At risk", "Unknown") == (renamed["Value #C"], renamed["Value #D"])


@pytest.mark.parametrize(
    ("place", "column", "value"), [(0, "Charged", 20), (1, "Covered", 0.9), (2, "Drift", -4), (3, "Reconciled", 7000)]
)
def test_a_reconciliation_is_shown_as_the_exporter_has_it(said: Said, place: int, column: str, value: float) -> None:
    labels = 'job="pixelmeter-ledger",instance="b",gateway="gw",source="csv"'
    names = {"charged_usd": 20, "coverage_ratio": 0.9, "drift_usd": -4, "timestamp_seconds": 7}
    series = {f"pixelmeter_reconciliation_{name}{{{labels}}}": f"{number}x180" for name, number in names.items()}
    said(f"table Reconciliations/{place}", series, {'{gateway="gw",source="csv"}': value})
    said("timeseries Covered by the ledger", series, {'{gateway="gw",source="csv"}': 0.9})
    assert column == named("Reconciliations")[f"Value #{'ABCD'[place]}"]


def named(title: str) -> Mapping[str, str]:
    """Return the names of the columns of a table, by those that its queries have."""
    [panel, *_] = [panel for panel, _ in panels("prometheus") if panel["title"] == title]
    found: Mapping[str, str] = panel["transformations"][1]["options"]["renameByName"]
    return found


def test_the_oldest_prices_of_all_programs_are_what_is_told(said: Said) -> None:
    times = {f'pixelmeter_price_book_timestamp_seconds{{job="pixelmeter",instance="{name}"}}': f"{value}x180" for
             name, value in (("a", 800), ("b", 10_000))}  # fmt: skip
    said("stat Age of the prices", times, {"{}": 10_000})
