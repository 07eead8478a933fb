"""Which run of a check tells of a finding: a transaction each, with no right but that on their table."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger import version
from pixelmeter.ledger.address import read_address

# SQLAlchemy is imported late: most checks find nothing.
if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CheckNotice", "claim", "release", "sent"]


class CheckNotice(NamedTuple):
    """A finding that is to be told."""

    id: str
    """The same for the same finding, limit, question and webhook."""
    name: str
    """The check, such as "max-spend"."""
    quiet_until: int
    """When it may be told again: Unix time in microseconds."""


def claim(url: str, notices: Iterable[CheckNotice], claimant: str, at: int, before: int) -> frozenset[str]:
    """Claim notices for one run of a check, at a Unix time in microseconds; return the ids that it is to tell.

    Anew where another run has claimed one `before` and nobody has sent it. LedgerError where the database refuses.
    """
    from sqlalchemy import delete, select
    from sqlalchemy.dialects import postgresql, sqlite

    from pixelmeter.ledger.schema import CHECK_NOTICES

    columns = CHECK_NOTICES.c
    now = moment_of(at)
    with _changing(url) as connection:
        insert = (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(CHECK_NOTICES)
        claiming = insert.on_conflict_do_update(
            index_elements=["id"],
            set_={name: insert.excluded[name] for name in ("claimed_at", "claimed_by", "quiet_until")},
            where=columns.sent_at.is_(None) & (columns.claimed_at <= moment_of(before)),
        )
        connection.execute(delete(CHECK_NOTICES).where(columns.quiet_until <= now))
        for one in notices:
            values = {"claimed_at": now, "claimed_by": claimant, "quiet_until": moment_of(one.quiet_until)}
            connection.execute(claiming, {"id": one.id, "name": one.name, **values})
        return frozenset(connection.scalars(select(columns.id).where(columns.claimed_by == claimant)))


def sent(url: str, claimant: str, at: int) -> None:
    """Take note that what a run has claimed was sent. LedgerError where the database refuses."""
    from sqlalchemy import update

    from pixelmeter.ledger.schema import CHECK_NOTICES

    mine = CHECK_NOTICES.c.claimed_by == claimant
    with _changing(url) as connection:
        connection.execute(update(CHECK_NOTICES).where(mine).values(sent_at=moment_of(at)))


def release(url: str, claimant: str) -> None:
    """Leave to the next run what a run has claimed and not sent. LedgerError where the database refuses."""
    from sqlalchemy import delete

    from pixelmeter.ledger.schema import CHECK_NOTICES

    columns = CHECK_NOTICES.c
    with _changing(url) as connection:
        connection.execute(delete(CHECK_NOTICES).where(columns.claimed_by == claimant, columns.sent_at.is_(None)))


@contextmanager
def _changing(url: str) -> Generator[Connection]:
    """Give a connection to a ledger of this schema, in one transaction; two runs are never in it at once."""
    from pixelmeter.ledger.engine import changing

    with changing(read_address(url)) as connection:
        version.check(version.current(connection))
        yield connection
