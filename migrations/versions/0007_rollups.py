"""Rollups by hour and by the value of a tag, more sums in the one by day, and deltas that PostgreSQL merges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.measures import bucket_of

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.Text().with_variant(postgresql.JSON(), "postgresql")

_KEY = ("gateway", "provider", "operation", "model", "outcome", "latency_bucket")
_TAG_KEY = ("tag", "day", "value", "latency_bucket")
_TOTALS_KEY = (
    "gateway", "operation", "model", "outcome", "error_type", "cost_source", "cost_reason", "size", "quality",
)  # fmt: skip
_TOTALS = (
    "attempts", "retries", "images", "cost_usd", "cost_nano", "at_risk_usd", "at_risk_nano", "unknown_cost_attempts",
    "duration_s", "duration_us", "input_text_tokens", "cached_input_tokens", "input_image_tokens",
    "output_text_tokens", "output_image_tokens", "up_to_0_1_s", "up_to_0_25_s", "up_to_0_5_s", "up_to_1_s",
    "up_to_2_s", "up_to_3_s", "up_to_5_s", "up_to_7_5_s", "up_to_10_s", "up_to_15_s", "up_to_20_s", "up_to_30_s",
    "up_to_45_s", "up_to_60_s", "up_to_90_s", "up_to_120_s", "over_120_s",
)  # fmt: skip


def _count(condition: str) -> str:
    return f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)"


_OLD = {
    "attempts": "count(*)",
    "calls": _count("attempt = 0 AND outcome <> 'blocked'"),
    "images": "sum(coalesce(images, 0))",
    "cost": "sum(coalesce(cost, 0))",
    "fee": "sum(coalesce(fee, 0))",
    "at_risk": "sum(coalesce(at_risk, 0))",
    "unknown_cost_attempts": _count("cost IS NULL"),
    "duration": "sum(duration)",
}
_NEW = {
    "unestimated_attempts": _count("cost IS NULL AND at_risk IS NULL AND billing IN ('unknown', 'pending')"),
    "unknown_fee_attempts": _count("fee IS NULL"),
    "priced_images": "sum(CASE WHEN cost IS NULL THEN 0 ELSE coalesce(images, 0) END)",
    "pixels": "sum(coalesce(pixels, 0))",
    "pixel_cost": "sum(CASE WHEN pixels IS NULL THEN 0 ELSE cost END)",
}
_OF_TAGS = {
    "errors": _count("outcome IN ('error', 'timeout', 'throttled', 'rejected')"),
    "blocked": _count("outcome = 'blocked'"),
    "failure_cost": "sum(CASE WHEN outcome = 'success' THEN 0 ELSE coalesce(cost, 0) END)",
    "unknown_failures": _count("outcome <> 'success' AND cost IS NULL"),
}
_SUMS = _OLD | _NEW
_USED = "attempt, outcome, billing, images, cost, fee, at_risk, duration"
_MOST_VALUES = 1000
_ARRAYS = ("hourly", "tag_daily", "totals")

_LONGEST_KEY, _LONGEST_VALUE = 64, 256
_ONE_SIDE = "CAST({} AS INTEGER) BETWEEN 1 AND 99999 AND CAST(CAST({} AS INTEGER) AS TEXT) = {}"
_WIDTH, _HEIGHT = "substr(size, 1, instr(size, 'x') - 1)", "substr(size, instr(size, 'x') + 1)"


class _Sqlite:
    dialect = DIALECTS["sqlite"]
    hour = "substr(started_at, 1, 13) || ':00:00.000000'"
    day = "substr(started_at, 1, 10)"
    day_of_hour = "substr(hour, 1, 10)"
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    is_size = (
        f"instr(size, 'x') > 1 AND {_ONE_SIDE.format(_WIDTH, _WIDTH, _WIDTH)}"
        f" AND {_ONE_SIDE.format(_HEIGHT, _HEIGHT, _HEIGHT)}"
    )
    area = f"CAST({_WIDTH} AS INTEGER) * CAST({_HEIGHT} AS INTEGER)"
    members = (
        "json_each(CASE WHEN json_valid(tags) THEN CASE json_type(tags) WHEN 'object' THEN tags ELSE '{}' END"
        " ELSE '{}' END)"
    )
    is_text = "member.type = 'text'"
    value = "CAST(member.value AS TEXT)"


class _Postgresql:
    dialect = DIALECTS["postgresql"]
    hour = "date_trunc('hour', started_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
    day = "(started_at AT TIME ZONE 'UTC')::date"
    day_of_hour = "(hour AT TIME ZONE 'UTC')::date"
    now = "now()"
    is_size = "size ~ '^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$'"
    area = "split_part(size, 'x', 1)::bigint * split_part(size, 'x', 2)::bigint"
    members = "jsonb_each(CASE jsonb_typeof(tags) WHEN 'object' THEN tags ELSE '{}' END)"
    is_text = "jsonb_typeof(member.value) = 'string'"
    value = "member.value #>> '{}'"


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    database = _Postgresql if is_postgresql else _Sqlite
    retried = sa.text("attempt > 0")
    op.create_index(
        "pixelmeter_attempts_retries",
        "pixelmeter_attempts",
        ["started_at"],
        sqlite_where=retried,
        postgresql_where=retried,
    )
    _rename("pixelmeter_daily", "pixelmeter_daily_merged")
    _rename("pixelmeter_totals", "pixelmeter_totals_merged")
    for name in _NEW:
        op.add_column("pixelmeter_daily_merged", sa.Column(name, _BIG, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "pixelmeter_hourly_merged",
        sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
        *(sa.Column(name, sa.Text(), primary_key=True) for name in _KEY[:-1]),
        sa.Column("latency_bucket", sa.SmallInteger(), primary_key=True, autoincrement=False),
        *(sa.Column(name, _BIG, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pixelmeter_tag_daily_merged",
        sa.Column("tag", sa.Text(), primary_key=True),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("value", sa.Text(), primary_key=True),
        sa.Column("latency_bucket", sa.SmallInteger(), primary_key=True, autoincrement=False),
        *(sa.Column(name, _BIG, nullable=False) for name in _SUMS | _OF_TAGS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pixelmeter_wide_tags",
        sa.Column("tag", sa.Text(), primary_key=True),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "pixelmeter_deltas",
        sa.Column("id", _BIG, sa.Identity(always=True), primary_key=True),
        *(sa.Column(name, _JSON, nullable=False) for name in _ARRAYS),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_apart", sa.Boolean(), nullable=False),
    )
    if is_postgresql:
        for name in _ARRAYS:
            # Short-lived and read soon: pressing it together costs more than the room that it takes.
            op.execute(f"ALTER TABLE pixelmeter_deltas ALTER COLUMN {name} SET STORAGE EXTERNAL")
    _fill_hours(database)
    _fill_tags(database)
    for name, query in (_views_of_postgresql() if is_postgresql else _views_of_sqlite()).items():
        _run(f"CREATE VIEW {name} AS {query}")
    if is_postgresql:
        _let_the_same_read()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _merge()
    for name in ("daily", "hourly", "tag_daily", "totals"):
        _run(f"DROP VIEW pixelmeter_{name}")
    for name in ("deltas", "wide_tags", "tag_daily_merged", "hourly_merged"):
        op.drop_table(f"pixelmeter_{name}")
    for name in _NEW:
        op.drop_column("pixelmeter_daily_merged", name)
    _rename("pixelmeter_totals_merged", "pixelmeter_totals")
    _rename("pixelmeter_daily_merged", "pixelmeter_daily")
    op.drop_index("pixelmeter_attempts_retries", "pixelmeter_attempts")


def _run(statement: str) -> None:
    # Not as text of SQLAlchemy, to which a colon begins a parameter.
    op.get_bind().exec_driver_sql(statement)


def _rename(name: str, new: str) -> None:
    op.rename_table(name, new)
    if op.get_bind().dialect.name == "postgresql":
        _run(f"ALTER INDEX {name}_pkey RENAME TO {new}_pkey")


def _rows(database: type[_Sqlite | _Postgresql], *more: str) -> str:
    """Return the query of the attempts as they are now, with what sums are made of."""
    pixels = (
        f"CASE WHEN cost IS NOT NULL AND images BETWEEN 0 AND 1000000 AND {database.is_size}"
        f" THEN images * ({database.area}) END AS pixels"
    )
    latency = f"{bucket_of(database.dialect)} AS latency_bucket"
    return f"SELECT {', '.join([_USED, pixels, latency, *more])} FROM pixelmeter_spend"


def _fill_hours(database: type[_Sqlite | _Postgresql]) -> None:
    keys = ("hour", *_KEY)
    found = _rows(
        database, f"{database.hour} AS hour", "gateway", "coalesce(provider, '') AS provider", "operation", "model"
    )
    _run(f"""
