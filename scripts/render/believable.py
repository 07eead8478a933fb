"""A ledger as a company has it after two months: the calls of `pixelmeter demo`, as many as a working week has of them.

Everything but the moment of a call is what the demo's real clients and its stand-in gateway have left.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import groupby

import msgspec

from pixelmeter import Budget
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.ledger.reading import stored

DAYS = 62
CALLS_AN_HOUR = 50
"""At eleven on a weekday, at the end of the two months."""
_BATCH = 2000


def fill(url: str) -> None:
    """Fill an empty ledger with the days until now, and set two budgets."""
    chance = random.Random(5)
    calls = _calls_of_the_demo()
    # The demo has every kind of trouble, more of it than a day has.
    weights = [1.0 if all(each.outcome == "success" for each in call) else 0.3 for call in calls]
    now = datetime.now(UTC)
    with closing(open_writer(url)) as writer:
        batch: list[Attempt] = []
        for moment in _moments(now, chance):
            batch += _again(chance.choices(calls, weights)[0], moment, chance)
            if len(batch) >= _BATCH:
                writer.write(batch, {}, [])
                batch = []
        writer.write(batch, {}, [])
        budgets = [
            Budget(400, name="all images", per="month"),
            Budget(8, name="growth, a day", per="day", scope={"tags": {"team": "growth"}}),
        ]
        writer.register([budget.rule for budget in budgets], time.time_ns() // 1000)


def _calls_of_the_demo() -> Sequence[Sequence[Attempt]]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/demo.db"
        command = [sys.executable, "-m", "pixelmeter", "demo", "--calls", "300", "--database-url", url]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        attempts = sorted(stored(url).values(), key=lambda each: (each.call_id, each.attempt))
    # A job's end is an adjustment, which is not taken over: what it submitted would be open for ever.
    found = [list(group) for _, group in groupby(attempts, key=lambda each: each.call_id)]
    return [call for call in found if not any(each.job_id for each in call)]


def _moments(now: datetime, chance: random.Random) -> Iterator[datetime]:
    """Yield when calls begin: more of them by day than by night, on weekdays than on weekends, and more every week."""
    hour = (now - timedelta(days=DAYS)).replace(minute=0, second=0, microsecond=0)
    while hour < now:
        day = 0.25 + 0.75 * max(math.sin((hour.hour - 5) / 24 * 2 * math.pi), 0)
        week = 0.3 if hour.isoweekday() > 5 else 1.0
        growth = 0.5 + 0.5 * (1 - (now - hour) / timedelta(days=DAYS))
        for _ in range(round(chance.gauss(1, 0.2) * CALLS_AN_HOUR * day * week * growth)):
            moment = hour + timedelta(seconds=chance.uniform(0, 3600))
            if moment < now - timedelta(minutes=1):
                yield moment
        hour += timedelta(hours=1)


def _again(call: Sequence[Attempt], moment: datetime, chance: random.Random) -> Iterator[Attempt]:
    """Yield the attempts of a call as they would be at another moment."""
    start = int(moment.timestamp() * 1_000_000)
    later = start - min(each.started_at for each in call)
    call_id = _identity(start, chance)
    for each in call:
        begun = each.started_at + later
        identity = call_id if each.id == each.call_id else _identity(begun, chance)
        tags = {name: value for name, value in json.loads(each.tags).items() if name != "demo"}
        text = json.dumps(tags, sort_keys=True, separators=(",", ":"))
        yield msgspec.structs.replace(each, id=identity, call_id=call_id, started_at=begun, tags=text)


def _identity(microseconds: int, chance: random.Random) -> str:
    """Return a UUIDv7 of a moment."""
    moment, tail = f"{microseconds // 1000:012x}", f"{chance.randrange(16**18):018x}"
    return f"{moment[:8]}-{moment[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:]}"
