"""Fill an empty ledger with millions of attempts over the days until now, as a fleet of twenty teams makes them.

A hundredth of them is made here and written by the writer; the database copies those, later by a hundredth of the time
each. Durations are log-normal; some attempts fail, some are tried again, some are billed twice, some have no known
cost, and some were corrected later. Each attempt has a team, one of 500 features, and a customer: one of a hundredth of
their number, or with `--own-customers` each its own. Rollups are added up from the rows.

    PYTHONPATH=. .venv/bin/python benchmarks/ledger_at_scale.py sqlite:////data/ledger.db --rows 10000000
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
import psycopg
from sqlalchemy import Connection, Table, delete, insert, text

from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.measures import OF_ATTEMPTS, bucket_of
from pixelmeter.ledger.merging import merge_all
from pixelmeter.ledger.rollup_tables import DAILY, HOURLY, TAG_DAILY, WIDE_TAGS
from pixelmeter.ledger.schema import ATTEMPTS
from pixelmeter.ledger.sums import TOTALS_COLUMNS, TOTALS_KEY
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

COPIES = 100
SMALL = 200_000
BATCH = 5000
DAY = 86_400_000_000
_MODELS = [
    ("aigateway", "openai", "openai/gpt-image-2", 42_240_000, 16.0),
    ("aigateway", "openai", "openai/gpt-image-2-mini", 11_000_000, 15.3),
    ("aigateway", "google", "google/gemini-4-flash-image", 39_000_000, 15.6),
    ("aigateway", "black-forest-labs", "black-forest-labs/flux-2-pro", 30_000_000, 15.9),
    ("aigateway", "meta", "meta/sam-3-1-image", 10_000_000, 14.9),
    ("openai", None, "gpt-image-2", 42_240_000, 16.0),
    ("openai", None, "gpt-image-2-mini", 11_000_000, 15.3),
    ("fal", None, "fal-ai/flux/dev", 25_000_000, 14.6),
    ("fal", None, "fal-ai/qwen-image", 20_000_000, 14.9),
    ("replicate", None, "black-forest-labs/flux-schnell", 3_000_000, 14.0),
]
_SHARES = [20, 14, 12, 12, 8, 12, 6, 8, 5, 3]
_SIZES = ["1024x1024", "1024x1024", "1536x1024", "1024x1536", "512x512", None]


def calls(number: int, since: int, span: int) -> Iterator[list[Attempt]]:
    """Yield so many calls of a span of time (Unix microseconds), each with its attempts."""
    chance = random.Random(11)
    for _ in range(number):
        gateway, provider, model, price, middle = chance.choices(_MODELS, _SHARES)[0]
        start, tags = since + chance.randrange(span), _tags(chance)
        images = chance.choices([1, 2, 4], [80, 10, 10])[0]
        common: dict[str, object] = {
            "gateway": gateway,
            "provider": provider,
            "model": model,
            "requested_model": model,
            "operation": chance.choices(["generate", "edit"], [85, 15])[0],
            "size": chance.choice(_SIZES),
            "tags": msgspec.json.encode(tags, order="sorted").decode(),
            "trace_id": f"{chance.randrange(16**32):032x}",
            "request_id": f"req_{chance.randrange(16**24):024x}",
        }
        attempts: list[Attempt] = []
        identity = _identity(chance, start)
        while True:
            one = _attempt(chance, len(attempts), start, price * images, images, middle, common | {"call_id": identity})
            attempts.append(one)
            if one.outcome == "success" or len(attempts) == 3 or chance.random() < 0.5:
                break
            start += one.duration + 500_000
        yield [msgspec.structs.replace(attempts[0], id=identity), *attempts[1:]]


def _attempt(
    chance: random.Random, number: int, start: int, price: int, images: int, middle: float, common: dict[str, object]
) -> Attempt:
    outcome = chance.choices(["success", "error", "throttled", "timeout", "rejected"], [94, 2, 2, 1.5, 0.5])[0]
    duration = int(chance.lognormvariate(middle, 0.4)) if outcome in {"success", "error"} else chance.randrange(10**6)
    ended: dict[str, object] = {"images": images, "cost": price + chance.randrange(1000), "billing": "billed"}
    if outcome != "success":
        ended = {"images": None, "cost": 0, "billing": "not_billed", "cost_source": "none", "cost_reason": "error"}
    if outcome == "timeout":
        duration = 60_000_000 + chance.randrange(1000)
        unknown = {"cost": None, "billing": "unknown", "cost_reason": "outcome_unknown", "at_risk": price}
        # Some were finished and charged all the same, as the gateway's own usage report tells later.
        ended |= {"cost": price, "billing": "billed", "cost_source": "reported"} if chance.random() < 0.3 else unknown
    elif outcome == "success" and chance.random() < 0.01:
        ended |= {"cost": None, "cost_source": "none", "cost_reason": "no_price"}
    cost = ended["cost"]
    fee = cost // 20 if isinstance(cost, int) else None
    return make_attempt(
        id=_identity(chance, start), attempt=number, started_at=start, outcome=outcome, duration=duration, fee=fee,
        **common, **ended,
    )  # fmt: skip


def _tags(chance: random.Random) -> dict[str, str]:
    return {
        "customer": f"c{chance.randrange(16**8):08x}",
        "feature": f"feature-{chance.randrange(500)}",
        "team": f"team-{int(chance.paretovariate(0.9)) % 20}",
    }


def _identity(chance: random.Random, start: int) -> str:
    moment = f"{start // 1000:012x}"
    tail = f"{chance.randrange(16**18):018x}"
    return f"{moment[:8]}-{moment[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:]}"


def fill(url: str, rows: int, days: int, own_customers: bool) -> None:
    """Make the ledger, and fill it."""
    address = read_address(url)
    span = days * DAY // COPIES
    since = time.time_ns() // 1000 - days * DAY
    with closing(open_writer(url)) as writer:
        batch: list[Attempt] = []
        # An attempt that is tried again makes a twentieth more.
        for call in calls(int(rows / COPIES / 1.035), since, span - 200_000_000):
            batch += call
            if len(batch) >= BATCH:
                writer.write(batch, {}, [])
                batch = []
        writer.write(batch, {}, [])
    with changing(address, patience=60) as connection:
        for index in ATTEMPTS.indexes:
            index.drop(connection)
        if address.dialect == "postgresql":
            _copy_in_postgresql(connection, span, own_customers)
    if address.dialect == "sqlite":
        _copy_in_sqlite(address.path, span, own_customers)
    with changing(address, patience=60) as connection:
        for index in ATTEMPTS.indexes:
            index.create(connection)
        _adjust(connection)
    add_up(address)


def add_up(address: Address) -> None:
    """Make the rollups from the rows."""
    with changing(address, patience=60) as connection:
        if address.dialect == "postgresql":
            merge_all(cast("psycopg.Connection", connection.connection.dbapi_connection), address)
        for table in (HOURLY, TAG_DAILY, WIDE_TAGS):
            connection.execute(delete(table))
        _add_up(connection, address)
    with changing(address, patience=60) as connection:
        connection.execute(text("ANALYZE"))


def _copy_in_sqlite(path: str, span: int, own_customers: bool) -> None:
    step = timedelta(microseconds=span)

    def later(identity: str, copy: int) -> str:
        moment = f"{int(identity[:8] + identity[9:13], 16) + copy * span // 1000:012x}"
        return f"{moment[:8]}-{moment[8:]}{identity[13:]}"

    def later_time(started_at: str, copy: int) -> str:
        return (datetime.fromisoformat(started_at) + copy * step).isoformat(" ", "microseconds")

    changed = {"id": "later(id, ?1)", "call_id": "later(call_id, ?1)", "started_at": "later_time(started_at, ?1)"}
    if own_customers:
        changed["tags"] = "replace(tags, '\"customer\":\"c', '\"customer\":\"c' || ?1 || '-')"
    values = ", ".join(changed.get(name, name) for name in FIELDS)
    # Without a log: it would be as large as the rows.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("later", 2, later, deterministic=True)
        connection.create_function("later_time", 2, later_time, deterministic=True)
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TEMP TABLE base AS SELECT * FROM pixelmeter_attempts ORDER BY started_at")
        for copy in range(1, COPIES):
            connection.execute(f"INSERT INTO pixelmeter_attempts SELECT {values} FROM base", (copy,))
        connection.execute("PRAGMA journal_mode = WAL")


def _copy_in_postgresql(connection: Connection, span: int, own_customers: bool) -> None:
    def later(name: str) -> str:
        moment = f"(('x' || replace(left({name}::text, 13), '-', ''))::bit(48)::bigint + copy::bigint * {span // 1000})"
        return f"(lpad(to_hex({moment}), 12, '0') || substr(replace({name}::text, '-', ''), 13))::uuid"

    changed = {
        "id": later("id"),
        "call_id": later("call_id"),
        "started_at": f"started_at + copy * interval '{span} microseconds'",
    }
    if own_customers:
        changed["tags"] = (
            "jsonb_set(tags, '{customer}', to_jsonb('c' || copy || '-' || substr(tags ->> 'customer', 2)))"
        )
    connection.execute(text("CREATE TEMP TABLE base ON COMMIT DROP AS SELECT * FROM pixelmeter_attempts"))
    values = ", ".join(changed.get(name, name) for name in FIELDS)
    connection.execute(
        text(
            f"INSERT INTO pixelmeter_attempts SELECT {values} FROM base"
            f" CROSS JOIN generate_series(1, {COPIES - 1}) AS copy ORDER BY copy, started_at"
        )
    )


def _adjust(connection: Connection) -> None:
    """Correct one attempt of a thousand: it cost a tenth more."""
    every = ", ".join("cost + cost / 10" if name == "cost" else name for name in ADJUSTABLE)
    connection.execute(
        text(
            "INSERT INTO pixelmeter_adjustments (attempt_id, number, kind, made_at, source, version,"
            f" {', '.join(ADJUSTABLE)}, is_latest)"
            f" SELECT id, 1, 'manual', started_at, 'benchmark', version, {every}, true FROM pixelmeter_attempts"
            " WHERE cost % 1000 = 1"
        )
    )


def _add_up(connection: Connection, address: Address) -> None:
    """Fill the rollups from the rows, and the totals with a hundred times what they have."""
    dialect = DIALECTS[address.dialect]
    is_sqlite = address.dialect == "sqlite"
    hour = (
        "substr(started_at, 1, 13) || ':00:00.000000'"
        if is_sqlite
        else "date_trunc('hour', started_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
    )
    day = "substr({}, 1, 10)" if is_sqlite else "({} AT TIME ZONE 'UTC')::date"
    values = {name: f"coalesce(sum({one.text}), 0)" if one.is_money else one.text for name, one in OF_ATTEMPTS.items()}
    values |= {
        "provider": "coalesce(provider, '')",
        "latency_bucket": bucket_of(dialect),
        "hour": hour,
        "day": day.format("started_at"),
        "duration": "sum(duration)",
    }
    rows = f"(SELECT *, {dialect.pixels} AS pixels FROM pixelmeter_spend)"
    _insert(connection, HOURLY, values, rows)
    connection.execute(delete(DAILY))
    sums = {column.name: f"sum({column.name})" for column in DAILY.columns if not column.primary_key}
    _insert(connection, DAILY, sums | {"day": day.format("hour")}, HOURLY.name)
    for tag in ("team", "feature"):
        value = f"json_extract(tags, '$.{tag}')" if is_sqlite else f"tags ->> '{tag}'"
        _insert(connection, TAG_DAILY, values | {"tag": f"'{tag}'", "value": value}, rows)
    wide = insert(WIDE_TAGS).values(tag="customer", found_at=datetime.now(UTC))
    connection.execute(wide)
    scaled = ", ".join(f"{name} = {name} * {COPIES}" for name in TOTALS_COLUMNS[len(TOTALS_KEY) :])
    connection.execute(text(f"UPDATE pixelmeter_totals_merged SET {scaled}"))


def _insert(connection: Connection, table: Table, values: Mapping[str, str], rows: str) -> None:
    names = [column.name for column in table.columns]
    keys = ", ".join(str(place) for place, column in enumerate(table.columns, 1) if column.primary_key)
    chosen = ", ".join(values.get(name, name) for name in names)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {chosen} FROM {rows} AS found GROUP BY {keys}"
        # The sums of a day lie together, as they come.
        f" ORDER BY {names.index('hour' if 'hour' in names else 'day') + 1}"
    )


@contextmanager
def named_or_small(arguments: Sequence[str]) -> Iterator[str]:
    """Give the URL of the ledger that a command line names; without one, of a small one that is deleted again."""
    if arguments:
        yield arguments[0]
        return
    with tempfile.TemporaryDirectory() as folder:
        fill(f"sqlite:///{folder}/ledger.db", SMALL, 90, own_customers=True)
        yield f"sqlite:///{folder}/ledger.db"


def main() -> None:
    """Fill the ledger that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database_url", nargs="?", help="without one, a small ledger that is deleted again")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--own-customers", action="store_true", help="each attempt has a customer of its own")
    given = parser.parse_args()
    begun = time.monotonic()
    if given.database_url is None:
        with tempfile.TemporaryDirectory() as folder:
            fill(f"sqlite:///{folder}/ledger.db", SMALL, given.days, given.own_customers)
        print(f"{SMALL:,} attempts: filled in {time.monotonic() - begun:.0f} s")
        return
    fill(given.database_url, given.rows, given.days, given.own_customers)
    print(f"{given.database_url}: filled in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
