"""How much more may come into a spool folder: bytes that the ledger does not have are counted, of all processes."""

from __future__ import annotations

from collections.abc import Mapping

from pixelmeter.errors import PixelmeterError
from pixelmeter.spool.names import sorted_out

__all__ = ["Room", "SpoolFull", "held", "surely_held"]

_DOUBTFUL = 64 * 1024


class SpoolFull(PixelmeterError):
    """The spool folder holds as much as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the spool folder has {limit:,} bytes that the ledger does not have, which is its limit "
            "(PIXELMETER_SPOOL_LIMIT): attempts are dropped until the ledger takes some"
        )


class Room:
    """What is left of a limit, taken by every thread without a lock.

    What two threads take at once may be counted once: that is put right whenever it is measured, by the writer.
    """

    __slots__ = ("left", "limit", "others")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.others: int | None = None
        """Bytes that other processes hold; None while nobody has looked."""
        self.left = -1
        """Bytes that may still come; none while nobody has looked."""

    def measure(self, own: int, others: int) -> None:
        """Count anew what is left, where this process and the others hold so many bytes."""
        # In this order: a thread that finds that somebody has looked goes by what is left.
        self.left = self.limit - own - others
        self.others = others

    @property
    def held(self) -> int:
        """Bytes that all processes hold."""
        return self.limit - self.left if self.others is not None else 0


def held(sizes: Mapping[str, int], positions: Mapping[str, int], *, without: str | None = None) -> int:
    """Return how many bytes of a folder the ledger does not have, given the sizes of its files and how far it has them.

    Files of the process `without` are left out, but for what it has set aside: that nobody counts otherwise.
    """
    found = sorted_out(sizes)
    waiting = (name for process, names in found.spooled.items() if process != without for name in names)
    refused = sum(sizes[name] for names in found.refused.values() for name in names)
    return refused + sum(max(sizes[name] - positions.get(name, 0), 0) for name in waiting)


def surely_held(sizes: Mapping[str, int], *, without: str | None) -> int:
    """Return the same before anybody could ask the ledger.

    It may have most of the file that a process is at, or was at when it died; not those that came before.
    """
    latest = (names[-1] for names in sorted_out(sorted(sizes)).spooled.values())
    doubtful = {name: sizes[name] - _DOUBTFUL for name in latest if sizes[name] > _DOUBTFUL}
    return held(sizes, doubtful, without=without)
