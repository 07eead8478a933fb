"""What a ledger needs beside metering, from any process: attempts that dead processes left, and refused ones again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache, partial

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import Settler
from pixelmeter.core.ports import Files
from pixelmeter.drain import Drain
from pixelmeter.gateways import load_profiles
from pixelmeter.ledger.address import Address, in_schema, read_address, spool_folder
from pixelmeter.ledger.budgets import Charges
from pixelmeter.prices import book_of
from pixelmeter.recorder.failures import Failures
from pixelmeter.settings import Settings, from_environment
from pixelmeter.spool import Spool, sorted_out
from pixelmeter.system import SystemClock, SystemFiles, SystemIds

__all__ = ["adopt", "count_refused", "open_drain", "retry"]


def adopt(database_url: str | None = None, settings: Settings | None = None) -> int:
    """Bring what dead processes left in the spool into the ledger; return how many attempts. Raises LedgerError."""
    settings = settings or from_environment()
    address, folder = _where(database_url, settings)
    if not sorted_out(SystemFiles().list(folder)).spooled:
        return 0
    with _draining(address, folder, settings) as drain:
        taken = drain.adopt()
        drain.expire(SystemClock().now())
        return taken


def retry(database_url: str | None = None, settings: Settings | None = None) -> int:
    """Try again with the attempts that the ledger has refused; return how many it takes now. Raises LedgerError."""
    settings = settings or from_environment()
    address, folder = _where(database_url, settings)
    if not sorted_out(SystemFiles().list(folder)).refused:
        return 0
    with _draining(address, folder, settings) as drain:
        return drain.retry()


def count_refused(database_url: str | None = None, settings: Settings | None = None) -> int:
    """Return how many attempts are kept beside the spool because the ledger has refused them."""
    _, folder = _where(database_url, settings or from_environment())
    files = SystemFiles()
    if not sorted_out(files.list(folder)).refused:
        return 0
    from pixelmeter.drain.census import count_refused

    return sum(count_refused(files, folder, []).values())


def _where(database_url: str | None, settings: Settings) -> tuple[Address, str]:
    address = read_address(in_schema(database_url or settings.database_url, settings.schema))
    return address, spool_folder(address, settings.spool_dir, settings.state_dir)


def _draining(address: Address, folder: str, settings: Settings) -> closing[Drain]:
    """Return a drain for what is left in a spool folder, to be entered; this process has nothing of its own there."""
    files = SystemFiles()
    spool, failures = Spool(folder, files, SystemIds()), Failures(SystemClock())
    return closing(open_drain(address, folder, spool, files, failures, cache(partial(settler_of, settings))))


def settler_of(settings: Settings) -> Settler:
    """Return what tells the cost of a job that has ended, by the profiles and prices of the environment."""
    return Settler(load_profiles(settings.gateways, settings.profiles), book_of(settings.prices))


def open_drain(
    address: Address,
    folder: str,
    spool: Spool,
    files: Files,
    failures: Failures,
    settler: Callable[[], Settler],
    changed: Callable[[Sequence[Change]], None] = lambda changes: None,
    charges: Charges | None = None,
) -> Drain:
    """Return what moves the attempts of a spool, and of those that dead processes left beside it, to a ledger.

    `settler` gives what tells the cost of a job that has ended, `changed` takes what such ends change of attempts,
    `charges` tells what attempts have taken of this process's leases.
    """
    from pixelmeter.ledger.writer import open_writer

    return Drain(spool, files, folder, open_writer(address, settler, changed, charges), failures.set_aside)
