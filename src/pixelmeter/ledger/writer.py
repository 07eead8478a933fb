"""The write side of the ledger, whatever the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import JobEnd, Record, Settler
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Charge, Draw, Drawn, LeaseKey
from pixelmeter.core.budgets.notices import Claims, NoticeKey
from pixelmeter.core.budgets.sums import Counted
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import AttemptPruned
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.adjusting import Authors, Changed, Corrected, bundled_settler
from pixelmeter.ledger.budget_changes import ResetAuthor, TakenOff
from pixelmeter.ledger.budgets import Charges
from pixelmeter.ledger.connecting import require_driver
from pixelmeter.ledger.forgetting import Forgotten

__all__ = [
    "BudgetWriter",
    "LedgerWriter",
    "Writer",
    "dead_processes",
    "first_of_each_id",
    "open_writer",
    "refuse_pruned",
    "sorted_by_kind",
]

_Record = TypeVar("_Record", Attempt, Record)


class Writer(Protocol):
    """Each call is one transaction; LedgerError when it fails, and then nothing is committed and it may be repeated.

    Only a RowRefused would come again: the ledger does not take an attempt that is among those of the write.
    """

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return how far each of these spool files is committed, in bytes; files never committed are left out."""
        ...

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Insert the attempts that the ledger does not have, add them to rollup and totals, move the positions forward.

        What was heard of jobs is laid over the attempts that submitted them, by adjustments. The positions of
        `finished` spools are deleted. Returns how many attempts were new. Repeating a write is harmless, also one whose
        commit was never confirmed.
        """
        ...

    def keep_refused(self, attempts: Sequence[Attempt]) -> None:
        """Keep reserved of budgets what attempts cost that the ledger refuses, until `taken`. May be repeated."""
        ...

    def keep_leases(self, processes: Sequence[str]) -> None:
        """Keep reserved all that processes have of budgets which died after they had dropped attempts.

        To be called before their spools are `finished`. May be repeated.
        """
        ...

    def taken(self, ids: Sequence[str]) -> None:
        """Take note that attempts which were refused before are in the ledger."""
        ...

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        """Return the ends of jobs that are too old at this Unix time in microseconds; nothing is written."""
        ...

    def close(self) -> None:
        """Let go of the database; the next call opens it again."""
        ...


class BudgetWriter(Protocol):
    """The budgets of a ledger, as `pixelmeter.ledger.budgets.BudgetTransactions` has them."""

    def known_budgets(self) -> Sequence[Counted]: ...
    def register(self, rules: Sequence[Rule], at: int) -> Sequence[Counted]: ...
    def draw(self, process: str, draws: Sequence[Draw], at: int) -> Sequence[Drawn]: ...
    def give_back(self, process: str, amounts: Mapping[LeaseKey, int]) -> None: ...
    def renew(self, process: str, keys: Sequence[LeaseKey], at: int) -> Sequence[LeaseKey]: ...
    def end_stale(self, before: int) -> None: ...
    def keep_dropped(self, process: str, first: str, charges: Sequence[Charge], at: int) -> None: ...
    def reset(self, name: str, value: str | None, author: ResetAuthor) -> Sequence[TakenOff]: ...
    def remove(self, name: str, at: int) -> bool: ...
    def claim_notices(self, process: str, names: Collection[str], times: Collection[int], before: int) -> Claims: ...
    def notices_sent(self, keys: Collection[NoticeKey], at: int) -> None: ...


class LedgerWriter(Writer, BudgetWriter, Protocol):
    """A writer that also adjusts attempts by what people and other sources say of them."""

    def forget_tag(self, key: str, value: str) -> Forgotten:
        """Erase the value of a tag; return what had it. LedgerError where a budget needs it."""
        ...

    def adjust(self, ids: Sequence[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
        """Adjust those of the attempts that are to be otherwise than they are now; return the adjustments."""
        ...


def open_writer(
    url: str | Address,
    settler: Callable[[], Settler] = bundled_settler,
    changed: Changed = lambda changes: None,
    charges: Charges | None = None,
) -> LedgerWriter:
    """Return the writer of a ledger; nothing is opened before its first call, which makes a missing ledger.

    `settler` gives what tells the cost of a job, once one has ended; by default from bundled profiles and prices.
    `changed` takes what ends of jobs have changed of attempts, each once, when it is committed. `charges` tells what
    attempts have taken of this process's leases. ConfigError for a URL that cannot be used and for a missing driver.
    One thread at a time may use a writer.
    """
    address = read_address(url)
    if address.dialect == "sqlite":
        from pixelmeter.ledger.sqlite import SqliteWriter

        return SqliteWriter(address, settler=settler, changed=changed, charges=charges)
    require_driver()
    from pixelmeter.ledger.postgres import PostgresWriter

    return PostgresWriter(address, settler=settler, changed=changed, charges=charges)


def sorted_by_kind(records: Sequence[Record]) -> tuple[Sequence[Attempt], Sequence[JobEnd]]:
    """Return the attempts among records, and what was heard of jobs."""
    ends = [record for record in records if isinstance(record, JobEnd)]
    return [record for record in records if isinstance(record, Attempt)], ends


def refuse_pruned(address: Address, attempts: Iterable[Attempt], horizon: int) -> None:
    """Raise AttemptPruned where one of the attempts began before the horizon, a Unix time in microseconds.

    The ledger may have had it and counted it, and cannot tell any more.
    """
    if any(attempt.started_at < horizon for attempt in attempts):
        raise AttemptPruned(
            f"the ledger {address.safe()} refuses an attempt: it began before {moment_of(horizon):%Y-%m-%d} and what "
            "began before is pruned; docs/retention.md says what can be done with it",
            horizon,
        )


def dead_processes(finished: Iterable[str], charges: Charges | None) -> list[str]:
    """Return the processes, other than this one, whose spool files are done with."""
    own = None if charges is None else charges.process
    processes = {name.rpartition("-")[0] for name in finished}
    return sorted(process for process in processes if process and process != own)


def first_of_each_id(records: Iterable[_Record]) -> list[_Record]:
    """Return the records without those whose id an earlier one has: a database compares them with its table only."""
    first: dict[str, _Record] = {}
    for record in records:
        first.setdefault(record.id, record)
    return list(first.values())