INSERT INTO pixelmeter_hourly_merged ({", ".join((*keys, *_SUMS))})
SELECT {", ".join((*keys, *_SUMS.values()))} FROM ({found}) AS found GROUP BY {", ".join(keys)}
""")
    day_key = ("day", *_KEY)
    _run(f"""
UPDATE pixelmeter_daily_merged SET {", ".join(f"{name} = added.{name}" for name in _NEW)}
FROM (
  SELECT {database.day_of_hour} AS day, {", ".join((*_KEY, *(f"sum({name}) AS {name}" for name in _NEW)))}
  FROM pixelmeter_hourly_merged GROUP BY {", ".join((database.day_of_hour, *_KEY))}
) AS added
WHERE {" AND ".join(f"pixelmeter_daily_merged.{name} = added.{name}" for name in day_key)}
""")


def _fill_tags(database: type[_Sqlite | _Postgresql]) -> None:
    """Fill the rollup by tags, but for tags with many values or with one that is no text of ours."""
    sums = _SUMS | _OF_TAGS
    is_plain = f"{database.is_text} AND length({database.value}) <= {_LONGEST_VALUE}"
    found = _rows(
        database,
        "member.key AS tag",
        f"{database.day} AS day",
        f"CASE WHEN {is_plain} THEN {database.value} END AS value",
    )
    _run(f"""
