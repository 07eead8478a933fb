"""Images that a gateway says it has made against those that attempts have brought: by UTC day and model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Literal, NamedTuple

from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY
from pixelmeter.core.reconciling.ours import Ours, model_key
from pixelmeter.core.reconciling.statement import Period, Statement
from pixelmeter.core.reporting.periods import moment_of

__all__ = ["ImageClass", "ImageSum", "image_sums"]

ImageClass = Literal["equal", "differs", "only_ours", "only_theirs", "too_young"]


class ImageSum(NamedTuple):
    """The images of a model on a UTC day."""

    kind: ImageClass
    day: date
    model: str
    """The name that the attempts have; the gateway's where there is no attempt; "" where neither has one."""
    theirs: int | None
    """None where the gateway says nothing of that day and model."""
    ours: int | None
    """None where there is no attempt."""
    unknown: int
    """Attempts of which nobody knows how many images they have brought: of these none is in `ours`."""

    @property
    def difference(self) -> int | None:
        """Ours - theirs; None where only one side has any."""
        return None if self.theirs is None or self.ours is None else self.ours - self.theirs


class _Sum:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.their_names: set[str] = set()
        self.theirs: int | None = None
        self.ours: int | None = None
        self.unknown = 0


def image_sums(
    statements: Iterable[Statement], attempts: Iterable[Ours], *, period: Period, now: int, lag: int
) -> list[ImageSum]:
    """Return the images of each UTC day of a period and each model, oldest first.

    A day of which not all is older than `lag` microseconds is too young to differ. What was never sent is on neither
    side, and what has brought no image makes no row.
    """
    found: dict[tuple[int, str], _Sum] = {}
    for attempt in attempts:
        if period.start <= attempt.started_at < period.end and attempt.may_have_images:
            one = _of(found, attempt.started_at, attempt.model or attempt.requested_model)
            one.names.add(attempt.model or attempt.requested_model or "")
            one.ours = (one.ours or 0) + (attempt.images or 0)
            one.unknown += attempt.images is None
    for statement in statements:
        if period.start <= statement.starts_at < period.end and statement.images:
            one = _of(found, statement.starts_at, statement.model)
            one.their_names.add(statement.model or "")
            one.theirs = (one.theirs or 0) + statement.images
    return [_row(day, one, now - lag) for (day, _), one in sorted(found.items()) if _is_any(one)]


def _of(found: dict[tuple[int, str], _Sum], at: int, model: str | None) -> _Sum:
    return found.setdefault((at // MICROSECONDS_PER_DAY, model_key(model or "")), _Sum())


def _is_any(one: _Sum) -> bool:
    return bool(one.theirs or one.ours or one.unknown)


def _row(day: int, one: _Sum, oldest: int) -> ImageSum:
    kind: ImageClass = "equal"
    if (one.theirs or 0) != (one.ours or 0) or one.theirs is None:
        is_young = (day + 1) * MICROSECONDS_PER_DAY > oldest
        sided: ImageClass = "only_ours" if one.theirs is None else "only_theirs" if one.ours is None else "differs"
        kind = "too_young" if is_young else sided
    # Of several spellings the first, whatever came first.
    name = min(one.names or one.their_names)
    return ImageSum(kind, moment_of(day * MICROSECONDS_PER_DAY).date(), name, one.theirs, one.ours, one.unknown)
