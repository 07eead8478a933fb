"""What a gateway's regional hosts charge on top of the price, as a profile says it."""

from __future__ import annotations

import datetime
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

__all__ = ["Region", "Surcharge", "is_in_force"]

_EPOCH = datetime.date(1970, 1, 1)


class Surcharge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is added to the price of some models."""

    models: tuple[str, ...]
    """Globs over the names that the price book has for them."""
    parts_per_million: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    """Of the price: 10 % is 100_000; 0 says that nothing is added."""
    effective_from: datetime.date | None = None
    """The first day, UTC."""
    effective_to: datetime.date | None = None
    """The day after the last, UTC."""


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hosts that do not have the plain price."""

    hosts: tuple[str, ...]
    """Globs; the first region that has the host is taken."""
    surcharge: tuple[Surcharge, ...] = ()

    def has(self, host: str) -> bool:
        """Return whether a host (lower case) is of this region."""
        return any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def surcharge_of(self, model: str, day: int) -> int | None:
        """Return the parts per million that are added for a model on a day since 1970; None where nothing says it."""
        for surcharge in self.surcharge:
            if any(fnmatchcase(model, pattern) for pattern in surcharge.models) and is_in_force(
                day, surcharge.effective_from, surcharge.effective_to
            ):
                return surcharge.parts_per_million
        return None


def is_in_force(day: int, begin: datetime.date | None, end: datetime.date | None) -> bool:
    """Return whether a day since 1970 is at or after the first and before the second date."""
    date = _EPOCH + datetime.timedelta(days=day)
    return (begin is None or begin <= date) and (end is None or date < end)