CREATE TABLE pixelmeter_found_tags AS
SELECT {", ".join((*_TAG_KEY, *(f"{sql} AS {name}" for name, sql in sums.items())))}
FROM ({found}, {database.members} AS member WHERE length(member.key) BETWEEN 1 AND {_LONGEST_KEY}) AS found
GROUP BY {", ".join(_TAG_KEY)}
""")
    _run(f"""
INSERT INTO pixelmeter_wide_tags (tag, found_at)
SELECT tag, {database.now} FROM (
  SELECT tag FROM pixelmeter_found_tags WHERE value IS NULL
  UNION SELECT tag FROM pixelmeter_found_tags GROUP BY tag, day HAVING count(DISTINCT value) > {_MOST_VALUES}
) AS wide
""")
    columns = ", ".join((*_TAG_KEY, *sums))
    _run(f"""
INSERT INTO pixelmeter_tag_daily_merged ({columns}) SELECT {columns} FROM pixelmeter_found_tags
WHERE value <> '' AND tag NOT IN (SELECT tag FROM pixelmeter_wide_tags)
""")
    op.drop_table("pixelmeter_found_tags")


def _views_of_sqlite() -> dict[str, str]:
    columns = {
        "daily": ("day", *_KEY, *_SUMS),
        "hourly": ("hour", *_KEY, *_SUMS),
        "tag_daily": (*_TAG_KEY, *_SUMS, *_OF_TAGS),
        "totals": ("number", *_TOTALS_KEY, *_TOTALS),
    }
    return {
        f"pixelmeter_{name}": f"\nSELECT {', '.join(names)} FROM pixelmeter_{name}_merged\n"
        for name, names in columns.items()
    }


def _unpacked(array: str, key: tuple[str, ...], sums: tuple[str, ...]) -> str:
    """Return the query of the rows of an array of the deltas, which name their columns by numbers."""
    types = {"hour": "timestamptz", "day": "date", "latency_bucket": "smallint"}
    kinds = [*(types.get(name, "text") for name in key), *("bigint" for _ in sums)]
    named = [f'r."{number}" AS {name}' for number, name in enumerate((*key, *sums), 1)]
    definition = [f'"{number}" {kind}' for number, kind in enumerate(kinds, 1)]
    return (
        f"SELECT d.id, {', '.join(named)} FROM pixelmeter_deltas AS d,"
        f" json_to_recordset(d.{array}) AS r({', '.join(definition)})"
    )


def _views_of_postgresql() -> dict[str, str]:
    def added(name: str, key: dict[str, str], sums: tuple[str, ...], unpacked: str, condition: str = "") -> str:
        unmerged = (*key.values(), *(f"coalesce(r.{column}, 0)" for column in sums))
        return f"""
