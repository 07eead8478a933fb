"""A day of a team that makes images, and the weeks before it, as Prometheus and the ledger would have them.

The calls are drawn by chance, from a seed. What counts them is real: the sink of a program, the writer of a ledger on
PostgreSQL and the exporter, whose metrics at each minute of the day go into a real Prometheus.
"""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from prometheus_client import CollectorRegistry

from pixelmeter import Budget
from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.core.sink import Health
from pixelmeter.ledger.statements import keep_reconciliation
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.sinks.prometheus.sink import PrometheusSink
from tests.factories import make_attempt
from tests.ledger.test_statements import came_to

__all__ = ["happen"]

MINUTE = 60_000_000
DAY = 1440 * MINUTE
_SCRAPE_MINUTES = 2
_CALLS_A_DAY = 2600
_BATCH = 5000
# Gateway, provider, model, nano-dollars an image, seconds an image usually takes, share of the calls.
_MODELS = (
    ("aigateway", "openai", "openai/gpt-image-2", 42_240_000, 9.0, 30),
    ("aigateway", "black-forest-labs", "black-forest-labs/flux-2-pro", 30_000_000, 7.0, 22),
    ("aigateway", "openai", "openai/gpt-image-1.5", 34_000_000, 8.0, 16),
    ("aigateway", "meta", "meta/sam-3-1-image", 10_000_000, 3.0, 12),
    ("openai", None, "gpt-image-2", 42_240_000, 9.0, 14),
    ("fal", None, "fal-ai/qwen-image", 20_000_000, 4.0, 6),
)
_TEAMS = (("growth", 5), ("catalog", 4), ("design", 2), ("support", 1))
# Outcome, status, code of the error, and how many of a thousand attempts end so.
_FAILURES = (
    ("error", 502, None, 2.0),
    ("error", None, "connect", 0.6),
    ("timeout", None, None, 0.8),
    ("throttled", 429, None, 8.0),
    ("rejected", 400, "moderation_blocked", 6.0),
    ("rejected", 400, "invalid_size", 2.0),
    ("cancelled", None, None, 2.0),
)


class _Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 0

    def now(self) -> int:
        return self.at

    def monotonic(self) -> int:
        return self.at


