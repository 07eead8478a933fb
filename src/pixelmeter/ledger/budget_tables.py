"""The tables of budgets."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Identity, Index, Table, Text

from pixelmeter.core.budgets.sums import SUMS
from pixelmeter.ledger.types import BIG, METADATA

__all__ = ["BUDGETS", "BUDGET_LEASES", "BUDGET_NOTICES", "BUDGET_RESETS", "BUDGET_SUMS"]

BUDGETS = Table(
    "pixelmeter_budgets",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("counts_from", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("revision", BIG, nullable=False),
)
"""One row a budget. `definition` is JSON: a `pixelmeter.core.budgets.budget.Rule`.

Attempts that started before `counts_from` do not count. `revision` grows with each change of any row, so that a writer
that has read them all need not read them again.
"""

BUDGET_SUMS = Table(
    "pixelmeter_budget_sums",
    METADATA,
    Column("budget", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    *(Column(name, BIG, nullable=False) for name in SUMS),
    Column("credited", BIG, nullable=False),
    Column("leased", BIG, nullable=False),
    Column("last_lease", BIG, nullable=False),
    Column("overrun", BIG, nullable=False),
    Column("overruns", BIG, nullable=False),
    # What is asked is how things stand now, and not of all spans before.
    Index("pixelmeter_budget_sums_span", "budget", "starts_at"),
)
"""One row for each budget, each value of what it has one each of, and each span, which begins at `starts_at`.

`cost` and `at_risk` are those of the attempts that count, with their adjustments; `credited` is what resets took off,
`leased` the sum of the leases, and `last_lease` what the latest draw got. `overrun` is what attempts cost beyond what
was reserved for them, and `overruns` how many did.
"""

BUDGET_LEASES = Table(
    "pixelmeter_budget_leases",
    METADATA,
    Column("process", Text, primary_key=True),
    Column("budget", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("amount", BIG, nullable=False),
    Column("renewed_at", DateTime(timezone=True), nullable=False),
    Index("pixelmeter_budget_leases_key", "budget", "value", "starts_at"),
)
"""What each process may spend of a budget without asking. `process` is what the names of its spool files begin with.

`number` tells a lease from those that the process had before of the same budget, value and span.
"""

BUDGET_NOTICES = Table(
    "pixelmeter_budget_notices",
    METADATA,
    Column("budget", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    Column("threshold", BIG, primary_key=True, autoincrement=False),
    Column("claimed_at", DateTime(timezone=True), nullable=False),
    Column("claimed_by", Text, nullable=False),
    Column("sent_at", DateTime(timezone=True)),
)
"""The thresholds (parts per million of the limit) that were passed, each claimed by the one process that tells it."""

BUDGET_RESETS = Table(
    "pixelmeter_budget_resets",
    METADATA,
    Column("number", BIG, Identity(always=True), primary_key=True),
    Column("budget", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("amount", BIG, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("made_by", Text),
    Column("why", Text),
)
"""What was taken off a budget by hand: who did it and why."""
