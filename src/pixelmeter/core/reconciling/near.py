"""Things by a key and their time: which one is near, if it is only one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

__all__ = ["Key", "Near", "amount_of", "amounts_of", "ends_of"]

Amount = int | Literal["known", "unknown"] | None
Key = tuple[Amount, str | None, bool, str | None]
"""The amount, the model, whether the gateway gave a name, and how it ended."""


class Near:
    """Things by key and time."""

    def __init__(self, filed: Iterable[tuple[Key, int, int]]) -> None:
        """Each is filed under a key, with its time and its index."""
        found: dict[Key, list[tuple[int, int]]] = defaultdict(list)
        for key, at, index in filed:
            found[key].append((at, index))
        self._times: dict[Key, list[int]] = {}
        self._indexes: dict[Key, list[int]] = {}
        for key, pairs in found.items():
            pairs.sort()
            self._times[key] = [at for at, _ in pairs]
            self._indexes[key] = [index for _, index in pairs]

    def only(self, keys: Iterable[Key], at: int, window: int) -> int | None:
        """Return the one thing that is near under any of these keys; -1 where there are several, None where none is."""
        one: int | None = None
        for key in keys:
            times = self._times.get(key)
            if times is None:
                continue
            low, high = bisect_left(times, at - window), bisect_right(times, at + window)
            if high - low > 1 or (high > low and one is not None):
                return -1
            if high > low:
                one = self._indexes[key][low]
        return one


def amount_of(amount: int | None, amounts: str) -> Amount:
    """Return an amount as a key has it: itself where amounts must be `equal`, and only whether it is known for
    `unknown`; with `any` all are alike."""
    if amounts == "equal":
        return amount
    if amounts == "any":
        return None
    return "unknown" if amount is None else "known"


def amounts_of(amount: Amount, amounts: str) -> tuple[Amount, ...]:
    """Return the amounts of the other side that may be this one."""
    if amounts == "any":
        return (None,)
    if amounts == "equal":
        return () if amount is None else (amount,)
    return ("unknown",) if amount == "known" else ("known", "unknown")


def ends_of(ended: str | None) -> tuple[str | None, ...]:
    """Return how a request may have ended on the other side."""
    return (None, "succeeded", "failed") if ended is None else (ended, None)