def happen(database_url: str, folder: Path, until: int) -> None:
    """Fill an empty ledger, and the data folder of a Prometheus, with what came before `until`: Unix microseconds."""
    month = datetime.fromtimestamp(until // 1_000_000, UTC).replace(day=1, hour=0, minute=0, second=0)
    last_month = (month - timedelta(days=1)).replace(day=1)
    attempts = sorted(_attempts(int(last_month.timestamp()) * 1_000_000, until), key=_end)
    since = until - DAY
    with closing(open_writer(database_url)) as writer:
        writer.register([budget.rule for budget in _budgets(attempts, month, until)], attempts[0].started_at)
        before = [one for one in attempts if _end(one) < since]
        for start in range(0, len(before), _BATCH):
            writer.write(before[start : start + _BATCH], {}, [])
        keep_reconciliation(database_url, _reconciled(attempts, last_month, month, since))
        metrics = folder / "day.txt"
        with metrics.open("w") as text:
            _scrape(text, writer, database_url, attempts[len(before) :], since, until)
            text.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(metrics), str(folder / "data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metrics.unlink()


def _scrape(
    text: TextIO, writer: LedgerWriter, database_url: str, attempts: Sequence[Attempt], since: int, until: int
) -> None:
    """Write what a program and an exporter show, minute by minute, while attempts begin and end."""
    program, ledger, clock = CollectorRegistry(), CollectorRegistry(), _Clock()
    sink = PrometheusSink(program)
    ledger.register(LedgerCollector(database_url, clock=clock, tags=["team"]))
    starting = iter(sorted(attempts, key=lambda one: one.started_at))
    ending, waiting = iter(attempts), list[Attempt]()
    begun, ended = next(starting, None), next(ending, None)
    chance = random.Random(5)
    # The database was restarted for some minutes in the small hours.
    away = range(since + 200 * MINUTE, since + 206 * MINUTE)
    for moment in range(since, until, MINUTE):
        while begun is not None and begun.started_at <= moment:
            sink.begin(begun)
            begun = next(starting, None)
        while ended is not None and _end(ended) <= moment:
            sink.record(ended)
            waiting.append(ended)
            ended = next(ending, None)
        down = moment in away
        sink.observe(_health(chance, waiting, moment, down))
        if not down and waiting:
            writer.write(waiting, {}, [])
            waiting = []
        if (moment - since) // MINUTE % _SCRAPE_MINUTES == 0:
            clock.at = moment
            _write(text, program, "pixelmeter", "images:8000", moment)
            _write(text, ledger, "pixelmeter-ledger", "ledger:9469", moment)


def _health(chance: random.Random, waiting: Sequence[Attempt], moment: int, down: bool) -> Health:
    writes = () if down or not waiting else ((len(waiting), int(chance.lognormvariate(8.6, 0.5))),)
    lag = moment - _end(waiting[0]) if down and waiting else chance.randrange(200_000, 1_000_000)
    return Health(
        backend="postgresql",
        writes=writes,
        failed=down,
        waiting=len(waiting) if down else 0,
        lag=lag,
        dropped=0,
        spool_used=0.0004 * (1 + len(waiting) if down else 1),
        failures={},
    )


def _write(text: TextIO, registry: CollectorRegistry, job: str, instance: str, moment: int) -> None:
    at = moment / 1e6
    target = f'job="{job}",instance="{instance}"'
    samples = 0
    for family in registry.collect():
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            samples += 1
            labels = "".join(f',{name}="{_escaped(value)}"' for name, value in sample.labels.items())
            text.write(f"{sample.name}{{{target}{labels}}} {sample.value:.17g} {at:.3f}\n")
    text.write(f"up{{{target}}} 1 {at:.3f}\nscrape_samples_scraped{{{target}}} {samples} {at:.3f}\n")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _reconciled(attempts: Sequence[Attempt], begin: datetime, end: datetime, run_at: int) -> Reconciliation:
    """Return a month of which the gateway charged a little more than the ledger has, and a call was not metered."""
    first, last = (int(moment.timestamp()) * 1_000_000 for moment in (begin, end))
    ours = sum(one.cost or 0 for one in attempts if one.gateway == "aigateway" and first <= one.started_at < last)
    return came_to(
        month=f"{begin:%Y-%m}", run_at=run_at, theirs=ours * 1003 // 1000, matched=ours, drift=-ours // 1500,
        coverage=997_000,
    )  # fmt: skip


def _budgets(attempts: Sequence[Attempt], month: datetime, until: int) -> Iterator[Budget]:
    """Yield budgets of a month, of which the first three will last, and the last one only just not."""
    begun = int(month.timestamp()) * 1_000_000
    elapsed = (until - begun) / (31 * DAY)
    for name, scope, part in (
        ("images", {}, 0.86),
        ("growth", {"tags": {"team": "growth"}}, 0.78),
        ("catalog", {"tags": {"team": "catalog"}}, 0.9),
        ("design", {"tags": {"team": "design"}}, 1.04),
    ):
        spent = sum(
            (one.cost or 0) + (one.at_risk or 0)
            for one in attempts
            if one.started_at >= begun and (not scope or f'"team":"{name}"' in one.tags)
        )
        usd = max(5 * round(spent / NANO_PER_USD / elapsed / part / 5), 5)
        yield Budget(usd, name=name, per="month", scope=scope)


def _attempts(since: int, until: int) -> Iterator[Attempt]:
    """Yield the attempts of calls that began in a span of time, more of them in working hours."""
    chance = random.Random(3)
    # Twelve bad minutes of the gateway with the most calls, nine hours ago.
    bad = range(until - 9 * 60 * MINUTE, until - 9 * 60 * MINUTE + 12 * MINUTE)
    for start in _starts(chance, since, until):
        gateway, provider, model, price, seconds, _ = chance.choices(_MODELS, [each[-1] for each in _MODELS])[0]
        images = chance.choices([1, 2, 4], [84, 9, 7])[0]
        team = chance.choices([name for name, _ in _TEAMS], [share for _, share in _TEAMS])[0]
        size = chance.choice(("1024x1024", "1024x1024", "1536x1024", "1024x1536"))
        common: dict[str, Any] = {
            "gateway": gateway, "provider": provider, "model": model, "requested_model": model, "size": size,
            "requested_size": size, "quality": chance.choice(("medium", "medium", "high")),
            "operation": chance.choices(["generate", "edit"], [88, 12])[0],
            "tags": f'{{"team":"{team}"}}' if chance.random() < 0.96 else "{}",
        }  # fmt: skip
        call, at = _identity(chance, start), start
        for number in range(3):
            failing = 0.3 if at in bad and gateway == "aigateway" else 0.0
            one = _attempt(chance, call, number, at, images, price, seconds, failing, common)
            if _end(one) >= until:
                break
            yield one
            if one.outcome not in ("error", "timeout", "throttled"):
                break
            at = _end(one) + 500_000 * 2**number


def _attempt(
    chance: random.Random, call: str, number: int, start: int, images: int, price: int, seconds: float,
    failing: float, common: dict[str, Any],
) -> Attempt:  # fmt: skip
    made = chance.lognormvariate(math.log(seconds * images**0.4), 0.35)
    known = chance.random() < 0.998
    fields: dict[str, Any] = common | {
        "id": call if number == 0 else _identity(chance, start),
        "call_id": call, "attempt": number, "started_at": start, "requested_images": images, "images": images,
        "duration": int(made * 1e6), "first_byte": int(made * 1e6 * chance.uniform(0.9, 0.98)), "first_image": None,
        "remaining_requests": chance.randrange(380, 600), "trace_id": f"{chance.randrange(16**32):032x}",
        "request_id": f"req_{chance.randrange(16**12):012x}", "cost": price * images, "reported_cost": price * images,
        "token_cost": None, "image_cost": price * images, "cost_source": "reported",
    }  # fmt: skip
    if not known:
        fields |= {"cost": None, "reported_cost": None, "image_cost": None, "cost_source": "none"}
        fields |= {"cost_reason": "no_price"}
    failures = [("error", 502, None, 1000 * failing)] if failing else _FAILURES
    rest = 1000 - sum(each[-1] for each in failures)
    failure = chance.choices([None, *failures], [rest, *(each[-1] for each in failures)])[0]
    if failure is not None:
        outcome, status, code, _ = failure
        fields |= {
            "outcome": outcome, "status": status, "error_code": code, "error_type": None, "images": None,
            "duration": 60_000_000 if outcome == "timeout" else chance.randrange(80_000, 900_000), "cost": 0,
            "first_byte": None if status is None else 80_000, "reported_cost": None, "image_cost": None,
            "cost_source": "none", "cost_reason": None, "billing": "not_billed", "remaining_requests": None,
        }  # fmt: skip
        if outcome in ("timeout", "cancelled"):
            fields |= {"cost": None, "billing": "unknown", "cost_reason": "outcome_unknown", "at_risk": price * images}
        if code == "connect":
            fields |= {"error_type": "connect"}
    return make_attempt(**fields)


def _starts(chance: random.Random, since: int, until: int) -> Iterator[int]:
    minute = since
    while minute < until:
        moment = datetime.fromtimestamp(minute // 1_000_000, UTC)
        hour = moment.hour + moment.minute / 60
        # Most at one in the afternoon, a tenth of that at night, a third of it on Saturdays and Sundays.
        busy = 0.1 + 0.9 * math.exp(-(((hour - 13) / 4.5) ** 2))
        expected = _CALLS_A_DAY / 1440 * busy * 2.1 * (0.35 if moment.isoweekday() > 5 else 1)
        for _ in range(_poisson(chance, expected)):
            yield minute + chance.randrange(MINUTE)
        minute += MINUTE


def _poisson(chance: random.Random, expected: float) -> int:
    limit, product, number = math.exp(-expected), chance.random(), 0
    while product > limit:
        product *= chance.random()
        number += 1
    return number


def _identity(chance: random.Random, start: int) -> str:
    moment, tail = f"{start // 1000:012x}", f"{chance.randrange(16**18):018x}"
    return f"{moment[:8]}-{moment[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:]}"


def _end(one: Attempt) -> int:
    return one.started_at + one.duration
