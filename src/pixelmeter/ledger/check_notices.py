"""Which run of a check tells of a finding: statements that every database takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.dialect import Sql

if TYPE_CHECKING:
    from pixelmeter.ledger.budget_leases import Run
    from pixelmeter.ledger.dialect import Dialect

__all__ = ["CheckNotice", "claim", "release", "sent"]

_OVER = "DELETE FROM pixelmeter_check_notices WHERE quiet_until <= ?"
# A row that another run has claimed is left alone, unless that run has died.
_CLAIM = """
INSERT INTO pixelmeter_check_notices (id, name, claimed_at, claimed_by, quiet_until) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET claimed_at = excluded.claimed_at, claimed_by = excluded.claimed_by,
  quiet_until = excluded.quiet_until
WHERE pixelmeter_check_notices.sent_at IS NULL AND pixelmeter_check_notices.claimed_at <= ?
"""


class CheckNotice(NamedTuple):
    """A finding that is to be told."""

    id: str
    """The same for the same finding, limit, question and webhook."""
    name: str
    """The check, such as "max-spend"."""
    quiet_until: int
    """When it may be told again: Unix time in microseconds."""


def claim(
    run: Run, dialect: Dialect, notices: Iterable[CheckNotice], claimant: str, at: int, before: int
) -> frozenset[str]:
    """Claim notices for one run of a check, at a Unix time in microseconds; return the ids that it is to tell.

    Anew where another run has claimed one `before` and nobody has sent it.
    """
    now, stale = dialect.moment(moment_of(at)), dialect.moment(moment_of(before))
    # In the order of their keys, so that runs at the same time do not wait for each other in a circle.
    claims = [
        Sql(_CLAIM, (one.id, one.name, now, claimant, dialect.moment(moment_of(one.quiet_until)), stale))
        for one in sorted(notices)
    ]
    mine = Sql("SELECT id FROM pixelmeter_check_notices WHERE claimed_by = ?", (claimant,))
    found: Sequence[Sequence[str]] = run([Sql(_OVER, (now,)), *claims, mine])
    return frozenset(identity for (identity,) in found)


def sent(run: Run, dialect: Dialect, claimant: str, at: int) -> None:
    """Take note that what a run has claimed was sent."""
    now = dialect.moment(moment_of(at))
    run(
        [
            Sql(
                "UPDATE pixelmeter_check_notices SET sent_at = ? WHERE claimed_by = ? AND sent_at IS NULL",
                (now, claimant),
            )
        ]
    )


def release(run: Run, claimant: str) -> None:
    """Leave to the next run what a run has claimed and not sent."""
    run([Sql("DELETE FROM pixelmeter_check_notices WHERE claimed_by = ? AND sent_at IS NULL", (claimant,))])
