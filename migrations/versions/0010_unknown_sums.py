"""The views of sums have NULL, and not 0, where nothing is known of an amount."""

from __future__ import annotations

from collections.abc import Iterator

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEY = ("gateway", "provider", "operation", "model", "outcome", "latency_bucket")
_SUMS = (
    "attempts", "calls", "images", "cost", "fee", "at_risk", "unknown_cost_attempts", "duration",
    "unestimated_attempts", "unknown_fee_attempts", "priced_images", "pixels", "pixel_cost",
)  # fmt: skip
_HOURLY = (("hour", *_KEY), _SUMS)
_DAILY = (("day", *_KEY), _SUMS)
_TAG_DAILY = (
    ("tag", "day", "value", "latency_bucket"),
    (*_SUMS, "errors", "blocked", "failure_cost", "unknown_failures"),
)
_TOTALS = (
    ("gateway", "operation", "model", "outcome", "error_type", "cost_source", "cost_reason", "size", "quality"),
    (
        "attempts", "retries", "images", "cost_usd", "cost_nano", "at_risk_usd", "at_risk_nano",
        "unknown_cost_attempts", "duration_s", "duration_us", "input_text_tokens", "cached_input_tokens",
        "input_image_tokens", "output_text_tokens", "output_image_tokens", "up_to_0_1_s", "up_to_0_25_s",
        "up_to_0_5_s", "up_to_1_s", "up_to_2_s", "up_to_3_s", "up_to_5_s", "up_to_7_5_s", "up_to_10_s", "up_to_15_s",
        "up_to_20_s", "up_to_30_s", "up_to_45_s", "up_to_60_s", "up_to_90_s", "up_to_120_s", "over_120_s",
    ),
)  # fmt: skip
_COST = "{0}cost_usd{1} <> 0 OR {0}cost_nano{1} <> 0 OR {0}unknown_cost_attempts{1} <= 0"
_KNOWN = {
    "cost": "{0}cost{1} <> 0 OR {0}unknown_cost_attempts{1} <= 0",
    "fee": "{0}fee{1} <> 0 OR {0}unknown_fee_attempts{1} <= 0",
    "at_risk": "{0}at_risk{1} <> 0 OR {0}unestimated_attempts{1} <= 0",
    "failure_cost": "{0}failure_cost{1} <> 0 OR {0}unknown_failures{1} <= 0",
    "cost_usd": _COST,
    "cost_nano": _COST,
}
"""When an amount is known, of a column that stands between two texts."""


def upgrade() -> None:
    _replace(_KNOWN)


def downgrade() -> None:
    _replace({})


def _replace(known: dict[str, str]) -> None:
    views = _Views(known)
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name, query in (views.postgresql() if is_postgresql else views.sqlite()).items():
        if not is_postgresql:
            op.execute(f"DROP VIEW pixelmeter_{name}")
        # Replaced in place, a view keeps who may read it.
        create = "CREATE OR REPLACE VIEW" if is_postgresql else "CREATE VIEW"
        # Not as text of SQLAlchemy, to which a colon begins a parameter.
        op.get_bind().exec_driver_sql(f"{create} pixelmeter_{name} AS {query}")


class _Views:
    def __init__(self, known: dict[str, str]) -> None:
        self._known = known

    def sqlite(self) -> dict[str, str]:
        return {
            "daily": self._merged("daily", *_DAILY),
            "hourly": self._merged("hourly", *_HOURLY),
            "tag_daily": self._merged("tag_daily", *_TAG_DAILY),
            "totals": self._merged("totals", ("number", *_TOTALS[0]), _TOTALS[1]),
        }

    def postgresql(self) -> dict[str, str]:
        def of_row(names: tuple[str, ...]) -> dict[str, str]:
            return {name: f"r.{name}" for name in names}

        day = {"day": "(r.hour AT TIME ZONE 'UTC')::date"}
        number = {"number": f"{1 << 62} + r.id"}
        not_wide = " WHERE r.tag NOT IN (SELECT tag FROM pixelmeter_wide_tags)"
        return {
            "daily": self._added("daily", day | of_row(_KEY), "hourly", _HOURLY),
            "hourly": self._added("hourly", of_row(_HOURLY[0]), "hourly", _HOURLY),
            "tag_daily": self._added("tag_daily", of_row(_TAG_DAILY[0]), "tag_daily", _TAG_DAILY, not_wide),
            "totals": self._added("totals", number | of_row(_TOTALS[0]), "totals", _TOTALS),
        }

    def _merged(self, name: str, key: tuple[str, ...], sums: tuple[str, ...], condition: str = "") -> str:
        columns = ", ".join((*key, *self._sums(sums, "r.", "")))
        return f"SELECT {columns} FROM pixelmeter_{name}_merged AS r{condition}"

    def _added(
        self,
        name: str,
        key: dict[str, str],
        array: str,
        columns: tuple[tuple[str, ...], tuple[str, ...]],
        condition: str = "",
    ) -> str:
        """Return the query of a table, and of the rows of an array of the deltas, whose columns are numbers."""
        types = {"hour": "timestamptz", "day": "date", "latency_bucket": "smallint"}
        kinds = [*(types.get(name, "text") for name in columns[0]), *("bigint" for _ in columns[1])]
        named = ", ".join(f'r."{number}" AS {name}' for number, name in enumerate(sum(columns, ()), 1))
        definition = ", ".join(f'"{number}" {kind}' for number, kind in enumerate(kinds, 1))
        unmerged = ", ".join((*key.values(), *self._sums(columns[1], "coalesce(r.", ", 0)")))
        return f"""{self._merged(name, tuple(key), columns[1], condition)}
UNION ALL
SELECT {unmerged} FROM (SELECT d.id, {named} FROM pixelmeter_deltas AS d,
json_to_recordset(d.{array}) AS r({definition})) AS r{condition}"""

    def _sums(self, names: tuple[str, ...], before: str, after: str) -> Iterator[str]:
        for name in names:
            value = f"{before}{name}{after}"
            if name in self._known:
                value = f"CASE WHEN {self._known[name].format(before, after)} THEN {value} END"
            yield f"{value} AS {name}"