SELECT {", ".join((*key, *sums))} FROM pixelmeter_{name}_merged AS r{condition}
UNION ALL
SELECT {", ".join(unmerged)} FROM ({unpacked}) AS r{condition}
"""

    def of_row(*names: str) -> dict[str, str]:
        return {name: f"r.{name}" for name in names}

    sums, tag_sums = tuple(_SUMS), (*_SUMS, *_OF_TAGS)
    hours = _unpacked("hourly", ("hour", *_KEY), sums)
    tags, totals = _unpacked("tag_daily", _TAG_KEY, tag_sums), _unpacked("totals", _TOTALS_KEY, _TOTALS)
    day = {"day": "(r.hour AT TIME ZONE 'UTC')::date"}
    number = {"number": f"{1 << 62} + r.id"}
    not_wide = " WHERE r.tag NOT IN (SELECT tag FROM pixelmeter_wide_tags)"
    return {
        "pixelmeter_daily": added("daily", {**day, **of_row(*_KEY)}, sums, hours),
        "pixelmeter_hourly": added("hourly", of_row("hour", *_KEY), sums, hours),
        "pixelmeter_tag_daily": added("tag_daily", of_row(*_TAG_KEY), tag_sums, tags, not_wide),
        "pixelmeter_totals": added("totals", {**number, **of_row(*_TOTALS_KEY)}, _TOTALS, totals),
    }


def _let_the_same_read() -> None:
    """Let whoever may read a table that is a view now go on: dashboards name these."""
    for name in ("daily", "totals"):
        _run(f"""
DO $$
DECLARE reader text;
BEGIN
  FOR reader IN
    SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
    FROM pg_class, aclexplode(relacl)
    WHERE oid = 'pixelmeter_{name}_merged'::regclass AND privilege_type = 'SELECT'
  LOOP
    EXECUTE 'GRANT SELECT ON pixelmeter_{name} TO ' || reader;
  END LOOP;
END $$
""")


def _merge() -> None:
    """Add to the tables that stay what nobody has merged yet."""
    hours = _unpacked("hourly", ("hour", *_KEY), tuple(_SUMS))
    by_day = f"SELECT (hour AT TIME ZONE 'UTC')::date AS day, added.* FROM ({hours}) AS added"
    _add("daily", ("day", *_KEY), tuple(_OLD), by_day)
    _add("totals", _TOTALS_KEY, _TOTALS, _unpacked("totals", _TOTALS_KEY, _TOTALS))


def _add(name: str, key: tuple[str, ...], sums: tuple[str, ...], source: str) -> None:
    keys = ", ".join(key)
    _run(f"""
INSERT INTO pixelmeter_{name}_merged AS present ({keys}, {", ".join(sums)})
SELECT {keys}, {", ".join(f"coalesce(sum({column}), 0)" for column in sums)} FROM ({source}) AS added
GROUP BY {keys} ORDER BY min(id)
ON CONFLICT ({keys}) DO UPDATE SET {", ".join(f"{column} = present.{column} + excluded.{column}" for column in sums)}
""")
