"""Another try with the attempts that the ledger has refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files
from pixelmeter.drain.delivery import Delivery
from pixelmeter.drain.writer import GROUP, once
from pixelmeter.spool import Reader, sorted_out

__all__ = ["Retrial"]

_PROBES = 3


class Retrial:
    """One pass over the files of attempts that were set aside, with the errors that it went on after."""

    def __init__(self, files: Files, folder: str, delivery: Delivery) -> None:
        self._files = files
        self._folder = folder
        self._delivery = delivery
        self.taken = 0
        self.errors: list[Exception] = []

    def parts(self, *, everything: bool) -> Iterator[None]:
        """Do the work, a file at a time; unless it is to be everything, only where one attempt shows that it helps.

        What causes a refusal, such as the encoding of a database, is the same for all that are refused for that reason.
        Raises LedgerError when the database fails, and OSError for the folder.
        """
        for names in sorted_out(self._files.list(self._folder)).refused.values():
            if not everything and not self._helps(names):
                continue
            for name in names:
                try:
                    self._retry(name)
                except OSError as error:
                    self.errors.append(error)
                yield

    def _helps(self, names: Sequence[str]) -> bool:
        for name in names[: -_PROBES - 1 : -1]:
            try:
                found = self._attempts(name, first=True)
            except OSError:
                continue
            if found:
                return not self._delivery.refusals(found[:1])
        return False

    def _attempts(self, name: str, *, first: bool) -> Sequence[Attempt]:
        descriptor = self._files.adopt(self._path(name))
        if descriptor is None:
            return ()
        try:
            return _read(Reader(self._files, descriptor), first=first)
        finally:
            self._files.close(descriptor)

    def _retry(self, name: str) -> None:
        descriptor = self._files.adopt(self._path(name))
        if descriptor is None:
            return
        is_done = False
        try:
            reader = Reader(self._files, descriptor)
            attempts = once(_read(reader, first=False))
            refused = [
                refusal
                for start in range(0, len(attempts), GROUP)
                for refusal in self._delivery.refusals(attempts[start : start + GROUP])
            ]
            self.taken += len(attempts) - len(refused)
            if len(refused) < len(attempts) and not reader.foreign:
                self._delivery.set_aside(refused)
                is_done = True
        finally:
            if is_done:
                self._files.discard(self._path(name), descriptor)
            else:
                self._files.close(descriptor)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _read(reader: Reader, *, first: bool) -> Sequence[Attempt]:
    attempts: list[Attempt] = []
    while frames := reader.read(final=True):
        attempts += [frame.attempt for frame in frames]
        if first:
            break
    return attempts
